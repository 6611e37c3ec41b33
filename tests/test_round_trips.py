"""What calls cost on Redis: round trips, counted between the process and a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from djsmartcache import (
    cache_get,
    cache_get_many,
    cache_invalidate,
    cache_set,
    cache_ttl,
    invalidate_model,
    invalidate_tags,
    process,
    smart_cached,
)
from tests.proxy import CountingProxy
from tests.servers import RedisServer
from tests.testapp.models import Category, Product
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proxy(redis_server: RedisServer, settings: Any) -> Iterator[CountingProxy]:
    """Let the store be Redis behind a proxy, and the process keep nothing in memory."""
    with CountingProxy(redis_server.port) as proxy:
        settings.SMARTCACHE_REDIS_URL = f"redis://127.0.0.1:{proxy.port}/0"
        settings.SMARTCACHE_LOCAL_MAX_BYTES = 0
        assert cache_set("first", 1)  # connects
        # Until it listens, its greeting looks like a trip of whoever calls meanwhile.
        until(lambda: process.cache().trusted())
        yield proxy
        process.close()


def cost(proxy: CountingProxy, call: Callable[[], Any]) -> int:
    before = proxy.trips
    call()
    return proxy.trips - before


def test_a_hit_whose_dependencies_are_known_takes_one_trip(proxy: CountingProxy) -> None:
    category = Category.objects.create(name="lights")
    lamp = Product.objects.create(name="lamp", category=category)

    @smart_cached(key="described:{pk}", tags=["texts"])
    def described(pk: int) -> str:
        product = Product.objects.get(pk=pk)  # a row,
        others = len(Product.objects.filter(category=product.category_id))  # a condition,
        return f"{product.name} {others} {Category.objects.count()}"  # and a table

    assert described(lamp.pk) == "lamp 1 1"
    before = described.stats()
    for _ in range(5):
        assert cost(proxy, lambda: described(lamp.pk)) == 1
        assert cost(proxy, lambda: described.get(lamp.pk)) == 1
    after = described.stats()
    assert after["hits"] == before["hits"] + 5
    assert after["misses"] == before["misses"]


def test_a_hit_in_memory_takes_none(proxy: CountingProxy, settings: Any) -> None:
    settings.SMARTCACHE_LOCAL_MAX_BYTES = 1 << 20
    lamp = Product.objects.create(name="lamp")
    f = smart_cached(key="name")(lambda: Product.objects.get(pk=lamp.pk).name)
    until(lambda: f() and process.cache().trusted())
    f()
    assert cost(proxy, lambda: [f() for _ in range(100)]) == 0


@pytest.mark.parametrize("number", [2, 30])
def test_many_keys_are_read_in_one_trip_however_many(proxy: CountingProxy, number: int) -> None:
    values = {f"k{place}": place for place in range(number)}
    for key, value in values.items():
        assert cache_set(key, value)
    found: dict[str, int] = {}
    assert cost(proxy, lambda: found.update(cache_get_many([*values, "absent"]))) == 1
    assert found == values
    for key, value in values.items():
        assert cache_set(key, value, tags=[f"tag of {key}"])
    found.clear()
    # The tokens of all their tags together are a second one.
    assert cost(proxy, lambda: found.update(cache_get_many([*values, "absent"]))) == 2
    assert found == values


COSTS: dict[str, tuple[Callable[[], Any], int]] = {
    "a value": (lambda: cache_get("first"), 1),
    "a value that is not there": (lambda: cache_get("absent"), 1),
    "storing": (lambda: cache_set("k", 1), 1),
    "storing with tags": (lambda: cache_set("k", 1, tags=["a", "b"]), 2),
    "the time left": (lambda: cache_ttl("first"), 1),
    "dropping keys": (lambda: cache_invalidate("first", "b", "c", "d"), 1),
    "dropping tags": (lambda: invalidate_tags("a", "b", "c", "d"), 1),
    "dropping a model": (lambda: invalidate_model(Product), 1),
}


@pytest.mark.parametrize("what", COSTS)
def test_calls_cost_what_their_descriptions_say(proxy: CountingProxy, what: str) -> None:
    call, trips = COSTS[what]
    call()  # the server learns the scripts
    assert cache_set("first", 1)
    assert cost(proxy, call) == trips
