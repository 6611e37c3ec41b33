"""A hit in the store with L1 off: 200 bytes, tokens validated."""

from __future__ import annotations

import pickle
import socket
from typing import Any

from bench import site
from bench.arena import Arena, Contestant, Place, Run
from bench.local_copy import runner
from bench.report import Report, against, race_report


def raw_socket(place: Place) -> Run:
    """The least a round trip can cost from Python: send a GET, receive the bytes, decode
    nothing."""
    connection = socket.create_connection(("127.0.0.1", place.redis_port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload = pickle.dumps(site.dict_of_200_bytes(), 5)[:200]
    connection.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nraw\r\n$%d\r\n%s\r\n" % (len(payload), payload))
    connection.recv(100)
    request = b"*2\r\n$3\r\nGET\r\n$3\r\nraw\r\n"

    def get() -> bytes:
        connection.sendall(request)
        return connection.recv(4096)

    return runner(get)


def django_cache(place: Place, backend: str) -> Run:
    site.configure(place, CACHES={"default": {"BACKEND": backend, "LOCATION": place.redis_url}})
    from django.core.cache import cache

    cache.set("product:5", site.dict_of_200_bytes())
    return runner(lambda: cache.get("product:5"))


def smart(place: Place, store: str) -> Run:
    site.smart(place, store=store, SMARTCACHE_LOCAL_MAX_BYTES=0)
    from djsmartcache import smart_cached

    @smart_cached(key="product:{number}", ttl=600, tags=["products"])
    def product(number: int) -> dict[str, Any]:
        return site.dict_of_200_bytes(number)

    product(5)
    return runner(lambda: product(5))


def diskcache(place: Place) -> Run:
    from diskcache import Cache

    cache = Cache(f"{place.folder}/diskcache")
    cache.set("product:5", site.dict_of_200_bytes(), expire=600)
    return runner(lambda: cache.get("product:5"))


def measure(place: Place) -> list[Report]:
    contestants = [
        Contestant("raw socket GET", "bench.store_hit:raw_socket"),
        Contestant(
            "django-redis",
            "bench.store_hit:django_cache",
            {"backend": "django_redis.cache.RedisCache"},
        ),
        Contestant(
            "Django RedisCache",
            "bench.store_hit:django_cache",
            {"backend": "django.core.cache.backends.redis.RedisCache"},
        ),
        Contestant("djsmartcache", "bench.store_hit:smart", {"store": "redis"}),
    ]
    with Arena(place, contestants) as arena:
        medians = arena.race(rounds=9, operations=4_000)
    redis = race_report(
        "Hit in Redis, L1 off, 200 bytes, tokens validated",
        "one round trip; at most 1.5x of a raw socket GET and 0.5x of django-redis",
        medians,
        "raw socket GET",
        "djsmartcache",
        1.5,
    )
    redis.reached.append(against(medians, "djsmartcache", "django-redis", 0.5))

    contestants = [
        Contestant("diskcache", "bench.store_hit:diskcache"),
        Contestant("djsmartcache", "bench.store_hit:smart", {"store": "embedded"}),
    ]
    with Arena(place, contestants) as arena:
        medians = arena.race(rounds=9, operations=20_000)
    embedded = race_report(
        "Hit in the embedded store, L1 off, 200 bytes",
        "at most 3 us, and at most 0.3x of diskcache",
        medians,
        "diskcache",
        "djsmartcache",
        0.3,
    )
    took = medians["djsmartcache"] / 1000
    embedded.reached.append(
        f"djsmartcache: {took:.2f} us (at most 3): {'reached' if took <= 3 else 'NOT reached'}"
    )
    return [redis, embedded]
