"""Invalidation by hand reaches every table of a model, and every database of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, models, transaction

from djsmartcache import (
    invalidate_model,
    invalidate_obj,
    invalidate_tables,
    smart_cached,
)
from tests.stores import store
from tests.testapp.models import Category, Place, Restaurant

__all__ = ["store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[str]:
    """The alias of a second database, which has these tables too."""
    made = connections["default"].copy("other")
    made.settings_dict["NAME"] = str(tmp_path / "other.sqlite3")
    made.ensure_connection()  # Django lets tests connect to databases that it does not know yet
    connections.settings["other"], connections["other"] = made.settings_dict, made
    with made.schema_editor() as editor:
        for model in (Place, Restaurant, Category):
            editor.create_model(model)
    yield "other"
    made.close()
    del connections["other"], connections.settings["other"]


@smart_cached(key="row:{alias}:{model.__name__}:{pk}")
def row(alias: str, model: type[models.Model], pk: int) -> bool:
    return model._default_manager.using(alias).get(pk=pk) is not None


@smart_cached(key="all:{alias}:{model.__name__}")
def all_of(alias: str, model: type[models.Model]) -> int:
    return len(model._default_manager.using(alias).all())


class Kept:
    """What is cached of two restaurants, the places that they are too, and a category."""

    def __init__(self, *aliases: str) -> None:
        self.calls: dict[str, tuple[Any, tuple[Any, ...]]] = {}
        self.made: dict[str, Restaurant] = {}
        for alias in aliases:
            made = [
                Restaurant.objects.using(alias).create(name=name, seats=4) for name in ("a", "b")
            ]
            Category.objects.using(alias).create(name="of no restaurant")
            self.made[alias] = made[0]
            for name, pk in (("a", made[0].pk), ("b", made[1].pk)):
                self.calls[f"{alias} place {name}"] = (row, (alias, Place, pk))
                self.calls[f"{alias} restaurant {name}"] = (row, (alias, Restaurant, pk))
            for model in (Place, Restaurant, Category):
                self.calls[f"{alias} all {model.__name__}"] = (all_of, (alias, model))
        for function, arguments in self.calls.values():
            function(*arguments)
        assert self.dropped() == set()

    def dropped(self) -> set[str]:
        """Names of what is not cached any more."""
        return {
            name
            for name, (function, arguments) in self.calls.items()
            if function.get(*arguments) is None
        }


def of_row(alias: str) -> set[str]:
    return {f"{alias} place a", f"{alias} restaurant a"} | {
        f"{alias} all {name}" for name in ("Place", "Restaurant")
    }


def of_rows(alias: str) -> set[str]:
    return of_row(alias) | {f"{alias} place b", f"{alias} restaurant b"}


def test_an_object_is_dropped_from_the_tables_of_its_parents() -> None:
    kept = Kept("default")
    invalidate_obj(kept.made["default"])
    assert kept.dropped() == of_row("default")


def test_an_object_of_a_parent_drops_what_is_made_of_its_child() -> None:
    kept = Kept("default")
    # What is read of a restaurant is read of its place as well.
    invalidate_obj(Place.objects.get(pk=kept.made["default"].pk))
    assert kept.dropped() == of_row("default")


def test_a_model_is_dropped_with_its_parents() -> None:
    kept = Kept("default")
    invalidate_model(Restaurant)
    assert kept.dropped() == of_rows("default")


def test_tables_and_models_are_dropped_in_every_database(other: str) -> None:
    for drop in (
        lambda: invalidate_tables("testapp_place", "testapp_restaurant"),
        lambda: invalidate_model(Restaurant),
    ):
        kept = Kept("default", other)
        drop()
        assert kept.dropped() == of_rows("default") | of_rows(other)


@pytest.mark.parametrize("of", ["default", "other"])
def test_an_object_is_dropped_in_its_own_database(other: str, of: str) -> None:
    kept = Kept("default", other)
    invalidate_obj(kept.made[of])
    assert kept.dropped() == of_row(of)


def test_each_database_is_told_after_its_own_commit(other: str) -> None:
    kept = Kept("default", other)
    with transaction.atomic(using=other):
        invalidate_model(Restaurant)
        assert kept.dropped() == of_rows("default")
        connections[other].set_rollback(True)
    assert kept.dropped() == of_rows("default")
    with transaction.atomic(using=other):
        invalidate_model(Restaurant)
    assert kept.dropped() == of_rows("default") | of_rows(other)
