"""Which names are tables, so that a bump of each write to them is certain to be sent.

A name that is no plain table of the database may be a view, a temporary table or another schema's:
nothing tells when it changes, so no answer read from it is stored. That costs users of views the
cache, and never a stale answer. What is written through such a name is found, or is everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from django.apps import apps

from djsmartcache import conf
from djsmartcache.orm import schema, scopes
from djsmartcache.orm.state import state_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model


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
            name = scopes.plain(options.db_table)
            self.by_table.setdefault(name, model)
            if options.managed:
                managed.add(name)
            key = options.pk.column if options.pk is not None else None
            # Two models of one table that name its rows by different columns: by none.
            self._keys[name] = key if self._keys.get(name, key) == key else None
        self.every = frozenset(self.by_table)
        self.managed = frozenset(managed)

    def key_column(self, model: type[Model]) -> str | None:
        """Give the column by which tags name the rows of a model's table; None: they do not."""
        own = model._meta.pk.column if model._meta.pk is not None else None
        return own if self._keys.get(scopes.plain(model._meta.db_table), own) == own else None


_registry: Registry | None = None


def registry() -> Registry:
    """Give the tables of all models. Django keeps the list of models until one is added."""
    global _registry
    models = apps.get_models(include_auto_created=True, include_swapped=True)
    if _registry is None or _registry.models is not models:
        _registry = Registry(models)
    return _registry


def is_plain(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Whether ``name`` is a table whose changes are noticed."""
    found = schema.of(connection)
    hidden = _hidden(connection, found)
    if hidden is None or name in hidden:
        return False
    # A table that a migration under way has not made yet has no rows either.
    return name in found.tables or (name in registry().managed and name not in found.known)


def _hidden(connection: BaseDatabaseWrapper, found: schema.Schema) -> Collection[str] | None:
    """Give the names that hide, on this connection alone, permanent tables; None: nobody knows.

    *Cost*: none for a connection that has made none; else one query for each time that the schema
    is read, as it is anew after what changes it: making a temporary table is such a change.
    """
    state = state_of(connection)
    # A session out of a pool may have been another connection's.
    if not state.hides and "pool" not in connection.settings_dict.get("OPTIONS", {}):
        return ()
    met = state.hidden
    if met is None or met[0] is not found or met[1] != id(connection.connection):
        names = schema.temporary(connection)
        if names is None:
            return None
        met = state.hidden = (found, id(connection.connection), names)
    return met[2]


def besides(
    connection: BaseDatabaseWrapper,
    names: Collection[str],
    *,
    deletes: bool = True,
    updates: Iterable[str] | None = None,
) -> frozenset[str]:
    """Give the tables that the database changes by itself when rows of ``names`` are written.

    Those written are among them if it changes other rows of theirs. All tables are, if one is not
    known.

    Args:
        connection: Where they are written.
        names: Tables or views, as `scopes` knows them.
        deletes: Whether rows may go.
        updates: Columns of present rows that may change, '' for the primary key; None: any.

    *Cost*: none where the names are known; a query or two where they are not.
    """
    own = registry().managed
    known = schema.of(connection).known
    strange = [name for name in names if name not in known and name not in own]
    if strange:
        temporary = schema.temporary(connection) or {}
        strange = [name for name in strange if not temporary.get(name)]
        if strange:
            # Made by another process since.
            again = schema.read(connection)
            if again is None or not again.known.issuperset(strange):
                return all_tables(connection)
    found = schema.of(connection).besides(names, deletes, updates)
    return all_tables(connection) if found is None else found


def has_triggers(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Whether triggers may store other values in a table than it is sent."""
    return scopes.plain(name) in schema.of(connection).triggered


def ancestors(connection: BaseDatabaseWrapper, name: str) -> frozenset[str]:
    """Give the tables on which a reader of ``name`` depends as well; see `Schema.ancestors`."""
    return schema.of(connection).ancestors(name)


def all_tables(connection: BaseDatabaseWrapper) -> frozenset[str]:
    """Give every table that an entry may depend on."""
    return registry().every | schema.of(connection).tables


def uncachable() -> frozenset[str]:
    """Give the tables named in SMARTCACHE_UNCACHABLE_TABLES."""
    named = conf.current().uncachable_tables
    # Of a dot in them nobody knows whether it belongs to the name.
    return frozenset(
        scopes.plain(each) for name in named for each in (name, name.rpartition(".")[2])
    )
