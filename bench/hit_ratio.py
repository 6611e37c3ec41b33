"""Hit ratio of an L1 with room for 1,000 entries, and its time per request: 1,000,000 requests,
zipf 1.0 over 100,000 keys."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from bench import site
from bench.arena import Arena, Contestant, Place, Run
from bench.report import Report, against, duration

KEYS = 100_000
REQUESTS = 1_000_000
ENTRIES = 1_000
OFFLINE_LIMIT = 0.665


def requests() -> list[int]:
    weights = list(accumulate(1 / rank for rank in range(1, KEYS + 1)))
    return random.Random(7).choices(range(KEYS), cum_weights=weights, k=REQUESTS)


def counting(call: Callable[[int], Any], hits: Callable[[], int]) -> Run:
    """``run`` returns the hits in place of the seconds."""

    def run(operations: int) -> float:
        before = hits()
        for number in requests()[:operations]:
            call(number)
        return float(hits() - before)

    return run


def lru_cache(place: Place) -> Run:
    import functools

    @functools.lru_cache(maxsize=ENTRIES)
    def f(number: int) -> int:
        return number

    return counting(f, lambda: f.cache_info().hits)


def cached() -> Callable[[int], int]:
    from djsmartcache import smart_cached

    @smart_cached(key="ratio:{number}", ttl=None)
    def f(number: int) -> int:
        return number

    return f


def weight(place: Place) -> Run:
    """``run(n)`` returns the bytes that L1 charges for one of n entries."""
    site.smart(place, store="embedded", SMARTCACHE_LOCAL_MAX_BYTES=512 << 20)
    from djsmartcache import process

    f = cached()

    def run(operations: int) -> float:
        for number in range(operations):
            f(number)
        stats = process.cache().stats()
        return stats["local_bytes"] / stats["local_entries"]

    return run


def smart(place: Place, local_max_bytes: int) -> Run:
    site.smart(place, store="embedded", SMARTCACHE_LOCAL_MAX_BYTES=local_max_bytes)
    from djsmartcache import process

    return counting(cached(), lambda: process.cache().stats()["local_hits"])


def timing(call: Callable[[int], Any]) -> Run:
    """Seconds for the requests, misses and what they compute and store included."""
    numbers = requests()

    def run(operations: int) -> float:
        began = time.perf_counter()
        for number in numbers[:operations]:
            call(number)
        return time.perf_counter() - began

    return run


def lru_cache_time(place: Place) -> Run:
    import functools

    @functools.lru_cache(maxsize=ENTRIES)
    def f(number: int) -> int:
        return number

    return timing(f)


def table_time(place: Place) -> Run:
    """L1 alone, as the core's benchmark drives it: find, and insert what was not found."""
    program = os.environ.get("SMARTCACHE_BENCH_CORE", "build/bench/smartcache_bench")

    def run(operations: int) -> float:
        told = subprocess.run(
            [program, "--benchmark_filter=BM_LocalTableZipf", "--benchmark_format=json"],
            check=True,
            capture_output=True,
            text=True,
        )
        seconds: float = json.loads(told.stdout)["benchmarks"][0]["ns_per_request"]
        return seconds * operations

    return run


def smart_time(place: Place, local_max_bytes: int) -> Run:
    site.smart(place, store="embedded", SMARTCACHE_LOCAL_MAX_BYTES=local_max_bytes)
    return timing(cached())


def measure(place: Place) -> list[Report]:
    with Arena(place, [Contestant("weight", "bench.hit_ratio:weight")]) as arena:
        weight_of_one = arena.once(ENTRIES)["weight"]
    room = int(weight_of_one * ENTRIES)
    contestants = [
        Contestant("functools.lru_cache", "bench.hit_ratio:lru_cache"),
        Contestant("djsmartcache", "bench.hit_ratio:smart", {"local_max_bytes": room}),
    ]
    with Arena(place, contestants) as arena:
        hits = arena.once(REQUESTS)
    report = Report(
        f"Hit ratio of an L1 with room for {ENTRIES} entries",
        ("contestant", "hit ratio"),
        f"at least 0.59 (an offline policy that knows the future: {OFFLINE_LIMIT})",
    )
    for name, count in hits.items():
        report.rows.append((name, f"{count / REQUESTS:.4f}"))
    ratio = hits["djsmartcache"] / REQUESTS
    verdict = "reached" if ratio >= 0.59 else "NOT reached"
    report.reached.append(f"djsmartcache: {ratio:.4f} (at least 0.59): {verdict}")

    contestants = [
        Contestant("functools.lru_cache", "bench.hit_ratio:lru_cache_time"),
        Contestant("L1 alone", "bench.hit_ratio:table_time"),
    ]
    with Arena(place, contestants) as arena:
        medians = arena.race(rounds=3, operations=REQUESTS)
    whole = Contestant("whole", "bench.hit_ratio:smart_time", {"local_max_bytes": room})
    with Arena(place, [whole]) as arena:
        medians["misses computed and stored for all processes"] = arena.once(REQUESTS // 10)[
            "whole"
        ] / (REQUESTS // 10 * 1e-9)
    times = Report(
        "Time for one of these requests",
        ("contestant", "median"),
        "no more than functools.lru_cache, for looking up, inserting and evicting",
        [(name, duration(nanoseconds)) for name, nanoseconds in medians.items()],
    )
    times.reached.append(against(medians, "L1 alone", "functools.lru_cache", 1.0))
    return [report, times]
