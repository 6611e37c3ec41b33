"""What an entry made from other entries depends on, however the inner calls were answered."""

from __future__ import annotations

from typing import Any

import pytest

from djsmartcache import cache_invalidate, cache_set, smart_cached
from tests.stores import store

__all__ = ["store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]


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
