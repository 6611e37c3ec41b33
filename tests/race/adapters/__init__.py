"""Caches in the race: one module each, with a class `Cache` that is an `Adapter`.

A worker makes one, configures Django with its `settings`, calls `install`, and then its `reads`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.race.plan import Plan

if TYPE_CHECKING:
    from django.db.models import QuerySet

NAMES = (
    "none",
    "smartcache",
    "broken",
    "forgetful",
    "unfenced",
    "cacheops",
    "cachalot",
    "get_or_set",
)
PEERS = ("cacheops", "cachalot")
"""Those whose packages `make .venv/bench` installs."""
EVERY_WRITE = frozenset(
    [
        *("save", "save_in_atomic", "save_twice", "update", "update_by_condition", "bulk_update"),
        *("upsert", "raw", "rolled_back", "rolled_back_to_savepoint", "delete", "replace"),
    ]
)

Answer = dict[int, int | None]
Reads = Mapping[str, Callable[[int], Any]]


@dataclass(frozen=True)
class Place:
    """What a cache is given to store in, and which worker it is of."""

    redis_url: str
    folder: str
    worker: int


class Adapter:
    """A cache; this one is no cache.

    The reads by name, each of which may be missing: `row`, `key` and `task` give the stamp of a
    row or None, `place` those of a condition by primary key, `page` those of some rows, made of
    other cached answers, and `total` the sum of all versions.
    """

    apps: tuple[str, ...] = ()
    writes = EVERY_WRITE
    """Those kinds of `writes.KINDS` that the cache says it notices, by signals or otherwise."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self.plan = plan
        self.place = place

    def settings(self) -> dict[str, Any]:
        return {}

    def install(self) -> None:
        """Do what comes after `django.setup()`."""

    def reads(self) -> Reads:
        raise NotImplementedError

    def update(self, found: QuerySet[Any], **changes: Any) -> int:
        """Update rows as the cache wants it to be done."""
        return found.update(**changes)

    def ticket(self) -> str:
        """Give a ticket for what has been written so far. Asked for at the level `session`."""
        raise NotImplementedError

    def session(self, ticket: str) -> AbstractContextManager[None]:
        """Give a block whose reads see what was written before a ticket was given, and before the
        block began."""
        return nullcontext()

    def after_query(self) -> None:
        """Called in the thread of a query, after the delay that follows it."""

    def queued(self) -> int:
        """How many writes the store could not be told of so far."""
        return 0

    def replayed(self) -> bool:
        """Whether all such have been told since."""
        return True


def make(plan: Plan, place: Place) -> Adapter:
    module = importlib.import_module(f"tests.race.adapters.{plan.adapter}")
    made: Adapter = module.Cache(plan, place)
    return made
