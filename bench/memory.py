"""Memory in Redis for an entry, at 100,000 of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench import site
from bench.arena import Arena, Contestant, Place, Run
from bench.report import Report

ENTRIES = 100_000


def filling(store: Callable[[int], Any]) -> Run:
    """``run(n)`` stores n entries; returns the bytes that Redis has come to use for each."""
    import redis
    from django.conf import settings

    client = redis.Redis.from_url(settings.BENCH_REDIS_URL)

    def run(operations: int) -> float:
        before = client.info("memory")["used_memory"]
        for number in range(operations):
            store(number)
        return float(client.info("memory")["used_memory"] - before) / operations

    return run


def dicts_django_redis(place: Place) -> Run:
    caches = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": place.redis_url}}
    site.configure(place, CACHES=caches, BENCH_REDIS_URL=place.redis_url)
    from django.core.cache import cache

    return filling(
        lambda number: cache.set(f"product:{number}", site.dict_of_200_bytes(number), 3600)
    )


def dicts_smart(place: Place) -> Run:
    site.smart(place, store="redis", BENCH_REDIS_URL=place.redis_url)
    from djsmartcache import cache_set

    return filling(
        lambda number: cache_set(f"product:{number}", site.dict_of_200_bytes(number), 3600)
    )


def instances_cacheops(place: Place) -> Run:
    site.configure(
        place,
        apps=("cacheops",),
        CACHEOPS_REDIS=place.redis_url,
        CACHEOPS={"shop.product": {"ops": {"get"}, "timeout": 3600}},
        BENCH_REDIS_URL=place.redis_url,
    )
    site.make_tables(ENTRIES)
    from bench.shop.models import Product

    return filling(lambda number: Product.objects.get(pk=number + 1))


def instances_smart(place: Place) -> Run:
    site.smart(place, store="redis", BENCH_REDIS_URL=place.redis_url)
    site.make_tables(ENTRIES)
    from bench.shop.models import Product
    from djsmartcache import smart_cached

    @smart_cached(key="product:{pk}", ttl=3600)
    def product(pk: int) -> Product:
        return Product.objects.get(pk=pk)

    return filling(lambda number: product(number + 1))


def measure(place: Place) -> list[Report]:
    import redis

    report = Report(
        "Memory in Redis at 100,000 entries",
        ("what", "bytes an entry"),
        "a 200-byte dict at most 1.4x of django-redis; an instance by pk with its tokens less than "
        "cacheops",
    )
    used: dict[str, float] = {}
    contestants = [
        Contestant("dict, django-redis", "bench.memory:dicts_django_redis"),
        Contestant("dict, djsmartcache", "bench.memory:dicts_smart"),
        Contestant("instance, cacheops", "bench.memory:instances_cacheops"),
        Contestant("instance, djsmartcache", "bench.memory:instances_smart"),
    ]
    for contestant in contestants:
        redis.Redis.from_url(place.redis_url).flushall()
        with Arena(place, [contestant]) as arena:
            used |= arena.once(ENTRIES)
    for name, size in used.items():
        report.rows.append((name, f"{size:.0f}"))
    for subject, reference, limit in (
        ("dict, djsmartcache", "dict, django-redis", 1.4),
        ("instance, djsmartcache", "instance, cacheops", 1.0),
    ):
        ratio = used[subject] / used[reference]
        verdict = "reached" if ratio <= limit else "NOT reached"
        report.reached.append(
            f"{subject}: {ratio:.2f}x of {reference} (at most {limit}x): {verdict}"
        )
    return [report]
