"""The kinds of writes: each one transaction, or one statement that commits by itself.

A function gets the writer, rows of the window and a new stamp, and gives how many rows it changed,
as far as it knows. The database's log tells what came of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connection, transaction
from django.db.models import F

from tests.race.models import Item

if TYPE_CHECKING:
    from tests.race.adapters import Adapter


class RolledBack(Exception):
    """Raised to have a transaction rolled back."""


class Making:
    """One write in the making."""

    def __init__(
        self, adapter: Adapter, rows: Sequence[int], places: Sequence[int], stamp: int
    ) -> None:
        self.adapter = adapter
        self.rows = sorted(rows)  # locked in one order
        self.pk = rows[0]
        self.places = places
        self.stamp = stamp
        self.place = random.choice(places)

    def stored(self, pk: int) -> Item | None:
        """Read a row past all caches."""
        connection.ensure_connection()
        driver: Any = connection.connection
        names = ("id", "place", "version", "stamp")
        sql = f"SELECT {', '.join(names)} FROM race_item WHERE id = %s"
        row = driver.execute(sql, [pk]).fetchone()
        return None if row is None else Item.from_db("default", names, row)

    def change(self, item: Item) -> Item:
        item.version += 1
        item.stamp = self.stamp
        item.place = random.choice(self.places)
        return item


def save(it: Making) -> int:
    item = it.stored(it.pk)
    if item is None:
        return 0
    try:
        it.change(item).save(force_update=True)
    except DatabaseError as error:
        if "did not affect any rows" in str(error):  # somebody has deleted it
            return 0
        raise
    return 1


def save_in_atomic(it: Making) -> int:
    with transaction.atomic():
        for item in Item.objects.select_for_update().filter(pk=it.pk):
            it.change(item).save()
            return 1
    return 0


def save_twice(it: Making) -> int:
    """Two rows in one transaction, the first of them twice."""
    with transaction.atomic():
        items = list(Item.objects.select_for_update().filter(pk__in=it.rows[:2]).order_by("pk"))
        for item in items + items[:1]:
            it.change(item).save()
    return len(items)


def update(it: Making) -> int:
    return it.adapter.update(
        Item.objects.filter(pk=it.pk),
        version=F("version") + 1,
        stamp=it.stamp,
        place=it.place,
    )


def update_by_condition(it: Making) -> int:
    there = random.choice(it.places)
    changes = {"version": F("version") + 1, "stamp": it.stamp, "place": it.place}
    return it.adapter.update(Item.objects.filter(place=there), **changes)


def bulk_update(it: Making) -> int:
    with transaction.atomic():
        items = list(Item.objects.select_for_update().filter(pk__in=it.rows[:3]).order_by("pk"))
        for item in items:
            it.change(item)
        return Item.objects.bulk_update(items, ["version", "stamp", "place"]) if items else 0


def upsert(it: Making) -> int:
    with transaction.atomic():
        items = list(Item.objects.select_for_update().filter(pk__in=it.rows[:3]).order_by("pk"))
        for item in items:
            it.change(item)
        Item.objects.bulk_create(
            items,
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["version", "stamp", "place"],
        )
    return len(items)


def raw(it: Making) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE race_item SET version = version + 1, stamp = %s, place = %s WHERE id = %s",
            [it.stamp, it.place, it.pk],
        )
        return int(cursor.rowcount)


def rolled_back(it: Making) -> int:
    with transaction.atomic():
        for item in Item.objects.select_for_update().filter(pk=it.pk):
            it.change(item).save()
        raise RolledBack


def rolled_back_to_savepoint(it: Making) -> int:
    """Of two changes the inner is rolled back: it had another stamp, which nobody may see."""
    with transaction.atomic():
        items = list(Item.objects.select_for_update().filter(pk__in=it.rows[:2]).order_by("pk"))
        for item in items[:1]:
            it.change(item).save()
        try:
            with transaction.atomic():
                for item in items[1:]:
                    it.change(item)
                    item.stamp = -it.stamp
                    item.save()
                raise RolledBack
        except RolledBack:
            pass
    return len(items[:1])


def delete(it: Making) -> int:
    item = it.stored(it.pk)
    if item is None:
        return 0
    if random.random() < 0.5:
        return item.delete()[0]
    return Item.objects.filter(pk=it.pk).delete()[0]


def create(it: Making) -> int:
    Item.objects.create(pk=it.pk, place=it.place, version=1, stamp=it.stamp)
    return 1


def replace(it: Making) -> int:
    """Delete and create again, in one transaction."""
    with transaction.atomic():
        for item in Item.objects.select_for_update().filter(pk=it.pk):
            version = item.version
            item.delete()
            Item.objects.create(pk=it.pk, place=it.place, version=version + 1, stamp=it.stamp)
            return 1
    return 0


KINDS: dict[str, tuple[float, Callable[[Making], int]]] = {
    "save": (4, save),
    "save_in_atomic": (4, save_in_atomic),
    "save_twice": (1, save_twice),
    "update": (3, update),
    "update_by_condition": (0.5, update_by_condition),
    "bulk_update": (1, bulk_update),
    "upsert": (1, upsert),
    "raw": (1, raw),
    "rolled_back": (1, rolled_back),
    "rolled_back_to_savepoint": (0.5, rolled_back_to_savepoint),
    "delete": (0.7, delete),
    "replace": (0.7, replace),
}
"""How often each is chosen; `create` follows `delete`."""
