"""What a user invalidates by name, object, model or table, as writes: bumped after COMMIT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper

from . import identities
from .orm import reads, scopes, transaction


def tags(names: Iterable[str]) -> None:
    """Bump names that the user chose."""
    transaction.note_anywhere([scopes.user_tag(name) for name in names])


def obj(instance: Any) -> None:
    """Bump the row of an instance, in each of its tables, and the conditions that may have found
    it.

    Raises:
        TypeError: It is no model instance.
        ValueError: It has no primary key.
    """
    if not isinstance(instance, models.Model):
        raise TypeError(f"invalidate_obj takes a model instance, not {instance!r}")
    if not identities.is_saved(instance):
        raise ValueError(
            f"invalidate_obj: a {instance._meta.label} without a primary key is no row: it has not "
            "been saved, or is deleted. invalidate_model drops what depends on any row."
        )
    model = type(instance)
    alias = instance._state.db or router.db_for_write(model, instance=instance)
    connection = connections[alias or DEFAULT_DB_ALIAS]
    for each in (model, *model._meta.all_parents):
        found = scopes.table_tags(connection, each._meta.db_table)
        key = reads.row_key(each, instance, connection)
        changed = [found.table, found.bulk if key is None else found.row(key)]
        # No images: what the row was before is not known, so every condition is concerned.
        transaction.note(connection, [*changed, found.condition_bulk])


def model(of: Any) -> None:
    """Bump every row of a model, in each of its tables.

    Raises:
        TypeError: It is no model.
    """
    if not (isinstance(of, type) and issubclass(of, models.Model)):
        raise TypeError(f"invalidate_model takes a model, not {of!r}")
    tables(reads.tables_of(of))


def tables(names: Iterable[str]) -> None:
    """Bump every row of tables, in each database of the project."""
    wanted = list(names)
    for name in wanted:
        if not isinstance(name, str) or not name:
            raise TypeError(f"invalidate_tables takes names of tables, not {name!r}")
    for connection in _databases():
        transaction.note_tables(connection, wanted)


def _databases() -> Iterator[BaseDatabaseWrapper]:
    """One connection for each database: of several aliases, one with an open transaction."""
    found: dict[str, BaseDatabaseWrapper] = {}
    for alias in connections:
        connection = connections[alias]
        name = scopes.database(connection)
        if name not in found or transaction.in_transaction(connection):
            found[name] = connection
    yield from found.values()
