"""A writer that is killed leaves nothing stale for longer than its lease (I5)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management.color import no_style
from django.db import connection
from django.db.models import Sum

from djsmartcache import process, smart_cached
from tests.children import Child
from tests.orm.conftest import environment
from tests.testapp.models import Product

LEASE = 2.0  # seconds
SPARED = 1  # a product that nobody writes to
STEPS = ("begun", "marked", "committed", "bumped")
HOWS = (
    "save",
    "atomically",
    "update",
    "update_many",
    "by_hand",
    "committed_by_hand",
    "with_sql",
    "switched",
    "delete",
    "insert",
)


@smart_cached(ttl=None)
def stock(pk: int) -> int | None:
    return Product.objects.filter(pk=pk).values_list("stock", flat=True).first()


@smart_cached(ttl=None)
def stocks(name: str) -> list[int]:
    return sorted(Product.objects.filter(name=name).values_list("stock", flat=True))


@smart_cached(ttl=None)
def total(name: str) -> int | None:
    these = Product.objects.filter(name__startswith=name)
    found: int | None = these.aggregate(total=Sum("stock"))["total"]
    return found


@pytest.fixture
def doomed(
    shop: None, database: dict[str, Any], store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Child]:
    monkeypatch.setattr(process, "MARK_LEASE", LEASE)
    process.configure()
    child = Child("tests.orm.doomed", environment(database, store))
    assert child.hear() == "ready"
    assert child.ask("lease", LEASE) == "lease"
    yield child
    child.close()


def name_of(pk: int) -> str:
    return f"product-{pk}."


Plan = tuple[str, str, int]
"""The step at which a writer dies, how it writes, and what product."""


class Deaths:
    """Writers that die, each in a store of its own, for the marks of one cover for others.

    Args:
        doomed: Their parent.
        conditions: Whether products are looked up by their names, too.
    """

    def __init__(self, doomed: Child, settings: Any, *, conditions: bool) -> None:
        self.doomed = doomed
        self.settings = settings
        self.conditions = conditions
        # psycopg does not switch inside of a transaction.
        hows = [how for how in HOWS if how != "switched" or connection.vendor == "sqlite"]
        ways = [(step, how) for step in STEPS for how in hows]
        self.plans: list[Plan] = [(*way, pk) for pk, way in enumerate(ways, start=SPARED + 1)]
        self.keys = range(SPARED, SPARED + 1 + len(ways))
        Product.objects.bulk_create(Product(pk=pk, name=name_of(pk), stock=pk) for pk in self.keys)
        with connection.cursor() as cursor:
            for sql in connection.ops.sequence_reset_sql(no_style(), [Product]):
                cursor.execute(sql)

    def calls(self, plan: Plan) -> list[tuple[Any, Any]]:
        """Give functions and arguments whose answers a plan changes, and some that it does not."""
        _, how, pk = plan
        calls: list[tuple[Any, Any]] = []
        for each in (SPARED, pk):
            calls += [(stock, each), (total, name_of(each))]
            if self.conditions:
                calls.append((stocks, name_of(each)))
        if how == "insert":
            # What it adds was looked for before.
            added = range(self.keys.stop, self.keys.stop + len(STEPS))
            others = Product.objects.filter(pk__in=added).exclude(name=name_of(pk))
            calls += [(stock, each) for each in {*added} - {*others.values_list("pk", flat=True)}]
        return calls

    def happen(self) -> None:
        for plan in self.plans:
            step, how, pk = plan
            self.settings.SMARTCACHE_KEY_PREFIX = prefix = f"plan{pk}"
            for function, argument in self.calls(plan):
                function(argument)
            assert self.doomed.ask("die", step, how, pk, 1000 + pk, prefix) == "killed"
            total(name_of(pk))  # what is computed meanwhile is concerned as well

    def stale(self) -> dict[Plan, list[str]]:
        """Give the answers that are not as the database has them."""
        found: dict[Plan, list[str]] = {}
        for plan in self.plans:
            self.settings.SMARTCACHE_KEY_PREFIX = f"plan{plan[-1]}"
            for function, argument in self.calls(plan):
                had, has = function(argument), function.uncached(argument)
                if had != has:
                    what = f"{function.__name__}({argument!r}) is {had}, not {has}"
                    found.setdefault(plan, []).append(what)
        return found


@pytest.mark.parametrize("way", ["tables", "conditions", "standing"])
def test_a_killed_writer_leaves_nothing_stale_after_its_lease(
    doomed: Child, settings: Any, way: str
) -> None:
    if way == "standing":
        assert doomed.ask("written", SPARED) == "written"
    deaths = Deaths(doomed, settings, conditions=way != "tables")
    deaths.happen()
    time.sleep(LEASE)
    assert deaths.stale() == {}


def test_without_marks_it_would(doomed: Child, settings: Any) -> None:
    assert doomed.ask("unmarked") == "unmarked"
    deaths = Deaths(doomed, settings, conditions=True)
    deaths.plans = [plan for plan in deaths.plans if plan[0] == "committed"]
    deaths.happen()
    time.sleep(LEASE)
    assert deaths.stale().keys() == set(deaths.plans), "the test above proves nothing"
