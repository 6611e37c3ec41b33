"""What all caches are asked to keep: the queries, each a function of one number.

Adapters import it before Django is set up, so the model is looked up at each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Sum

from tests.race.plan import rows_of

if TYPE_CHECKING:
    from tests.race.models import Item


def items() -> Any:
    """Give the manager of the table."""
    return apps.get_model("race", "Item").objects


def row(pk: int) -> Item | None:
    found: Item | None
    try:
        found = items().get(pk=pk)
    except apps.get_model("race", "Item").DoesNotExist:
        return None
    return found


def stamp(pk: int) -> int | None:
    return stamp_of(row(pk))


def stamp_of(item: Item | None) -> int | None:
    return None if item is None else item.stamp


async def stamp_in_task(pk: int) -> int | None:
    return stamp_of(await items().filter(pk=pk).afirst())


def place(number: int) -> dict[int, int | None]:
    return dict(items().filter(place=number).values_list("pk", "stamp"))


def total(_: int = 0) -> int:
    return items().aggregate(total=Sum("version"))["total"] or 0


def page_of(window: int) -> list[int]:
    """Give the rows that a page is made of: every other one of a window."""
    return list(rows_of(window))[::2]
