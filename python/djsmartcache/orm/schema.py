"""What the database says of its tables: which there are, and what else a write to one changes.

Read by one query, kept for all connections of a process, and read again once it is older than
`MAX_AGE`: other processes change schemas too. Names are as in `scopes`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from djsmartcache.orm import scopes, tables

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("djsmartcache")

MAX_AGE = 60.0
"""Seconds until a schema is read again. A migration in another process is known by then; what this
process changes itself is known at once."""

_MEMO_SIZE = 1024

clock = time.monotonic

_OWN = "nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
_FOREIGN_KEYS = (
    " FROM pg_catalog.pg_constraint k"
    " JOIN pg_catalog.pg_class child ON child.oid = k.conrelid"
    " JOIN pg_catalog.pg_class parent ON parent.oid = k.confrelid"
)

# Rows of (kind, name, other, column); what each kind means is in `Schema._add`.
_QUERIES = {
    "postgresql": "SELECT CASE WHEN relkind IN ('r', 'p') THEN 'table' ELSE 'other' END,"  # noqa: S608
    " relname::text, '', '' FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relpersistence <> 't' AND {_OWN}"
    # Indexes of partitions inherit as well.
    " UNION ALL SELECT 'parent', child.relname, parent.relname, ''"
    " FROM pg_catalog.pg_inherits i"
    " JOIN pg_catalog.pg_class child ON child.oid = i.inhrelid"
    " JOIN pg_catalog.pg_class parent ON parent.oid = i.inhparent"
    " WHERE child.relkind IN ('r', 'p', 'f')"
    " UNION ALL SELECT 'delete', parent.relname, child.relname, ''"
    f"{_FOREIGN_KEYS} WHERE contype = 'f' AND confdeltype NOT IN ('a', 'r')"
    " UNION ALL SELECT 'update', parent.relname, child.relname, attname"
    f"{_FOREIGN_KEYS} JOIN pg_catalog.pg_attribute a"
    " ON a.attrelid = k.confrelid AND a.attnum = ANY(k.confkey)"
    " WHERE contype = 'f' AND confupdtype NOT IN ('a', 'r')"
    # What the query of a view or the action of a rule names.
    " UNION ALL SELECT DISTINCT 'link', v.relname, base.relname, ''"
    " FROM pg_catalog.pg_rewrite r"
    " JOIN pg_catalog.pg_class v ON v.oid = r.ev_class"
    " JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace"
    " JOIN pg_catalog.pg_depend d ON d.objid = r.oid"
    " AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
    " AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
    " JOIN pg_catalog.pg_class base ON base.oid = d.refobjid"
    f" WHERE base.oid <> v.oid AND {_OWN}"
    " UNION ALL SELECT DISTINCT 'trigger', c.relname, '', ''"
    " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
    " WHERE NOT t.tgisinternal"
    # But for those of `outbox`, which change nothing else.
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid = t.tgfoid"
    " AND p.proname LIKE 'smartcache^_note^_%' ESCAPE '^')"
    # INSTEAD OF triggers: bit 6 of the type.
    " UNION ALL SELECT 'opaque', v.relname, '', ''"
    " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class v ON v.oid = t.tgrelid"
    " WHERE t.tgtype & 64 <> 0",
    # A view of SQLite takes writes by its triggers only, and its own tables change by themselves.
    "sqlite": "SELECT CASE WHEN type = 'view' THEN 'opaque'"
    " WHEN sql LIKE 'CREATE VIRTUAL%' OR name LIKE 'sqlite^_%' ESCAPE '^' THEN 'other'"
    " ELSE 'table' END, name, '', ''"
    " FROM main.sqlite_master WHERE type IN ('table', 'view')"
    " UNION ALL SELECT 'trigger', tbl_name, '', ''"
    " FROM main.sqlite_master WHERE type = 'trigger'"
    " UNION ALL SELECT 'link', v.name, t.name, ''"
    " FROM main.sqlite_master v JOIN main.sqlite_master t"
    " ON substr(t.name, 1, length(v.name) + 1) = v.name || '_'"
    " WHERE v.sql LIKE 'CREATE VIRTUAL%' AND t.type = 'table'"
    " UNION ALL SELECT 'delete', f.\"table\", m.name, ''"
    " FROM main.sqlite_master m JOIN pragma_foreign_key_list(m.name) f"
    " WHERE m.type = 'table' AND f.on_delete NOT IN ('NO ACTION', 'RESTRICT')"
    " UNION ALL SELECT 'update', f.\"table\", m.name, coalesce(f.\"to\", '')"
    " FROM main.sqlite_master m JOIN pragma_foreign_key_list(m.name) f"
    " WHERE m.type = 'table' AND f.on_update NOT IN ('NO ACTION', 'RESTRICT')",
    "mysql": "SELECT CASE WHEN table_type = 'BASE TABLE' THEN 'table' ELSE 'other' END,"
    " table_name, '', '' FROM information_schema.tables WHERE table_schema = DATABASE()"
    " UNION ALL SELECT 'view', table_name, view_definition, ''"
    " FROM information_schema.views WHERE table_schema = DATABASE()"
    " UNION ALL SELECT 'trigger', event_object_table, '', ''"
    " FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
    " UNION ALL SELECT 'delete', referenced_table_name, table_name, ''"
    " FROM information_schema.referential_constraints"
    " WHERE constraint_schema = DATABASE() AND delete_rule NOT IN ('NO ACTION', 'RESTRICT')"
    " UNION ALL SELECT 'update', k.referenced_table_name, k.table_name, k.referenced_column_name"
    " FROM information_schema.referential_constraints r"
    " JOIN information_schema.key_column_usage k ON k.constraint_schema = r.constraint_schema"
    " AND k.constraint_name = r.constraint_name AND k.table_name = r.table_name"
    " WHERE r.constraint_schema = DATABASE() AND r.update_rule NOT IN ('NO ACTION', 'RESTRICT')",
}

_TEMPORARY = {
    "postgresql": "SELECT relname, relkind = 'r' FROM pg_catalog.pg_class"
    " WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind IN ('r', 'p', 'v')",
    "sqlite": "SELECT name, type = 'table' FROM temp.sqlite_master WHERE type IN ('table', 'view')",
}


class Schema:
    """The tables of one database, and how they hang together."""

    def __init__(self, rows: Iterable[Sequence[str | None]] = ()) -> None:
        self.read_at = clock()
        self.known: set[str] = set()
        """All names, also of views and of foreign and virtual tables."""
        self.trusted: set[str] = set()
        """Names of functions; filled by `functions`, whose judgement ages along."""
        self.columns: dict[str, dict[str, frozenset[str]]] = {}
        """How columns compare, by table; filled by `columns`, and ages along."""
        self._besides: dict[Any, frozenset[str] | None] = {}
        """What `besides` found; every write asks."""
        self.triggered: set[str] = set()
        """Tables with triggers: what is stored in them may not be what was sent."""
        self._others: set[str] = set()
        self._opaque: set[str] = set()
        self._links: dict[str, set[str]] = {}
        self._parents: dict[str, set[str]] = {}
        self._deleted: dict[str, set[str]] = {}
        self._updated: dict[str, set[tuple[str, str]]] = {}
        self._views: dict[str, str] = {}
        for kind, name, other, column in rows:
            self._add(kind or "", scopes.plain(name or ""), other or "", (column or "").lower())
        self.tables = frozenset(self.known - self._others)
        """Permanent tables with rows of their own."""

    def _add(self, kind: str, name: str, other: str, column: str) -> None:
        if kind == "view":  # its definition, from which its tables have to be found
            self._views[name] = other
            return
        target = scopes.plain(other)
        if kind in ("table", "other", "opaque"):
            self.known.add(name)
        if kind == "other":  # no table with rows of its own
            self._others.add(name)
        elif kind == "opaque":  # nobody knows what a write to it changes
            self._others.add(name)
            self._opaque.add(name)
        elif kind == "trigger":
            self.triggered.add(name)
        elif kind == "link":  # a write to `name` may write `target`
            self._links.setdefault(name, set()).add(target)
        elif kind == "parent":  # `target` shows the rows of `name`
            self._parents.setdefault(name, set()).add(target)
        elif kind == "delete":  # deleting rows of `name` changes `target`
            self._deleted.setdefault(name, set()).add(target)
        elif kind == "update":  # changing `column` of `name` changes `target`
            self._updated.setdefault(name, set()).add((target, column))

    def ancestors(self, name: str) -> frozenset[str]:
        """Give the tables of which ``name`` is a part, by inheritance or as a partition.

        What is written through them may change ``name``, so that its readers depend on them; and
        what is written to ``name`` changes them. A parent need not know its many partitions so.
        """
        if name not in self._parents:
            return frozenset()
        return frozenset(_closure([name], lambda each: self._parents.get(each, ()))) - {name}

    def besides(
        self, names: Collection[str], deletes: bool, updates: Iterable[str] | None
    ) -> frozenset[str] | None:
        """Give the tables that the database changes when ``names`` are written; None: nobody knows.

        Those written are among them if other rows of theirs change as well.

        Args:
            names: Tables or views.
            deletes: Whether rows may go.
            updates: Columns of present rows that may change, '' for the primary key; None: any.
        """
        key = (frozenset(names), deletes, None if updates is None else frozenset(updates))
        if key not in self._besides:
            if len(self._besides) >= _MEMO_SIZE:
                self._besides.clear()
            self._besides[key] = self._find_besides(*key)
        return self._besides[key]

    def _find_besides(
        self, names: frozenset[str], deletes: bool, updates: frozenset[str] | None
    ) -> frozenset[str] | None:
        written = set(_closure(names, self._shown))
        if written & self._opaque:
            return None
        columns = None if updates is None else {column.lower() for column in updates}
        first = {child for name in written for child in self._children(name, deletes, columns)}
        found = set(_closure(first, self._follow))
        return None if found & self._opaque else frozenset((written - names) | found)

    def _shown(self, name: str) -> Iterator[str]:
        definition = self._views.get(name)
        if definition is not None:
            below = tables.of_raw(definition, "mysql").reads
            if not below:
                self._opaque.add(name)
            yield from below
        yield from self._links.get(name, ())
        yield from self._parents.get(name, ())

    def _children(self, name: str, deletes: bool, columns: set[str] | None) -> Iterator[str]:
        if deletes:
            yield from self._deleted.get(name, ())
        for child, column in self._updated.get(name, ()):
            if columns is None or column in columns:
                yield child

    def _follow(self, name: str) -> Iterator[str]:
        yield from self._shown(name)
        yield from self._children(name, True, None)


def _closure(names: Iterable[str], following: Any) -> Iterator[str]:
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            yield name
            todo.extend(following(name))


_schemas: dict[str, Schema] = {}


def of(connection: BaseDatabaseWrapper) -> Schema:
    """Give the schema of a database. *Cost*: one query, the first time and when it has aged."""
    found = known(connection)
    if found is None:
        aged = _schemas.get(scopes.database(connection))
        found = read(connection)
        if found is None and aged is not None and answers(connection):
            aged.read_at = clock()
            aged.columns = {}
        found = found or aged or Schema()
    return found


def known(connection: BaseDatabaseWrapper) -> Schema | None:
    """Give the schema of a database without asking for it; None: it has to be read."""
    found = _schemas.get(scopes.database(connection))
    return None if found is None or clock() - found.read_at > MAX_AGE else found


def read(connection: BaseDatabaseWrapper) -> Schema | None:
    """Read the schema anew; None if that failed."""
    if not answers(connection):
        return None
    try:
        found = Schema(query(connection, _QUERIES[connection.vendor]))
    except (DatabaseError, KeyError):
        logger.warning("the tables of %s could not be listed", connection.alias, exc_info=True)
        return None
    _schemas[scopes.database(connection)] = found
    return found


def forget(connection: BaseDatabaseWrapper) -> None:
    """Read the schema again when next asked: it was changed."""
    _schemas.pop(scopes.database(connection), None)


def temporary(connection: BaseDatabaseWrapper) -> dict[str, bool] | None:
    """Give the names of a connection's temporary tables and views, and whether each is a table.

    Empty where the database does not tell; None where it refuses. *Cost*: one query.
    """
    sql = _TEMPORARY.get(connection.vendor)
    if sql is None:
        return {}
    try:
        return {scopes.plain(name): bool(own) for name, own in query(connection, sql)}
    except DatabaseError:
        return None


def query(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any] | None = None
) -> list[Any]:
    """Run a query of our own by a cursor of the driver: neither hooks nor query counters see it.

    Where it fails, the user's transaction goes on.
    """
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        closing(connection.create_cursor()) as cursor,
        _savepoint(cursor) if _status(connection) == _INTRANS else nullcontext(),
    ):
        if parameters is None:
            cursor.execute(sql)
        else:
            cursor.execute(sql, parameters)
        return list(cursor.fetchall())


# libpq's numbers, in psycopg 3 and 2.
_INTRANS, _INERROR = 2, 3


def _status(connection: BaseDatabaseWrapper) -> int | None:
    """What PostgreSQL's driver says of the transaction; None: it does not tell, or is another."""
    status = getattr(getattr(connection.connection, "info", None), "transaction_status", None)
    return None if status is None else int(status)


def answers(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database answers at all: in a transaction that has failed it does not."""
    return _status(connection) != _INERROR


@contextmanager
def _savepoint(cursor: Any) -> Iterator[None]:
    cursor.execute("SAVEPOINT smartcache")
    try:
        yield
    except BaseException:
        cursor.execute("ROLLBACK TO SAVEPOINT smartcache")
        raise
    finally:
        cursor.execute("RELEASE SAVEPOINT smartcache")
