"""One ``save()`` on PostgreSQL while 10 to 100,000 cached answers depend on the row."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench import site
from bench.arena import Arena, Contestant, Place, Run
from bench.report import Report, duration

# How many rounds are run with how many answers: bringing 100,000 into four caches takes minutes.
ROUNDS = {10: 25, 1_000: 9, 100_000: 2}
COUNTS = tuple(ROUNDS)


def runner(answer: Callable[[int], Any]) -> Run:
    """Brings that many answers into the cache, then times one save of what they depend on."""
    from bench.shop.models import Product

    def run(operations: int) -> float:
        product = Product.objects.order_by("pk").first()
        assert product is not None
        for number in range(operations):
            answer(number)
        product.stock += 1
        began = time.perf_counter()
        product.save()
        return time.perf_counter() - began

    return run


def first_pk() -> int:
    from bench.shop.models import Product

    return Product.objects.order_by("pk").values_list("pk", flat=True)[0]


def no_cache(place: Place) -> Run:
    site.configure(place, database="postgres")
    site.make_tables(10)
    return runner(lambda number: None)


def smart(place: Place, store: str) -> Run:
    site.smart(place, store=store, database="postgres")
    site.make_tables(10)
    from bench.shop.models import Product
    from djsmartcache import smart_cached

    pk = first_pk()

    @smart_cached(key="stock:{number}")
    def stock(number: int) -> int:
        return Product.objects.get(pk=pk).stock + number

    return runner(stock)


def cacheops(place: Place) -> Run:
    site.configure(
        place,
        apps=("cacheops",),
        database="postgres",
        CACHEOPS_REDIS=place.redis_url,
        CACHEOPS={"shop.product": {"ops": (), "timeout": 600}},
    )
    site.make_tables(10)
    from cacheops import cached_as

    from bench.shop.models import Product

    pk = first_pk()

    @cached_as(Product.objects.filter(pk=pk), timeout=600)
    def stock(number: int) -> int:
        return Product.objects.get(pk=pk).stock + number

    return runner(stock)


def cachalot(place: Place) -> Run:
    site.configure(
        place,
        apps=("cachalot",),
        database="postgres",
        CACHES={
            "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": place.redis_url}
        },
    )
    site.make_tables(10)
    from bench.shop.models import Product

    pk = first_pk()
    return runner(lambda number: list(Product.objects.filter(pk=pk, stock__lt=10**9 + number)))


def measure(place: Place) -> list[Report]:
    contestants = [
        Contestant("no cache", "bench.invalidation:no_cache"),
        Contestant("djsmartcache (redis)", "bench.invalidation:smart", {"store": "redis"}),
        Contestant("djsmartcache (embedded)", "bench.invalidation:smart", {"store": "embedded"}),
        Contestant("cacheops", "bench.invalidation:cacheops"),
        Contestant("cachalot", "bench.invalidation:cachalot"),
    ]
    times: dict[int, dict[str, float]] = {}
    with Arena(place, contestants) as arena:
        for count in COUNTS:
            per_operation = arena.race(
                rounds=ROUNDS[count], operations=count, warm_up=count == COUNTS[0]
            )
            times[count] = {name: each * count for name, each in per_operation.items()}
    report = Report(
        "Invalidation by one save()",
        (
            "contestant",
            *(f"{count} dependent" for count in COUNTS),
            f"{COUNTS[-1]} over {COUNTS[0]}",
        ),
        "flat: 100,000 dependent entries within 1.3x of 10",
    )
    for contestant in contestants:
        name = contestant.name
        ratio = times[COUNTS[-1]][name] / times[COUNTS[0]][name]
        report.rows.append(
            (name, *(duration(times[count][name]) for count in COUNTS), f"{ratio:.2f}")
        )
        if name.startswith("djsmartcache"):
            verdict = "reached" if ratio <= 1.3 else "NOT reached"
            report.reached.append(f"{name}: {ratio:.2f}x (at most 1.3x): {verdict}")
    return [report]
