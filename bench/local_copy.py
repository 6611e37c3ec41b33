"""A hit in L1 of a dict of 200 bytes, returned as a private copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench import site
from bench.arena import Arena, Contestant, Place, Run
from bench.report import Report, race_report


def runner(get: Callable[[], Any]) -> Run:
    def run(operations: int) -> float:
        began = time.perf_counter()
        for _ in range(operations):
            get()
        return time.perf_counter() - began

    return run


def locmem(place: Place) -> Run:
    site.configure(
        place, CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    )
    from django.core.cache import cache

    cache.set("product:5", site.dict_of_200_bytes())
    return runner(lambda: cache.get("product:5"))


def smart(place: Place) -> Run:
    site.smart(place, store="redis")
    from djsmartcache import smart_cached

    @smart_cached(key="product:{number}", ttl=600)
    def product(number: int) -> dict[str, Any]:
        return site.dict_of_200_bytes(number)

    product(5)
    return runner(lambda: product(5))


def smart_get(place: Place) -> Run:
    site.smart(place, store="redis")
    from djsmartcache import cache_get, cache_set

    cache_set("copied", site.dict_of_200_bytes())
    return runner(lambda: cache_get("copied"))


def measure(place: Place) -> list[Report]:
    contestants = [
        Contestant("locmem", "bench.local_copy:locmem"),
        Contestant("djsmartcache", "bench.local_copy:smart"),
        Contestant("djsmartcache cache_get", "bench.local_copy:smart_get"),
    ]
    with Arena(place, contestants) as arena:
        medians = arena.race(rounds=7, operations=50_000)
    return [
        race_report(
            "Hit in L1 of a 200-byte dict, private copy",
            "at most 0.05x of Django's locmem get",
            medians,
            "locmem",
            "djsmartcache",
            0.05,
        )
    ]
