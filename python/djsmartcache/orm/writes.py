"""What an INSERT, UPDATE or DELETE of the ORM changes, as tags to bump.

Known rows are those of a primary key in the WHERE clause, those an INSERT returned, and those that
images were taken of. Images are the values, before and after, of the columns by which some process
looks rows up (`schemes`): read from the database inside of the writing transaction, the old ones
under lock. Without them the condition-bulk tag stands in; without known rows the bulk tag as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, NotSupportedError, ProgrammingError
from django.db import transaction as django_transaction
from django.db.models import BooleanField, DecimalField, Field, Func, Model
from django.db.models.constants import OnConflict
from django.db.models.sql import Query
from django.db.models.sql.compiler import (
    SQLCompiler,
    SQLDeleteCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django.db.models.sql.constants import MULTI

from djsmartcache.orm import catalog, columns, conditions, schema, schemes, scopes, transaction
from djsmartcache.orm.state import Tables, internal, state_of, unlogged
from djsmartcache.orm.values import Render, renderer, target

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

MAX_IMAGES = 1_000
"""Rows of one statement that images are taken of."""
MAX_KNOWN = 1_000
"""Rows of one statement that are tagged one by one."""

MAX_CONDITIONS = 2_000
"""Conditions that one statement drops one by one."""

Row = Sequence[Any]


class Kind:
    """What all writes of one kind to a table have in common, for as long as the schema is known."""

    __slots__ = ("columns", "names_rows", "others", "registry", "renderers", "schema", "tags")

    def __init__(
        self, connection: BaseDatabaseWrapper, model: Any, known: schema.Schema | None
    ) -> None:
        self.schema = known
        self.columns = None if known is None else known.columns
        self.registry = catalog.registry()
        self.tags = scopes.table_tags(connection, model._meta.db_table)
        self.names_rows = self.registry.key_column(model) is not None
        self.others: frozenset[str] | None = None
        self.renderers: dict[Any, Render | None] = {}

    def holds(self, known: schema.Schema | None) -> bool:
        """Whether it holds still."""
        return (
            known is not None
            and self.schema is known
            and self.columns is known.columns
            and self.registry is catalog.registry()
        )

    def names(self, table: str) -> bool:
        """Whether a table is known by name."""
        known = frozenset() if self.schema is None else self.schema.known
        return table in known or table in self.registry.managed


MAX_KINDS = 1_000
"""That a connection remembers."""


def _kind(connection: BaseDatabaseWrapper, model: Any, which: Hashable) -> Kind:
    kinds = state_of(connection).kinds
    known = schema.known(connection)
    found = kinds.get(which)
    if found is None or not found.holds(known):
        if len(kinds) >= MAX_KINDS:
            kinds.clear()
        found = kinds[which] = Kind(connection, model, known)
    return found


class Write:
    """One statement of the ORM that writes, from before its SQL to its tags."""

    def __init__(self, compiler: SQLCompiler) -> None:
        self.compiler = compiler
        self.connection: BaseDatabaseWrapper = compiler.connection
        self.query: Any = compiler.query
        model: Any = self.query.get_meta().concrete_model
        self.model = model
        self.table: str = self.model._meta.db_table
        self.updated = self._updated()
        which = (type(compiler), model, self.table, self.updated)
        self.kind = _kind(self.connection, model, which)
        self.tags = self.kind.tags
        self.key: Any = self.model._meta.pk
        self.names_rows = self.kind.names_rows
        self.schemes = schemes.of_table(self.tags.table)
        self.columns = _columns(self.schemes.columns, self.model)
        self.sent = False
        self.rows: set[str] | None = None
        """Keys of the rows written; None: not known."""
        self.raw: list[Any] = []
        """The same keys, as the database gave or takes them."""
        self.details: set[tuple[str, str]] | None = None
        """Conditions of old and new images; None: not had."""
        self.others = self.kind.others
        """Tables that the database changes besides; None: not asked yet."""
        self._known: tuple[set[str] | None, frozenset[int], Tables] | None = None
        """What `_changed` gave, and for which rows."""
        # SQLite refuses a transaction to write that has read before; elsewhere a failing statement
        # may leave one in which nothing can be asked.
        if self.connection.vendor != "sqlite":
            self._others()

    @property
    def wants_images(self) -> bool:
        """Whether images can be of use: somebody looks rows up by columns that the model has."""
        return bool(self.schemes.version and self.columns and self.names_rows)

    # --- the three kinds

    def reach(self) -> None:
        """Find the rows that a compiled UPDATE or DELETE names by primary key."""
        query = self.query
        alias = query.base_table
        if alias is None or not self.names_rows:
            return
        key = self.key.column
        reached = conditions.of_where(query.where, alias, key, self._renderer, MAX_KNOWN)
        if isinstance(reached, conditions.Rows):
            self.rows = set(reached.keys)
            self.raw = list(reached.raw)

    def upserted(self) -> None:
        """Find the rows that an upsert names by primary key: it adds each, or changes it.

        Rows that meet in another column than the key it would refuse.
        """
        if self.resolves() and [*self.query.unique_fields] == [self.key]:
            self._name_sent()

    def inserted(self, rows: Sequence[Any], returning: Sequence[Field[Any, Any]]) -> None:
        """Find the rows of an INSERT, in what it returned or among the values that it sent.

        Where conflicts are ignored, what it added is some of what it sent.
        """
        if self.key in returning and len(rows) == len(self.query.objs):
            position = list(returning).index(self.key)
            self._name([row[position] for row in rows])
        elif self.key in self.query.fields and not self.resolves():
            self._name_sent()

    def resolves(self) -> bool:
        """Whether an INSERT changes the rows that it conflicts with."""
        return bool(self.query.on_conflict == OnConflict.UPDATE)

    def _name_sent(self) -> None:
        values = [getattr(each, self.key.attname) for each in self.query.objs]
        changed = isinstance(target(self.key), DecimalField)
        # One of SQLite cannot change a key before it is stored; asked now, its schema would be what
        # the transaction begins with.
        if self.connection.vendor != "sqlite":
            changed = changed or catalog.has_triggers(self.connection, self.table)
        if not changed and not any(map(self._may_be_changed, values)):
            self._name(values)

    def _name(self, values: list[Any]) -> None:
        if not self.names_rows or any(hasattr(value, "as_sql") for value in values):
            return
        keys = self._rendered(values) if len(values) <= MAX_KNOWN else None
        if keys is not None:
            self.rows = set(keys)
            self.raw = values

    def _rendered(self, keys: list[Any]) -> list[str] | None:
        """Give primary keys as tags name them; None if one has no certain name."""
        render = self._renderer(self.key)
        names = [] if render is None else [name for key in keys if (name := render(key))]
        return names if len(names) == len(keys) else None

    def _renderer(self, field: Any) -> Render | None:
        known = self.kind.renderers
        if field not in known:
            known[field] = renderer(field, self.connection)
        return known[field]

    def as_sent(self) -> list[Row] | None:
        """Give images of the values that an INSERT sent; None: the database made some of them."""
        fields = list(self.columns.values())
        objects = self.query.objs
        if not set(fields) <= set(self.query.fields) or len(objects) > MAX_IMAGES:
            return None
        if catalog.has_triggers(self.connection, self.table):
            return None
        # It rounds decimals.
        if any(isinstance(target(field), DecimalField) for field in fields):
            return None
        images = [
            [
                field.get_db_prep_save(getattr(each, field.attname), self.connection)
                for field in fields
            ]
            for each in objects
        ]
        if any(map(self._may_be_changed, itertools.chain.from_iterable(images))):
            return None
        return [[None, *image] for image in images]

    def _may_be_changed(self, value: Any) -> bool:
        """Whether the database may store another value than the one it is sent."""
        if isinstance(value, str):
            # What is too long it makes short: PostgreSQL if it ends in blanks, MySQL anything.
            return value.endswith(" ") or self.connection.vendor == "mysql"
        return hasattr(value, "as_sql")

    def moves_keys(self) -> bool:
        """Whether an UPDATE sets the primary key: then rows cannot be told apart by it."""
        return any(field.primary_key for field, _, _ in self.query.values)

    # --- images

    def _allowed(self, read: Callable[[], list[Row] | None]) -> list[Row] | None:
        """Read images; None if the database refuses, which must not be the writer's problem.

        Whether it does is found out once for a connection and table, in a savepoint.
        """
        connection = self.connection
        if connection.vendor == "sqlite":
            return read()
        known = state_of(connection).images
        which = (self.table, type(self.compiler))
        with internal(connection):
            savepoint = None if which in known else connection.savepoint()
            if savepoint is None:
                return read() if known.get(which) else None
            try:
                found = read()
            except DatabaseError as error:
                connection.savepoint_rollback(savepoint)
                if isinstance(error, (ProgrammingError, NotSupportedError)):
                    known[which] = False
                return None
            connection.savepoint_commit(savepoint)
        known[which] = True
        return found

    def meet_columns(self) -> None:
        """Ask of what types the columns are where that must not be the first that a transaction
        does: the rest asks when it has to know."""
        connection = self.connection
        asks_later = connection.vendor != "sqlite" or not self.names_rows
        if asks_later or columns.are_met(connection, self.table):
            return
        if connection.in_atomic_block or transaction.in_transaction(connection):
            try:
                self.begin()
            except DatabaseError:
                return  # no table: nothing of it is known
        columns.of_table(connection, self.table)

    def begin(self) -> None:
        """Write nothing: a transaction of SQLite that reads first may be refused the write that
        follows."""
        key, table = self._key(), self._quoted(self.table)
        self._run(f"UPDATE {table} SET {key} = {key} WHERE 0")  # noqa: S608

    def take_old(self) -> int:
        """Read the rows that a statement is about to change; give how many, -1 if not had."""
        if self.connection.vendor == "sqlite":
            self.begin()
        images = self._allowed(
            self._old_by_where if self.rows is None else lambda: self.by_key(lock=True)
        )
        if images is None or len(images) > MAX_IMAGES:
            return -1
        keys = self._rendered([row[0] for row in images])
        if keys is None:
            return -1
        if self.rows is None:
            self.rows = set(keys)
            self.raw = [row[0] for row in images]
        return len(images) if self.add(images) else -1

    def by_key(self, *, lock: bool = False) -> list[Row] | None:
        """Read the known rows."""
        if len(self.raw) > MAX_IMAGES:
            return None
        found: list[Row] = []
        names = ", ".join(
            f"{'+' * self._is_converted(field)}{self._quoted(field.column)}"
            for field in (self.key, *self.columns.values())
        )
        step = self.connection.features.max_query_params or MAX_IMAGES
        values = [
            self.key.get_db_prep_value(value, self.connection, prepared=False) for value in self.raw
        ]
        for start in range(0, len(values), step):
            part = values[start : start + step]
            marks = ", ".join(["%s"] * len(part))
            found += self._run(
                f"SELECT {names} FROM {self._quoted(self.table)}"  # noqa: S608
                f" WHERE {self._key()} IN ({marks}){self._lock() if lock else ''}",
                part,
            )
        return found

    def _old_by_where(self) -> list[Row] | None:
        query = self.query
        # What an UPDATE ignores a SELECT would obey, or PostgreSQL refuse to lock.
        special = ("annotations", "extra", "extra_tables", "is_sliced", "distinct", "group_by")
        plain = not any(getattr(query, name) for name in (*special, "select_for_update"))
        if not plain or query.count_active_tables() > 1 or getattr(query, "related_updates", None):
            return None
        if not conditions.is_steady(query.where, query.base_table):
            return None
        select = query.chain(klass=Query)
        select.select_related = False
        select.clear_ordering(force=True)
        select.clear_select_clause()
        select.add_fields([field.name for field in (self.key, *self.columns.values())], False)
        select.select = tuple(
            Func(column, template="+%(expressions)s")
            if self._is_converted(column.target)
            else column
            for column in select.select
        )
        select.set_limits(high=MAX_IMAGES + 1)
        if self.connection.features.has_select_for_update:
            select.select_for_update = True
            select.select_for_no_key_update = self._weak_lock()
        with internal(self.connection):
            chunks = select.get_compiler(connection=self.connection).execute_sql(MULTI)
            return [row for chunk in chunks for row in chunk]

    def _is_converted(self, field: Field[Any, Any]) -> bool:
        """Whether the driver makes less of a column than the database: of numbers as truths, where
        SQLite takes all but 0 for true. It does so for bare columns."""
        return self.connection.vendor == "sqlite" and isinstance(target(field), BooleanField)

    def _weak_lock(self) -> bool:
        # What the UPDATE itself takes: rows that refer to these can be inserted meanwhile.
        return (
            not isinstance(self.compiler, SQLDeleteCompiler)
            and self.connection.features.has_select_for_no_key_update
        )

    def _lock(self) -> str:
        if not self.connection.features.has_select_for_update:
            return ""
        return " FOR NO KEY UPDATE" if self._weak_lock() else " FOR UPDATE"

    def add(self, images: Iterable[Row] | None) -> bool:
        """Add the conditions that images fall under; False: not had, or not for certain."""
        if images is None:
            self.details = None
            return False
        if self.details is None:
            self.details = set()
        renderers = {name: self._renderer(field) for name, field in self.columns.items()}
        for row in images:
            values = dict(zip(self.columns, row[1:], strict=True))
            for scheme in self.schemes.columns:
                names = scheme.split(",")
                detail = conditions.image(
                    [renderers[name] for name in names], [values[name] for name in names]
                )
                if detail is None:
                    self.details = None
                    return False
                self.details.add((scheme, detail))
        return True

    # --- the end

    def note(self) -> None:
        """Hand the tags to the transaction, which bumps them after COMMIT."""
        tags, tables = self._changed()
        if self.details is None or len(self.details) > MAX_CONDITIONS:
            tags.add(self.tags.condition_bulk)
        else:
            tags.update(self.tags.condition(*detail) for detail in self.details)
        transaction.note(self.connection, tags, tables)

    def _changed(self) -> tuple[set[int], Tables]:
        """Give the tags of what is known of the rows so far, but for those of conditions, and the
        tables."""
        if self._known is not None and self._known[0] is self.rows:
            return set(self._known[1]), self._known[2]
        tags, tables = transaction.tags_of(self.connection, self._others())
        tags.add(self.tags.table)
        if self.rows is None or len(self.rows) > MAX_KNOWN:
            tags.add(self.tags.bulk)
        else:
            tags.update(self.tags.row(key) for key in self.rows)
        own = self.tags
        tables[own.table] = (own.bulk, own.condition_bulk, self.schemes.version)
        self._known = (self.rows, frozenset(tags), tables)
        return tags, tables

    def mark(self) -> None:
        """Mark what the statement is going to change, if it commits by itself.

        Which rows an INSERT adds the database tells afterwards: any may be one that was looked for.
        Conditions are marked as a whole, with the table.

        Raises:
            WriteRefused: The store is down, and the settings say that nothing is written then.
        """
        if not transaction.in_transaction(self.connection):
            transaction.mark_statement(self.connection, *self._changed())

    def _updated(self) -> tuple[str, ...]:
        """Give the columns of present rows that may change, '' for the primary key."""
        fields: list[Any] = []
        if isinstance(self.compiler, SQLUpdateCompiler):
            fields = [field for field, _, _ in self.query.values]
        elif isinstance(self.compiler, SQLInsertCompiler):
            fields = self.query.update_fields
        keys = self.model._meta.pk_fields
        updated = [field.column for field in fields]
        return (*updated, "") if any(field in keys for field in fields) else tuple(updated)

    def _others(self) -> frozenset[str]:
        """Give what the database changes besides the rows that the statement names."""
        if self.others is None:
            name = scopes.plain(self.table)
            deletes = isinstance(self.compiler, SQLDeleteCompiler)
            self.others = catalog.besides(
                self.connection, [name], deletes=deletes, updates=self.updated
            )
            # Another table may come by the name of one that only this session knows.
            if self.kind.names(name):
                self.kind.others = self.others
        return self.others

    def _key(self) -> str:
        return self._quoted(self.key.column)

    def _quoted(self, name: str) -> str:
        return str(self.connection.ops.quote_name(name))

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with internal(self.connection), self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []


def _columns(wanted: Sequence[str], model: type[Model]) -> dict[str, Field[Any, Any]]:
    """Give the fields of all columns in some schemes; empty if the model lacks one."""
    fields = {field.column: field for field in model._meta.local_concrete_fields}
    names = {name for scheme in wanted for name in scheme.split(",")}
    return {name: fields[name] for name in sorted(names)} if names <= fields.keys() else {}


def run(compiler: SQLCompiler, execute: Callable[[], Any]) -> Any:
    """Run a compiler that writes, and note what it changed.

    Where images are wanted and no transaction is open, the statement gets one of its own. Methods
    of one compiler call each other: the first is the write.
    """
    hint = state_of(compiler.connection).hint
    if isinstance(hint, Write) and hint.compiler is compiler:
        return execute()
    write = Write(compiler)
    connection = write.connection
    own = (
        write.wants_images
        and not connection.in_atomic_block
        and not transaction.in_transaction(connection)
    )
    with _own_transaction(connection) if own else nullcontext():
        state = state_of(connection)
        outer, state.hint = state.hint, write
        try:
            with transaction.committing(connection):
                result = execute()
        except BaseException:
            # Autocommitted in part, or with the connection lost on the way: nobody knows.
            if write.sent:
                write.rows = write.details = None
                write.note()
            raise
        finally:
            state.hint = outer
        if write.sent:
            _finish(write, result)
    return result


@contextmanager
def _own_transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    block = django_transaction.atomic(connection.alias, savepoint=False)
    with unlogged(connection):
        block.__enter__()
    details: Any = (None, None, None)
    try:
        yield
    except BaseException as error:
        details = (type(error), error, error.__traceback__)
        raise
    finally:
        # Hooks that the block calls when it commits are the user's, and so is their SQL.
        with nullcontext() if connection.run_on_commit else unlogged(connection):
            block.__exit__(*details)


def _finish(write: Write, result: Any) -> None:
    compiler = write.compiler
    if isinstance(compiler, SQLInsertCompiler):
        write.inserted(result or (), compiler.returning_fields or ())
        if write.wants_images and (write.details is not None or not write.resolves()):
            write.add(write.as_sent() if write.rows is None else write._allowed(write.by_key))
    elif isinstance(compiler, SQLUpdateCompiler) and write.details is not None:
        write.add(write.by_key())
    write.note()


def around(write: Write, send: Callable[[], Any], cursor: Any) -> Any:
    """Send the SQL of a write: find its rows and their old images first."""
    compiler = write.compiler
    write.meet_columns()
    if isinstance(compiler, SQLInsertCompiler):
        write.upserted()
        if write.rows is not None and write.wants_images:
            images = write.take_old()
            # A row that was not there to be locked may come, and change, before it is ours. In
            # SQLite nobody else writes meanwhile.
            if write.connection.vendor != "sqlite" and images < len(write.rows):
                write.details = None
        write.mark()
        write.sent = True
        return send()
    moving = isinstance(compiler, SQLUpdateCompiler) and write.moves_keys()
    if not moving:
        write.reach()
    named = write.rows is not None
    images = write.take_old() if write.wants_images and not moving else -1
    write.mark()
    write.sent = True
    result = send()
    changed = cursor.rowcount
    # Rows that came to match while the statement waited were not locked: then nothing is known.
    if images < 0 or changed < 0 or (changed > images if named else changed != images):
        write.details = None
        if not named:
            write.rows = None
    return result
