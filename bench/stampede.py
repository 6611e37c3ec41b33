"""50 threads over 5 processes ask at once for a cold key whose computation takes 200 ms."""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import site
from bench.arena import Place
from bench.report import Report

PROCESSES = 5
THREADS = 10
COMPUTATION_SECONDS = 0.2
ROUNDS = 15


def smart(place: Place, store: str) -> Callable[[Callable[[], Any]], Callable[[int], Any]]:
    site.smart(place, store=store)
    from djsmartcache import smart_cached

    def wrap(compute: Callable[[], Any]) -> Callable[[int], Any]:
        @smart_cached(key="stampede:{number}", ttl=600)
        def answer(number: int) -> Any:
            return compute()

        return answer

    return wrap


def cacheops(place: Place) -> Callable[[Callable[[], Any]], Callable[[int], Any]]:
    site.configure(
        place,
        apps=("cacheops",),
        CACHEOPS_REDIS=place.redis_url,
        CACHEOPS={"shop.product": {"ops": (), "timeout": 600}},
    )
    from cacheops import cached_as

    from bench.shop.models import Product

    def wrap(compute: Callable[[], Any]) -> Callable[[int], Any]:
        @cached_as(Product, timeout=600, lock=True)
        def answer(number: int) -> Any:
            return compute()

        return answer

    return wrap


def django_redis(place: Place) -> Callable[[Callable[[], Any]], Callable[[int], Any]]:
    site.configure(
        place,
        CACHES={
            "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": place.redis_url}
        },
    )
    from django.core.cache import cache

    def wrap(compute: Callable[[], Any]) -> Callable[[int], Any]:
        def answer(number: int) -> Any:
            if (value := cache.get(f"stampede:{number}")) is None:
                with cache.lock(f"stampede-lock:{number}", timeout=10):
                    if (value := cache.get(f"stampede:{number}")) is None:
                        value = compute()
                        cache.set(f"stampede:{number}", value)
            return value

        return answer

    return wrap


CONTESTANTS: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "djsmartcache (redis)": (smart, {"store": "redis"}),
    "djsmartcache (embedded)": (smart, {"store": "embedded"}),
    "cacheops, lock=True": (cacheops, {}),
    "django-redis, cache.lock": (django_redis, {}),
}


def crowd(name: str, place: Place, log: str, start: Any, times: Any) -> None:
    prepare, arguments = CONTESTANTS[name]

    def compute() -> str:
        began = time.perf_counter()
        time.sleep(COMPUTATION_SECONDS)
        with Path(log).open("a") as computations:
            computations.write(f"{time.perf_counter() - began}\n")
        return "computed"

    answer = prepare(place, **arguments)(compute)
    answer(-1)  # connections are made, threads started
    for number in range(ROUNDS):
        gate = threading.Barrier(THREADS + 1)
        taken: list[float] = []

        def ask(
            number: int = number, gate: threading.Barrier = gate, taken: list[float] = taken
        ) -> None:
            gate.wait()
            began = time.perf_counter()
            answer(number)
            taken.append(time.perf_counter() - began)

        threads = [threading.Thread(target=ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        start.wait()
        gate.wait()
        for thread in threads:
            thread.join()
        times.put((number, max(taken)))


def measure(place: Place) -> list[Report]:
    report = Report(
        "Stampede on a cold key",
        ("contestant", "computations", "slowest caller over the computation"),
        "one computation; the slowest waiter within 1.06x of it",
    )
    spawning = multiprocessing.get_context("spawn")
    for name in CONTESTANTS:
        log = Path(place.folder) / f"computations of {name}"
        start, times = spawning.Barrier(PROCESSES), spawning.Queue()
        processes = [
            spawning.Process(target=crowd, args=(name, place, str(log), start, times))
            for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        taken: dict[int, float] = {}
        for _ in range(ROUNDS * PROCESSES):
            number, seconds = times.get(timeout=120)
            taken[number] = max(taken.get(number, 0.0), seconds)
        for process in processes:
            process.join()
        _warm_up, *computed = map(float, log.read_text().split())
        computations = len(computed) / ROUNDS
        # Sleeping itself takes longer than it was told, by what the machine makes of it.
        slowest = statistics.median(taken.values()) / statistics.median(computed)
        report.rows.append((name, f"{computations:.1f}", f"{slowest:.3f}"))
        if name.startswith("djsmartcache"):
            good = computations <= 1 and slowest <= 1.06
            report.reached.append(
                f"{name}: {computations:.1f} computations, {slowest:.3f}x (at most 1 and 1.06x): "
                f"{'reached' if good else 'NOT reached'}"
            )
    return [report]
