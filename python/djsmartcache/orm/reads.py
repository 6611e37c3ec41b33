"""What a statement about to be sent reads, as tags of the computation under way.

Every table that the SQL names counts. The WHERE clause of a compiled query may tell which rows it
can reach of a table; then the tags are of those rows or of that condition, in place of the whole
table. That holds only while the table stands in the statement once: a subquery that reads it too
reaches other rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model, QuerySet
from django.db.models.sql.compiler import SQLAggregateCompiler, SQLCompiler

from djsmartcache.orm import (
    catalog,
    conditions,
    dependencies,
    functions,
    scopes,
    tables,
    transaction,
)
from djsmartcache.orm.dependencies import Computation
from djsmartcache.orm.values import canonical

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from djsmartcache.orm.scopes import Scheme


def before(
    computation: Computation,
    connection: BaseDatabaseWrapper,
    sql: str,
    compiler: SQLCompiler | None,
) -> None:
    """Take the tokens of what ``sql`` reads, or forbid to store; ``compiler``: the ORM's, if it
    made it."""
    if computation.forbidden is not None:
        return
    reason = transaction.unfit(connection)
    if reason:
        computation.forbid(reason)
        return
    _record(computation, connection, sql, compiler)


def _record(
    computation: Computation,
    connection: BaseDatabaseWrapper,
    sql: str,
    compiler: SQLCompiler | None,
) -> None:
    if compiler is None:
        statement = tables.of_raw(sql, connection.vendor)
    else:
        statement = tables.of_orm(sql, connection.vendor, catalog.registry().every)
    reason = (
        statement.opaque
        or _function(statement, connection)
        or _unknown(statement, connection)
        or _replica(statement, connection)
    )
    if reason:
        computation.forbid(reason)
        return
    tags: list[int] = []
    schemes: list[Scheme] = []
    treated = set() if compiler is None else _precise(statement, compiler, tags, schemes)
    others = statement.reads - treated
    others = others.union(*(catalog.ancestors(connection, name) for name in statement.reads))
    tags.extend(scopes.table_tags(connection, name).table for name in others)
    computation.take(tags, schemes)


def _function(statement: tables.Statement, connection: BaseDatabaseWrapper) -> str:
    name = functions.refused(connection, statement.calls)
    return f"what {name}() answers may change by itself" if name else ""


def _unknown(statement: tables.Statement, connection: BaseDatabaseWrapper) -> str:
    refused = catalog.uncachable()
    for name in statement.reads:
        if name in refused:
            return f"SMARTCACHE_UNCACHABLE_TABLES names {name}"
        if not catalog.is_plain(connection, name):
            return f"{name} is no table whose changes are noticed"
    return ""


def _replica(statement: tables.Statement, connection: BaseDatabaseWrapper) -> str:
    """Say why a read may lag behind the writes: another server's copy answers it."""
    if transaction.standby(connection):
        return "a standby server answered"
    if len(list(connections)) == 1:
        return ""
    here = _server(connection.settings_dict)
    for name in statement.reads & catalog.registry().every:
        model = catalog.registry().by_table[name]
        written = router.db_for_write(model)
        if written == connection.alias:
            continue
        there = connections[written]
        same = scopes.database(there) == scopes.database(connection)
        routed = router.db_for_read(model) == connection.alias
        if (same and _server(there.settings_dict) != here) or (routed and not same):
            return f"a replica answered: {name} is written through another server"
    return ""


def _server(settings: dict[str, Any]) -> tuple[str, str]:
    return str(settings.get("HOST") or ""), str(settings.get("PORT") or "")


def _precise(
    statement: tables.Statement, compiler: SQLCompiler, tags: list[int], schemes: list[Scheme]
) -> set[str]:
    """Add the tags of the rows that a query can reach of its tables; give the tables so treated."""
    query: Any = compiler.query
    selects = 1
    if isinstance(compiler, SQLAggregateCompiler):
        query = query.inner_query
        selects = 2
    if query.extra_tables or query.combinator:
        return set()
    nested = statement.selects != selects
    windowed = getattr(compiler, "qualify", True) is not None
    if nested and (windowed or not statement.selects > selects == 1):
        # What is asked of a window's result is asked of rows that all others were counted for.
        return set()
    connection = compiler.connection
    # Reference counts tell nothing: compiling adds joins and takes their counts back.
    aliases = {alias: scopes.plain(source.table_name) for alias, source in query.alias_map.items()}
    keys = {alias: _key_column(name, query) for alias, name in aliases.items()}
    treated: set[str] = set()
    names = list(aliases.values())
    for alias, reached in conditions.of_query(query, keys, connection).items():
        name = aliases.get(alias)
        if name is None or name not in statement.reads:
            continue  # a join that compiling found to be needless
        if names.count(name) > 1 or (nested and name not in statement.once):
            continue
        treated.add(name)
        found = scopes.table_tags(connection, name)
        for part in reached:
            if isinstance(part, conditions.Rows):
                tags.append(found.bulk)
                tags.extend(found.row(key) for key in part.keys)
            else:
                tags.append(found.condition_bulk)
                tags.extend(found.condition(part.columns, values) for values in part.values)
                schemes.append((found.table, found.condition_bulk, part.columns))
    return treated


def _key_column(table: str, query: Any) -> str | None:
    registry = catalog.registry()
    own = query.get_meta()
    model = query.model if scopes.plain(own.db_table) == table else registry.by_table.get(table)
    return None if model is None else registry.key_column(model)


def declare(computation: Computation, things: Iterable[Any]) -> None:
    """Depend on models, instances and querysets that the user names."""
    for thing in things:
        if isinstance(thing, QuerySet):
            _declare_queryset(computation, thing)
        elif isinstance(thing, Model):
            alias = thing._state.db or router.db_for_read(type(thing), instance=thing)
            computation.take(instance_tags(thing, connections[alias or DEFAULT_DB_ALIAS]))
        elif isinstance(thing, type) and issubclass(thing, Model):
            connection = connections[router.db_for_read(thing)]
            computation.take(
                [scopes.table_tags(connection, name).table for name in tables_of(thing)]
            )
        else:
            raise TypeError(
                f"depends_on takes models, model instances and querysets, not {thing!r}"
            )


def _declare_queryset(computation: Computation, queryset: QuerySet[Any, Any]) -> None:
    compiler = queryset.query.get_compiler(using=queryset.db)
    try:
        sql, _ = compiler.as_sql()
    except EmptyResultSet:
        return
    _record(computation, compiler.connection, sql, compiler)


def tables_of(model: type[Model]) -> Sequence[str]:
    """Give the tables in which a model's rows lie, its parents' included."""
    concrete = [model, *model._meta.all_parents]
    return list(dict.fromkeys(scopes.plain(each._meta.db_table) for each in concrete))


def instance_tags(instance: Model, connection: BaseDatabaseWrapper) -> list[int]:
    """Give the tags of a reader of one instance, by the primary key in each of its tables."""
    tags: list[int] = []
    for model in [type(instance), *instance._meta.all_parents]:
        found = scopes.table_tags(connection, model._meta.db_table)
        key = row_key(model, instance, connection)
        tags.extend([found.table] if key is None else [found.bulk, found.row(key)])
    return tags


def row_key(model: type[Model], instance: Model, connection: BaseDatabaseWrapper) -> str | None:
    """Give the primary key of an instance in the table of ``model``, as tags name it."""
    field = model._meta.pk
    if field is None or catalog.registry().key_column(model) is None:
        return None
    value = getattr(instance, field.attname, None)
    return None if value is None else canonical(field, value, connection)


dependencies.declare = declare
