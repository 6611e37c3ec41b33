"""What is stored by hand, by each function that does: it has the TTL and the tags it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

import djsmartcache as sc
from tests.stores import store

__all__ = ["store"]
pytestmark = pytest.mark.usefixtures("store")


def set_many(key: str, value: Any, **options: Any) -> bool:
    return sc.cache_set_many({key: value, f"{key} too": value}, **options) == []


def aset_many(key: str, value: Any, **options: Any) -> bool:
    return async_to_sync(sc.acache_set_many)({key: value, f"{key} too": value}, **options) == []


WAYS: dict[str, Callable[..., bool]] = {
    "cache_set": sc.cache_set,
    "acache_set": async_to_sync(sc.acache_set),
    "cache_set_many": set_many,
    "acache_set_many": aset_many,
    "cache_get_or_set": lambda key, value, **options: (
        sc.cache_get_or_set(key, lambda: value, **options) == value
    ),
    "acache_get_or_set": lambda key, value, **options: (
        async_to_sync(sc.acache_get_or_set)(key, lambda: value, **options) == value
    ),
}


def left(key: str) -> float:
    found = sc.cache_ttl(key)
    assert found is not None
    return found


@pytest.mark.parametrize("way", WAYS)
def test_values_have_the_ttl_and_the_tags_that_they_are_given(way: str, settings: Any) -> None:
    settings.SMARTCACHE_JITTER_PCT = 0
    put = WAYS[way]
    keys = [*("tagged", "tagged too"), *("apart", "apart too")]
    assert put("tagged", 1, ttl=1000, tags=["a", "b"])
    assert put("apart", 2, ttl=50, tags=("c",))
    found = sc.cache_get_many(keys)
    assert found in ({"tagged": 1, "apart": 2}, dict(zip(keys, (1, 1, 2, 2), strict=True)))
    assert ("too" in "".join(found)) == way.endswith("many")
    for key, value in found.items():
        ttl = 1000 if value == 1 else 50
        assert ttl - 10 < left(key) <= ttl
    sc.invalidate_tags("b")
    assert sc.cache_get_many(keys) == {key: 2 for key, value in found.items() if value == 2}
    sc.invalidate_tags("c")
    assert sc.cache_get_many(keys) == {}


@pytest.mark.parametrize("way", WAYS)
def test_values_of_no_time_to_live_are_not_stored(way: str) -> None:
    put = WAYS[way]
    sc.cache_set("k", "old")
    if "or_set" not in way:
        assert not put("k", 1, ttl=0)
    else:
        sc.cache_invalidate("k")
        assert put("k", 1, ttl=0)
    assert sc.cache_get("k") is None
