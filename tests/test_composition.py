"""What an entry made from other entries depends on, however the inner calls were answered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from django.core.paginator import Paginator

from djsmartcache import (
    ainvalidate_tags,
    cache_invalidate,
    cache_set,
    cache_ttl,
    invalidate_tags,
    smart_cached,
    smartcache_disabled,
    waiting,
)
from tests.stores import store
from tests.testapp.models import Product

__all__ = ["store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]

WAIT = 10  # seconds; only a failing test takes as long


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda inner: inner.set(value=2), 2),
        (lambda inner: cache_set("inner", 3), 3),
        (lambda inner: inner.invalidate(), 0),
        (lambda inner: cache_invalidate("inner"), 0),
        (lambda inner: inner.refresh(), 0),
    ],
)
def test_an_outer_entry_depends_on_an_inner_one_that_was_set(change: Any, expected: int) -> None:
    inner = smart_cached(key="inner", ttl=None)(lambda: 0)
    outer = smart_cached(key="outer", ttl=None)(lambda: inner())
    inner.set(value=1)
    assert outer() == outer() == 1
    change(inner)
    assert outer() == expected


async def test_an_outer_coroutine_depends_on_an_inner_one_that_was_set() -> None:
    @smart_cached(key="inner", ttl=None)
    async def inner() -> int:
        return 0

    @smart_cached(key="outer", ttl=None)
    async def outer() -> int:
        return await inner()

    await inner.aset(value=1)
    assert await outer() == 1
    await inner.aset(value=2)
    assert await outer() == 2
    assert await inner() == 2  # in the process' memory
    await outer.ainvalidate()
    assert await outer() == 2
    await inner.ainvalidate()
    assert await outer() == 0


@pytest.mark.parametrize("change", ["tag", "dependency", "key"])
@pytest.mark.parametrize("way", ["disabled", "condition", "re-entrance"])
def test_an_outer_entry_depends_on_an_inner_one_that_is_bypassed(way: str, change: str) -> None:
    lamp = Product.objects.create(name="lamp")
    value = 1

    @smart_cached(
        key="inner",
        ttl=None,
        tags=["t"],
        depends_on=[lamp],
        condition=(lambda _: False) if way == "condition" else None,
    )
    def inner() -> int:
        return outer() if way == "re-entrance" and not deep else value

    @smart_cached(key="outer", ttl=None)
    def outer() -> int:
        deep.append(1)
        with smartcache_disabled() if way == "disabled" else contextlib.nullcontext():
            return inner()

    deep: list[int] = []
    assert (inner if way == "re-entrance" else outer)() == 1
    assert outer() == 1
    value = 2
    if change == "tag":
        invalidate_tags("t")
    elif change == "dependency":
        lamp.save()
    else:
        inner.invalidate()
    assert outer() == 2


async def test_an_outer_entry_depends_on_a_flight_that_is_not_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = asyncio.Event()
    wait, value = waiting.ended, 1

    async def watched(answer: Any, limit: float | None) -> bool:
        waits.set()
        return await wait(answer, limit)

    monkeypatch.setattr(waiting, "ended", watched)

    @smart_cached(key="inner", ttl=None, tags=["t"], condition=lambda _: False)
    async def inner() -> int:
        await asyncio.wait_for(waits.wait(), WAIT)
        return value

    @smart_cached(key="outer:{n}", ttl=None)
    async def outer(n: int) -> int:
        return await inner()

    assert await asyncio.gather(outer(1), outer(2)) == [1, 1]
    value = 2
    await ainvalidate_tags("t")
    assert await asyncio.gather(outer(1), outer(2)) == [2, 2]


@pytest.mark.parametrize("way", ["disabled", "condition"])
def test_an_outer_entry_outlives_no_inner_value_that_is_not_stored(way: str) -> None:
    inner = smart_cached(
        key="inner", ttl=50, condition=(lambda _: False) if way == "condition" else None
    )(lambda: 1)

    @smart_cached(key="outer", ttl=500)
    def outer() -> int:
        with smartcache_disabled() if way == "disabled" else contextlib.nullcontext():
            return inner()

    outer()
    remaining = cache_ttl("outer")
    assert remaining is not None
    assert remaining <= 50


@pytest.mark.parametrize("disabled", [True, False])
def test_an_outer_entry_is_not_made_of_a_value_that_is_never_stored(disabled: bool) -> None:
    inner = smart_cached(key="inner", ttl=0)(lambda: 1)

    @smart_cached(key="outer", ttl=500)
    def outer() -> int:
        with smartcache_disabled() if disabled else contextlib.nullcontext():
            return inner()

    assert outer() == 1
    assert outer.get() is None


# --- values that ask the database while they are encoded


class Holder:
    """Hides a queryset from whoever looks for those to evaluate."""

    def __init__(self, queryset: Any) -> None:
        self.queryset = queryset


def test_a_value_that_reads_what_cannot_be_cached_while_it_is_encoded_is_not_stored(
    settings: Any,
) -> None:
    settings.SMARTCACHE_UNCACHABLE_TABLES = ["testapp_product"]
    f = smart_cached(key="hidden")(lambda: Holder(Product.objects.all()))
    Product.objects.create(name="lamp")
    assert len(f().queryset) == 1
    Product.objects.create(name="desk")
    assert len(f().queryset) == 2


def test_a_paginator_is_stored_with_what_its_encoding_reads() -> None:
    f = smart_cached(key="pages")(lambda: Paginator(Product.objects.order_by("pk"), 2))
    Product.objects.create(name="lamp")
    assert f().count == 1
    assert f.get() is not None
    Product.objects.create(name="desk")
    assert f().count == 2
