"""What freshness costs: one ``save()`` in autocommit on PostgreSQL, and a warm read at `strict`."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable
from typing import Any

from bench import invalidation, site
from bench.arena import Arena, Contestant, Place, Run
from bench.local_copy import runner
from bench.report import Report, against, race_report
from tests.servers import PostgresServer

SAVE = "no cache"
PING = "raw socket PING"


def saving(ask: Callable[[Any], object]) -> Run:
    """Saves a product of its own, again and again; `ask` before, so that others have what a save
    changes cached."""
    from bench.shop.models import Product

    def run(operations: int) -> float:
        product = Product.objects.order_by("pk").first()
        assert product is not None
        ask(product)
        product.save()
        began = time.perf_counter()
        for _ in range(operations):
            product.stock += 1
            product.save()
        return time.perf_counter() - began

    return run


def no_cache(place: Place) -> Run:
    site.configure(place, database="postgres")
    site.make_tables(10)
    return saving(lambda product: None)


def smart(place: Place, store: str, conditions: bool = False) -> Run:
    # A prefix for each: what one has registered another would take images for.
    site.smart(
        place,
        store=store,
        database="postgres",
        SMARTCACHE_KEY_PREFIX=f"save-{store}-{conditions}",
    )
    site.make_tables(10)
    from bench.shop.models import Product
    from djsmartcache import smart_cached

    @smart_cached(key="stock:{pk}", ttl=600)
    def stock(pk: int) -> int:
        return Product.objects.get(pk=pk).stock

    @smart_cached(key="names:{stock}", ttl=600)
    def names(stock: int) -> list[str]:
        return list(Product.objects.filter(stock=stock).values_list("name", flat=True))

    return saving(lambda product: (stock(product.pk), conditions and names(product.stock)))


def cacheops(place: Place) -> Run:
    invalidation.cacheops(place)
    return saving(lambda product: None)


def cachalot(place: Place) -> Run:
    invalidation.cachalot(place)
    return saving(lambda product: None)


def ping(place: Place) -> Run:
    connection = socket.create_connection(("127.0.0.1", place.redis_port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask() -> bytes:
        connection.sendall(b"PING\r\n")
        return connection.recv(100)

    return runner(ask)


def strict(place: Place, reads: int | None = None) -> Run:
    """One hit, or as many as a request makes after one fence."""
    site.smart(place, store="redis", SMARTCACHE_CONSISTENCY="strict")
    from djsmartcache import levels, process, smart_cached

    @smart_cached(key="product:{number}", ttl=600, tags=["products"])
    def product(number: int) -> int:
        return number

    product(5)
    while not process.cache().trusted():  # the listener connects
        time.sleep(0.01)

    def request() -> None:
        with levels.block(asks=True):
            for _ in range(reads or 0):
                product(5)

    return runner((lambda: product(5)) if reads is None else request)


def measure(place: Place) -> list[Report]:
    # COMMIT waits for the disk, as it does where people care for what they save.
    with PostgresServer(durable=True) as server:
        return [saves(dataclasses.replace(place, postgres_url=server.url)), reads(place)]


def saves(place: Place) -> Report:
    contestants = [
        Contestant(SAVE, "bench.freshness:no_cache"),
        Contestant("djsmartcache (redis)", "bench.freshness:smart", {"store": "redis"}),
        Contestant("djsmartcache (embedded)", "bench.freshness:smart", {"store": "embedded"}),
        Contestant(
            "djsmartcache (redis), rows looked up by the column",
            "bench.freshness:smart",
            {"store": "redis", "conditions": True},
        ),
        Contestant("cacheops", "bench.freshness:cacheops"),
        Contestant("cachalot", "bench.freshness:cachalot"),
    ]
    with Arena(place, contestants) as arena:
        medians = arena.race(rounds=21, operations=40)
    report = race_report(
        "One save() in autocommit on PostgreSQL that waits for the disk",
        "at most 1.15x of the same without a cache on Redis, 1.05x embedded",
        medians,
        SAVE,
        "djsmartcache (redis)",
        1.15,
    )
    report.reached.append(against(medians, "djsmartcache (embedded)", SAVE, 1.05))
    return report


def reads(place: Place) -> Report:
    contestants = [
        Contestant(PING, "bench.freshness:ping"),
        Contestant("a hit at strict", "bench.freshness:strict"),
        Contestant("ten hits in a request at strict", "bench.freshness:strict", {"reads": 10}),
    ]
    with Arena(place, contestants) as arena:
        medians = arena.race(rounds=9, operations=2_000)
    report = race_report(
        "A warm read at strict on Redis",
        "one round trip, shared; another thread sends it",
        medians,
        PING,
        "a hit at strict",
        3,
    )
    report.reached.append(against(medians, "ten hits in a request at strict", PING, 3))
    return report
