"""Names of what tags stand for: which database, which table, which row, which condition.

The one place where tag names are made. A tag may stand for more than it says, which only
invalidates too much; two names for one thing would lose invalidations. So a database is known by
its vendor and name, not by its host, which differs between processes (``localhost``, a container's
name, a connection pool), and a table by its lower-case name without schema, which a search path may
leave out.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from djsmartcache import _core
from djsmartcache.conf import namespace
from djsmartcache.orm.state import state_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Scheme = tuple[int, int, str]
"""(table tag, condition-bulk tag, "column_a,column_b"): columns by which some entry is found."""


def database(connection: BaseDatabaseWrapper) -> str:
    """Give the identity of a database: equal for all aliases and processes that share it.

    *Cost*: connects once where the settings do not tell the name.
    """
    state = state_of(connection)
    settings = connection.settings_dict
    told = (settings.get("NAME"), repr(settings.get("OPTIONS")), os.getpid())
    if state.database is None or state.database[0] != told:
        if connection.vendor in ("postgresql", "mysql") and not _told_name(connection):
            return f"{connection.vendor}:{_server_name(connection)}"
        state.database = (told, named(connection))
    return state.database[1]


def named(connection: BaseDatabaseWrapper) -> str:
    """Give the identity of a database as far as the settings tell it; never connects."""
    settings = connection.settings_dict
    name = str(settings.get("NAME") or "")
    if connection.vendor == "sqlite":
        return (
            f"sqlite:{os.getpid()}:{name}"
            if in_memory(connection)
            else f"sqlite:{_real_path(name)}"
        )
    told = _told_name(connection)
    if not told and connection.vendor in ("postgresql", "mysql"):
        options = settings.get("OPTIONS") or {}
        file = options.get("service") or options.get("read_default_file")
        return f"{connection.vendor}?{name or file or settings.get('USER') or ''}"
    return f"{connection.vendor}:{told}"


def in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is a database of SQLite that is in the memory of this process alone."""
    name = str(connection.settings_dict.get("NAME") or "")
    return connection.vendor == "sqlite" and (name == ":memory:" or "mode=memory" in name)


_reported: dict[str, str] = {}
"""Names that connections reported, by their parameters."""


def _told_name(connection: BaseDatabaseWrapper) -> str:
    """Give the name that the settings tell; "" where a service file, an option file or the driver's
    default has it, or it is a connection string."""
    settings = connection.settings_dict
    options = settings.get("OPTIONS") or {}
    # Drivers prefer these to NAME.
    told = options.get("dbname") or options.get("database") or options.get("db")
    name = str(told or settings.get("NAME") or "")
    hidden = connection.vendor == "postgresql" and ("=" in name or "://" in name)
    return "" if hidden else name


def _server_name(connection: BaseDatabaseWrapper) -> str:
    settings = connection.settings_dict
    parameters = repr([settings.get(key) for key in ("HOST", "PORT", "USER", "NAME", "OPTIONS")])
    if parameters not in _reported:
        connection.ensure_connection()
        _reported[parameters] = _report(connection)
    return _reported[parameters]


def _report(connection: BaseDatabaseWrapper) -> str:
    driver: Any = connection.connection
    if connection.vendor == "postgresql":
        return str(driver.info.dbname)  # libpq knows: works in a failed transaction as well
    with driver.cursor() as cursor:
        cursor.execute("SELECT DATABASE()")
        return str(cursor.fetchone()[0] or "")


@lru_cache(maxsize=256)
def _real_path(name: str) -> str:
    if name.startswith("file:"):
        # As SQLite reads it: without a host, which is "localhost" or empty, and percent-decoded.
        name = unquote(urlsplit(name).path)
    return os.path.realpath(name)


MAX_BYTES = 63
"""Of a name, which PostgreSQL cuts there, between letters (its NAMEDATALEN). So are all names here:
others refuse or keep longer ones, of which some then share a tag."""

_QUALIFIER = re.compile(r"""["`\]]\s*\.\s*["`\[]""")


def plain(table: str) -> str:
    """Give a table's name as tags know it: lower case, without quotes and the schema before it, and
    no longer than PostgreSQL has it.

    A dot between quotes, or where nothing is quoted, is part of the name: ``db_table`` and the
    catalogues of databases hold names as they are.
    """
    # The database cuts the name as it is; some small letters take more bytes.
    return cut(cut(bare(table)).lower())


def bare(table: str) -> str:
    """Give a table's name as the database has it, without quotes and the schema before it."""
    return _QUALIFIER.split(table)[-1].strip('"`[] ')


def cut(name: str) -> str:
    """Give a name as PostgreSQL keeps it."""
    if name.isascii():
        return name[:MAX_BYTES]
    return name.encode(errors="ignore")[:MAX_BYTES].decode(errors="ignore")


def user_tag(name: str) -> int:
    """Give the tag of a name that the user chose."""
    # As it is spelled, not as a subclass prints it: an Enum and its text are one name.
    return _core.tag("u", f"{namespace()}\0{str.__str__(name)}")


class TableTags:
    """The tags of one table of one database."""

    __slots__ = ("bulk", "condition_bulk", "scope", "table")

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.table = _core.tag("t", scope)
        self.bulk = _core.tag("b", scope)
        self.condition_bulk = _core.tag("q", scope)

    def row(self, primary_key: str) -> int:
        """Give the tag of one row, by its primary key as `values.canonical` renders it."""
        return _core.tag("r", self.scope, primary_key)

    def condition(self, columns: str, values: str) -> int:
        """Give the tag of a conjunction of equalities, columns sorted and values in their order."""
        return _core.tag("c", self.scope, f"{columns}={values}")

    def coarse(self) -> tuple[int, int, int]:
        """Give the tags that a write of unknown rows bumps."""
        return self.table, self.bulk, self.condition_bulk


@lru_cache(maxsize=4096)
def _table_tags(scope: str) -> TableTags:
    return TableTags(scope)


def table_tags(connection: BaseDatabaseWrapper, table: str) -> TableTags:
    """Give the tags of ``table``, which may be quoted, qualified or of any case.

    They are those of all namespaces: whether a table is shared between tenants nothing tells, and
    whoever writes to a shared one, perhaps outside of any tenant, must reach the entries of all.
    """
    return _table_tags(f"{database(connection)}\0{plain(table)}")
