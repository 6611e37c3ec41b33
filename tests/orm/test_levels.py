"""What the levels of consistency promise to processes that hear of changes late."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from djsmartcache import (
    cache_get,
    cache_get_many,
    cache_set,
    levels,
    prefixes,
    process,
    session_ticket,
    smart_cached,
    smartcache_session,
)
from djsmartcache.middleware import COOKIE
from tests.children import Child
from tests.orm.conftest import environment
from tests.slow_proxy import SlowProxy
from tests.testapp.models import Product
from tests.waiting import until

pytestmark = [
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
    pytest.mark.parametrize("store", ["redis"], indirect=True),
]


def late(line: SlowProxy, *, messages: bool) -> None:
    """Hold back what the server says to who listens for messages, or let it through."""
    line.silence(listening=messages, asking=False)


@smart_cached(ttl=None)
def stock(pk: int) -> int:
    return Product.objects.get(pk=pk).stock


@smart_cached(ttl=None)
async def astock(pk: int) -> int:
    return (await Product.objects.aget(pk=pk)).stock


@pytest.fixture
def line(
    shop: None, settings: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlowProxy]:
    """Let this process reach the server over a line that can be slow."""
    # A run of tests has keys of its own, if a test database was made in it; workers know of none.
    monkeypatch.setattr(prefixes, "_run", b"")
    prefixes.forget()
    with SlowProxy(redis_server.port) as proxy:
        settings.SMARTCACHE_REDIS_URL = proxy.url
        yield proxy
        process.close()
    monkeypatch.undo()
    prefixes.forget()


@pytest.fixture
def writer(line: SlowProxy, database: dict[str, Any], store: dict[str, str]) -> Iterator[Child]:
    Product.objects.create(pk=1, name="lamp")
    child = Child("tests.orm.worker", environment(database, store))
    assert child.hear() == "ready"
    until(process.cache().trusted)
    yield child
    child.close()


def written(writer: Child, line: SlowProxy) -> None:
    """Have another process write what this one, which has the old answer, does not hear of."""
    assert stock(1) == stock(1) == 0
    late(line, messages=True)
    assert writer.ask("save", 1, 7) == "saved"


def test_bounded_hears_of_it_when_the_message_arrives(writer: Child, line: SlowProxy) -> None:
    written(writer, line)
    assert stock(1) == 0, "the line was not late: the tests below prove nothing"
    late(line, messages=False)
    until(lambda: stock(1) == 7)


def test_bounded_believes_its_memory_for_no_longer_than_the_bound(
    writer: Child, line: SlowProxy
) -> None:
    written(writer, line)
    time.sleep(levels.BOUND)
    assert stock(1) == 7


class TestStrict:
    @pytest.fixture(autouse=True)
    def _level(self, settings: Any) -> None:
        settings.SMARTCACHE_CONSISTENCY = "strict"

    def test_a_silent_listener_makes_reads_ask_the_store(
        self, writer: Child, line: SlowProxy
    ) -> None:
        written(writer, line)
        assert stock(1) == 7

    def test_a_late_message_is_waited_for(self, writer: Child, line: SlowProxy) -> None:
        written(writer, line)
        threading.Timer(0.05, late, [line], {"messages": False}).start()
        assert stock(1) == 7
        assert process.cache().trusted(), "the fence was given up"

    def test_explicit_reads_too(self, writer: Child, line: SlowProxy) -> None:
        cache_set("key", 1)
        assert cache_get("key") == 1
        late(line, messages=True)
        assert writer.ask("set", "key", 2) == "set"
        assert cache_get("key") == 2
        assert cache_get_many(["key"]) == {"key": 2}

    def test_so_do_tasks(self, writer: Child, line: SlowProxy) -> None:
        async def ask() -> int:
            return await astock(1)

        assert asyncio.run(ask()) == 0
        late(line, messages=True)
        assert writer.ask("save", 1, 7) == "saved"
        assert asyncio.run(ask()) == 7

    def test_a_read_costs_one_fence(self, writer: Child) -> None:
        stock(1)
        before = process.cache().stats()
        assert stock(1) == 0
        after = process.cache().stats()
        assert after["fences_asked"] - before["fences_asked"] == 1
        assert after["local_hits"] - before["local_hits"] == 1


# --- requests


def show(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{stock(1)} {stock(1)}")


async def ashow(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{await astock(1)} {await astock(1)}")


def change(request: HttpRequest) -> HttpResponse:
    Product.objects.filter(pk=1).update(name="lamp")
    return HttpResponse("changed")


async def achange(request: HttpRequest) -> HttpResponse:
    await Product.objects.filter(pk=1).aupdate(name="lamp")
    return HttpResponse("changed")


@smart_cached
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{Product.objects.get(pk=1).stock}")


urlpatterns = [
    path("show", show),
    path("ashow", ashow),
    path("change", change),
    path("achange", achange),
    path("page", page),
]

REQUESTS = {
    "ROOT_URLCONF": __name__,
    "MIDDLEWARE": ["djsmartcache.middleware.SmartCacheSessionMiddleware"],
    "ALLOWED_HOSTS": ["*"],
}


@pytest.fixture
def _requests() -> Iterator[None]:
    with override_settings(**REQUESTS):
        yield


@pytest.mark.usefixtures("_requests")
class TestRequests:
    def test_one_that_wrote_gives_a_ticket_to_the_next(
        self, writer: Child, line: SlowProxy, settings: Any
    ) -> None:
        settings.SMARTCACHE_CONSISTENCY = "session"
        client, other = Client(), Client()
        assert COOKIE not in client.get("/show").cookies
        response = client.get("/change")
        cookie = response.cookies[COOKIE]
        assert cookie["max-age"] == 3
        assert cookie["httponly"]
        written(writer, line)
        assert other.get("/show").content == b"0 0"
        assert client.get("/show").content == b"7 7"
        assert client.get("/page").content == b"7"

    def test_in_tasks_as_well(self, writer: Child, line: SlowProxy, settings: Any) -> None:
        settings.SMARTCACHE_CONSISTENCY = "session"

        async def ask() -> list[bytes]:
            client, other = AsyncClient(), AsyncClient()
            await client.get("/ashow")
            assert COOKIE in (await client.get("/achange")).cookies
            await client.get("/ashow")
            late(line, messages=True)
            await asyncio.to_thread(writer.ask, "save", 1, 7)
            return [(await each.get("/ashow")).content for each in (other, client)]

        assert asyncio.run(ask()) == [b"0 0", b"7 7"]

    def test_forged_tickets_are_none(self, writer: Child, line: SlowProxy, settings: Any) -> None:
        settings.SMARTCACHE_CONSISTENCY = "session"
        client = Client()
        client.cookies[COOKIE] = "1:2:3"
        written(writer, line)
        assert client.get("/show").content == b"0 0"

    def test_a_cookie_does_not_make_pages_private(self, writer: Child, settings: Any) -> None:
        settings.SMARTCACHE_CONSISTENCY = "session"
        client = Client()
        client.get("/change")
        client.get("/page")
        assert "hit" in client.get("/page").headers["Cache-Status"]

    def test_bounded_gives_no_tickets(self, writer: Child) -> None:
        assert COOKIE not in Client().get("/change").cookies

    def test_strict_fences_once_for_each_request(
        self, writer: Child, line: SlowProxy, settings: Any
    ) -> None:
        settings.SMARTCACHE_CONSISTENCY = "strict"
        client = Client()
        client.get("/show")
        before = process.cache().stats()["fences_asked"]
        assert client.get("/show").content == b"0 0"
        assert process.cache().stats()["fences_asked"] == before + 1
        written(writer, line)
        assert client.get("/show").content == b"7 7"


class TestTickets:
    def test_a_block_with_one_reads_what_was_written(self, writer: Child, line: SlowProxy) -> None:
        written(writer, line)
        ticket = session_ticket()
        assert stock(1) == 0
        with smartcache_session(ticket):
            assert stock(1) == 7

    @pytest.mark.parametrize("ticket", [None, "", "forged", "a:b:c"])
    def test_without_one_it_reads_as_ever(
        self, writer: Child, line: SlowProxy, ticket: str | None
    ) -> None:
        written(writer, line)
        with smartcache_session(ticket):
            assert stock(1) == 0

    def test_outside_of_blocks_hits_take_the_short_way_again(self, writer: Child) -> None:
        with smartcache_session(session_ticket()):
            stock(1)
        hits = stock.stats()["hits"]
        before = process.cache().stats()["fences_asked"]
        stock(1)
        assert stock.stats()["hits"] == hits + 1
        assert process.cache().stats()["fences_asked"] == before
