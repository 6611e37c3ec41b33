"""The project's tests: each meets the other, which runs in another process at the same time.

Both have a product with the same primary key, and ask the same function for its name.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from django.test import TestCase, TransactionTestCase

from djsmartcache import cache_get, cache_invalidate, cache_set, smart_cached
from tests.testapp.models import Product

PLACE = Path(os.environ["SMARTCACHE_TEST_MEETING"])
SECONDS = 60.0  # for the other process to come; only a failing test takes as long

calls = 0


@smart_cached
def name_of(pk: int) -> str:
    global calls
    calls += 1
    return Product.objects.get(pk=pk).name


def meet(me: str, other: str, point: str) -> None:
    """Wait until the other test is at this point as well."""
    (PLACE / f"{point}-{me}").touch()
    deadline = time.monotonic() + SECONDS
    while not (PLACE / f"{point}-{other}").exists():
        assert time.monotonic() < deadline, f"{other} never came to {point!r}"
        time.sleep(0.005)


def share(me: str, other: str) -> None:
    """Cache what is of this process' database, beside the other test."""
    before = calls
    meet(me, other, "begun")
    Product.objects.create(pk=1, name=me)
    if me == "second":
        meet(me, other, "first has cached")
    assert name_of(1) == me
    assert cache_get("by hand") is None
    assert cache_set("by hand", me)
    if me == "first":
        meet(me, other, "first has cached")
    meet(me, other, "both have cached")
    assert (name_of(1), cache_get("by hand")) == (me, me)
    assert calls == before + 1
    meet(me, other, "both were right")
    if me == "second":
        assert cache_invalidate("by hand", name_of.key(1)) == 2
        Product.objects.filter(pk=1).update(name="changed")
        assert name_of(1) == "changed"
    meet(me, other, "second has changed")
    if me == "first":
        assert (name_of(1), cache_get("by hand")) == (me, me)
        assert calls == before + 1


class First(TestCase):
    def test_of_the_first(self) -> None:
        share("first", "second")


class Second(TransactionTestCase):
    def test_of_the_second(self) -> None:
        share("second", "first")
