"""How the database compares the values of a column: by its type and collation, which it is asked.

A field of a model says what Python takes a column for. The column itself may be of another type, or
its collation may take letters of both cases, or trailing blanks, for the same. Asked is by one
query for all tables met so far, when one is met first; the answer ages with the schema.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from djsmartcache.orm import schema, scopes

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field

logger = logging.getLogger("djsmartcache")

# Rows of (table, column, type); '' for a type or collation of which nothing is known.
_QUERIES = {
    "postgresql": "SELECT c.relname::text, a.attname::text,"
    " CASE WHEN t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace"
    " AND coalesce(k.collisdeterministic, true) THEN t.typname::text ELSE '' END"
    " FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " LEFT JOIN pg_catalog.pg_collation k ON k.oid = a.attcollation"
    " WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'"
    " AND a.attnum > 0 AND NOT a.attisdropped",
    # A collation is told by the table's text alone, which does not say easily of which column.
    "sqlite": "SELECT m.name, c.name, CASE WHEN instr(upper(m.sql), 'COLLATE') THEN ''"
    " WHEN instr(upper(c.type), 'INT') THEN 'number'"
    " WHEN instr(upper(c.type), 'CHAR') OR instr(upper(c.type), 'CLOB')"
    " OR instr(upper(c.type), 'TEXT') THEN 'text' ELSE 'number' END"
    " FROM main.sqlite_master m JOIN pragma_table_xinfo(m.name, 'main') c"
    " WHERE m.type = 'table' AND lower(m.name) IN (SELECT value FROM json_each(%s))",
    # Others than UTF-8 of four bytes are exchanged for the literal's where they lack its letters.
    "mysql": "SELECT table_name, column_name, CASE WHEN collation_name IS NULL"
    " OR (LEFT(collation_name, 8) = 'utf8mb4_' AND RIGHT(collation_name, 4) = '_bin')"
    " THEN data_type ELSE 'collated' END FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name IN ({marks})",
}

Columns = dict[str, frozenset[str]]
"""Column -> the kinds of values as which it compares."""

_NONE: frozenset[str] = frozenset()
_INTEGER, _TEXT = frozenset(["integer"]), frozenset(["text"])
_KINDS: dict[str, dict[str, frozenset[str]]] = {
    "postgresql": {
        **dict.fromkeys(("int2", "int4", "int8"), _INTEGER),
        **dict.fromkeys(("text", "varchar"), _TEXT),
        "bool": frozenset(["boolean"]),
        "date": frozenset(["date"]),
        "numeric": frozenset(["decimal"]),
        "uuid": frozenset(["uuid"]),
    },
    "sqlite": {"number": frozenset(["date"]), "text": frozenset(["date", "text"])},
    "mysql": {
        **dict.fromkeys(("smallint", "mediumint", "int", "bigint"), _INTEGER),
        **dict.fromkeys(("tinytext", "text", "mediumtext", "longtext"), _TEXT),
        "collated": frozenset(["uuid"]),
        "date": frozenset(["date"]),
        "tinyint": frozenset(["boolean", "integer"]),
        "char": frozenset(["text", "uuid"]),
        "uuid": frozenset(["uuid"]),
        "varchar": frozenset(["text", "uuid"]),
    },
}
# SQLite compares numbers as numbers whatever the column's type, and what is rendered of an UUID is
# the same for all texts that a collation could take for one.
_ANYWAY = {"sqlite": frozenset(["boolean", "integer", "uuid"])}

_met: dict[str, set[str]] = {}
"""Names of tables asked for, by database."""


def compares(connection: BaseDatabaseWrapper, field: Field[Any, Any], kind: str) -> bool:
    """Whether a column is known to take for equal what are equal values of a kind, and no others.

    Args:
        connection: Where the column is.
        field: Of the column itself: a foreign key may have another type than what it refers to.
        kind: "boolean", "date", "decimal", "integer", "text" or "uuid".

    *Cost*: none for a table met before, else a query.
    """
    if kind in _ANYWAY.get(connection.vendor, _NONE):
        return True
    columns = of_table(connection, field.model._meta.db_table)
    return kind in columns.get(field.column or "", _NONE)


def of_table(connection: BaseDatabaseWrapper, name: str) -> Columns:
    """Give the kinds as which the columns of a table compare; none if that is not known."""
    known = schema.of(connection).columns
    table = _named(connection, name)
    if table not in known:
        met = _met.setdefault(scopes.database(connection), set())
        met.add(scopes.bare(name))
        found = _read(connection, sorted(met))
        known.update(found)
        return found[table]
    return known.get(table, {})  # another thread may have forgotten it: not known


def are_met(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Whether the columns of a table are known, so that nothing has to be asked."""
    known = schema.known(connection)
    return known is not None and _named(connection, name) in known.columns


def _named(connection: BaseDatabaseWrapper, table: str) -> str:
    """Give the name by which a table is known here. Tags may take two tables for one, but what is
    known of one does not hold for the other."""
    name = scopes.bare(table)
    return scopes.cut(name) if connection.vendor == "postgresql" else name.lower()


def _read(connection: BaseDatabaseWrapper, names: list[str]) -> dict[str, Columns]:
    found: dict[str, Columns] = {_named(connection, name): {} for name in names}
    kinds = _KINDS.get(connection.vendor, {})
    try:
        rows = _ask(connection, names) if schema.answers(connection) else []
    except DatabaseError:
        logger.warning("columns of %s could not be listed", connection.alias, exc_info=True)
        rows = []
    for table, column, kind in rows:
        columns, of_kind = found.setdefault(_named(connection, table), {}), kinds.get(kind, _NONE)
        # Tables of one name in several schemas: as far as they agree.
        columns[column] = columns.get(column, of_kind) & of_kind
    return found


def _ask(connection: BaseDatabaseWrapper, names: list[str]) -> list[Any]:
    sql = _QUERIES.get(connection.vendor, "")
    if connection.vendor == "postgresql":
        return schema.query(connection, sql, [[scopes.cut(name) for name in names]])
    if connection.vendor == "sqlite":
        return schema.query(connection, sql, [json.dumps([name.lower() for name in names])])
    marks = ", ".join(["%s"] * len(names))
    return schema.query(connection, sql.format(marks=marks), names) if sql else []
