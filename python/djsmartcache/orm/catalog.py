"""Which names are tables, so that a bump of each write to them is certain to be sent.

A name that is neither the table of a managed model nor, by introspection, a plain table of the
database may be a view, a temporary table or another schema's: nothing tells when it changes, so no
answer read from it is stored. That costs users of views the cache, and never a stale answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DatabaseError

from djsmartcache import conf
from djsmartcache.orm import scopes
from djsmartcache.orm.state import internal

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model

logger = logging.getLogger("djsmartcache")


class Registry:
    """What the app registry says of tables; made anew when models are added."""

    def __init__(self, models: list[type[Model]]) -> None:
        self.models = models
        self.by_table: dict[str, type[Model]] = {}
        self.every: frozenset[str]
        self.managed: frozenset[str]
        self._keys: dict[str, str | None] = {}
        managed: set[str] = set()
        for model in models:
            options = model._meta
            if options.proxy:
                continue
            name = plain(options.db_table)
            self.by_table.setdefault(name, model)
            if options.managed:
                managed.add(name)
            key = options.pk.column if options.pk is not None else None
            # Two models of one table that name its rows by different columns: by none.
            self._keys[name] = key if self._keys.get(name, key) == key else None
        self.every = frozenset(self.by_table)
        self.managed = frozenset(managed)
        self.cascades = _cascades(models)

    def key_column(self, model: type[Model]) -> str | None:
        """Give the column by which tags name the rows of a model's table; None: they do not."""
        own = model._meta.pk.column if model._meta.pk is not None else None
        return own if self._keys.get(plain(model._meta.db_table), own) == own else None


def plain(table: str) -> str:
    """Give a table's name as `tables` and `scopes` know it: lower case, without quotes and
    schema."""
    return table.rpartition(".")[2].strip('"`[] ').lower()


_registry: Registry | None = None
_introspected: dict[str, frozenset[str]] = {}


def registry() -> Registry:
    """Give the tables of all models. Django keeps the list of models until one is added."""
    global _registry
    models = apps.get_models(include_auto_created=True, include_swapped=True)
    if _registry is None or _registry.models is not models:
        _registry = Registry(models)
    return _registry


def _cascades(models: Iterable[type[Model]]) -> dict[str, frozenset[str]]:
    """Tables that the database itself changes when rows of a table are deleted (``DB_CASCADE`` &
    co.)."""
    direct: dict[str, set[str]] = {}
    for model in models:
        for field in model._meta.local_fields:
            target = _database_cascade(field)
            if target is not None:
                direct.setdefault(plain(target), set()).add(plain(model._meta.db_table))
    closed: dict[str, frozenset[str]] = {}
    for table in direct:
        seen: set[str] = set()
        todo = list(direct[table])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo.extend(direct.get(name, ()))
        closed[table] = frozenset(seen)
    return closed


def _database_cascade(field: Any) -> str | None:
    action = getattr(field.remote_field, "on_delete", None)
    # Since Django 6.1 such actions are instances of a class, the others plain functions.
    if action is None or not hasattr(action, "on_delete_sql"):
        return None
    table: str = field.remote_field.model._meta.db_table
    return table


def is_plain(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Whether ``name`` is a table whose changes are noticed. Asks the database once for all
    others."""
    return name in registry().managed or name in introspected(connection)


_LISTING = {
    "postgresql": "SELECT relname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE relkind IN ('r', 'p') AND relpersistence <> 't'"
    " AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')",
    "sqlite": "SELECT name FROM main.sqlite_master"
    " WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'",
    "mysql": "SELECT table_name FROM information_schema.tables"
    " WHERE table_type = 'BASE TABLE' AND table_schema = DATABASE()",
}
"""Permanent tables with rows of their own; Django's introspection lists temporary ones as well."""


def introspected(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """Give the plain tables that the database has. *Cost*: one query, the first time."""
    identity = scopes.database(connection)
    found = _introspected.get(identity)
    if found is None:
        try:
            with internal(connection), connection.cursor() as cursor:
                cursor.execute(_LISTING[connection.vendor])
                found = frozenset(plain(name) for (name,) in cursor.fetchall())
        except (DatabaseError, KeyError):
            logger.warning("the tables of %s could not be listed", connection.alias, exc_info=True)
            return frozenset()
        _introspected[identity] = found
    return found


def forget(connection: BaseDatabaseWrapper) -> None:
    """Introspect again when next asked: the schema was changed."""
    _introspected.pop(scopes.database(connection), None)


def all_tables(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """Give every table that an entry may depend on."""
    return registry().every | introspected(connection)


def uncachable() -> frozenset[str]:
    """Give the tables named in SMARTCACHE_UNCACHABLE_TABLES."""
    return frozenset(plain(name) for name in conf.current().uncachable_tables)
