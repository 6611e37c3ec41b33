"""A hit in L1 of ``f(user_id=5)``: key template, TTL and six dependencies, beside in-process
memoisation."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import Any

from bench import site
from bench.arena import Arena, Contestant, Place, Run
from bench.report import Report, against, race_report

KEYS = 100_000
FACTOR = 1_009  # answers are values of their own, not the argument, which every call has at hand
TAGS = ["users", "orders", "prices", "stock", "labels", "places"]


def runner(function: Callable[..., Any], hot: bool) -> Run:
    """Calls with one key or with many, without the cost of the loop itself.

    The many are drawn one by one: with the same keys in the same order again and again, each would
    be the neighbour of the next in an LRU's list, and its turn would have loaded that.
    """
    for number in [5] if hot else range(KEYS):
        function(user_id=number)
    draws = 3 * KEYS
    numbers = [5] * draws if hot else random.Random(1).choices(range(KEYS), k=draws)

    def run(operations: int) -> float:
        rounds = max(1, operations // draws)
        began = time.perf_counter()
        for _ in range(rounds):
            for _number in numbers:
                pass
        empty = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(rounds):
            for number in numbers:
                function(user_id=number)
        return time.perf_counter() - began - empty

    return run


def lru_cache(place: Place, hot: bool, maxsize: int | None) -> Run:
    @functools.lru_cache(maxsize=maxsize)
    def f(user_id: int) -> int:
        return user_id * FACTOR

    return runner(f, hot)


def cachetools(place: Place, hot: bool) -> Run:
    from cachetools import TTLCache, cached

    @cached(TTLCache(maxsize=2 * KEYS, ttl=600))
    def f(user_id: int) -> int:
        return user_id * FACTOR

    return runner(f, hot)


def smart(place: Place, hot: bool, store: str) -> Run:
    site.smart(place, store=store, SMARTCACHE_LOCAL_MAX_BYTES=512 << 20)
    from djsmartcache import smart_cached

    @smart_cached(key="user:{user_id}:profile", ttl=600, tags=TAGS)
    def f(user_id: int) -> int:
        return user_id * FACTOR

    return runner(f, hot)


def measure(place: Place) -> list[Report]:
    reports = []
    for hot in (True, False):
        contestants = [
            Contestant(name, "bench.local_hit:lru_cache", {"hot": hot, "maxsize": maxsize})
            for name, maxsize in (
                ("functools.lru_cache", 2 * KEYS),
                ("functools.lru_cache, unbounded", None),
            )
        ]
        contestants.append(
            Contestant("cachetools TTLCache", "bench.local_hit:cachetools", {"hot": hot})
        )
        contestants += [
            Contestant(
                f"djsmartcache ({store})", "bench.local_hit:smart", {"hot": hot, "store": store}
            )
            for store in ("redis", "embedded")
        ]
        with Arena(place, contestants) as arena:
            medians = arena.race(rounds=7, operations=3 * KEYS)
        kind = "one hot key" if hot else f"{KEYS} random keys"
        report = race_report(
            f"Hit in L1, scalar, {kind}",
            "no slower than functools.lru_cache",
            medians,
            "functools.lru_cache",
            "djsmartcache (redis)",
            1.0,
        )
        report.reached.append(
            against(medians, "djsmartcache (embedded)", "functools.lru_cache", 1.0)
        )
        reports.append(report)
    return reports
