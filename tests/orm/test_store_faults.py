"""A site whose store fails: it answers, loses and doubles no write, and is fresh afterwards.

Two processes of the site read and write, from threads and from tasks, through cached functions and
views. What is broken is real: servers, connections, disks. Each test leaves the site as sound as it
was.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.children import Child
from tests.orm.conftest import environment
from tests.servers import RedisServer
from tests.slow_proxy import SlowProxy
from tests.testapp.models import Product, Review
from tests.waiting import LIMIT

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

BOUND = 2.0  # seconds for which a process may trust its memory beside Redis
ALLOWANCE = 4.0  # seconds that a busy machine may take beside what is measured
TIMEOUT = 0.25  # seconds for which a call waits for Redis, the default
FILL = 10_000  # bytes: of these a hundred are more than the smallest map

# Products of one test are not those of another: their tags are not shared either.
_keys = itertools.count(1_000)


class Site:
    """Two processes, each behind a proxy of its own where the store is a server.

    Args:
        database: Settings of the database.
        place: The server, or the folder of the embedded store.
        more: Settings of both.
    """

    def __init__(self, database: dict[str, Any], place: RedisServer | Path, **more: Any) -> None:
        self.place = place
        self.proxies: list[SlowProxy] = []
        self.visitors: list[Child] = []
        self.sound = True
        self.saved: dict[int, int] = {}
        """Of each product, how many writes have returned."""
        given = {
            "ALLOWED_HOSTS": ["*"],
            "SMARTCACHE_REDIS_TIMEOUT": TIMEOUT,
            "SMARTCACHE_USE_REDIS_LOCK": True,
            "SMARTCACHE_LOCK_TIMEOUT": 1,
            **more,
        }
        for _ in range(2):
            store = str(place)
            if isinstance(place, RedisServer):
                self.proxies.append(SlowProxy(place.port))
                store = self.proxies[-1].url
            variables = {
                **environment(database, {"SMARTCACHE_TEST_STORE": store}),
                "SMARTCACHE_TEST_SETTINGS": repr(given),
            }
            self.visitors.append(Child("tests.orm.visitor", variables))
        assert [visitor.hear() for visitor in self.visitors] == ["ready", "ready"]
        self.here, self.there = self.visitors

    @property
    def server(self) -> RedisServer:
        assert isinstance(self.place, RedisServer)
        return self.place

    def close(self) -> None:
        for each in (*self.visitors, *self.proxies):
            each.close()

    def products(self, number: int) -> list[int]:
        """Make so many products, and let all processes remember what the site says of them."""
        keys = [next(_keys) for _ in range(number)]
        Product.objects.bulk_create(Product(pk=pk, name=f"product {pk}") for pk in keys)
        self.saved.update(dict.fromkeys(keys, 0))
        for _ in range(2):
            for visitor in self.visitors:
                assert self.wrong(visitor, keys) == []
        return keys

    def add(self, visitor: Child, command: str, pk: int) -> None:
        """Let a process write twice."""
        assert visitor.ask(command, pk) == "saved"
        self.saved[pk] += 2

    def wrong(self, visitor: Child, keys: list[int]) -> list[str]:
        """Let a process answer in every way; give the answers that are not as was saved."""
        told = visitor.ask("look", *keys)
        assert told.startswith("["), told
        return [
            f"{way} of {pk}: {answer}, not {self.saved[pk]}"
            for pk, answers in zip(keys, json.loads(told), strict=True)
            for way, answer in answers.items()
            if answer != f"{self.saved[pk]} {self.saved[pk]}"
        ]

    def comes_right(self, visitor: Child, keys: list[int], within: float) -> None:
        """See that a process is fresh after that time at the latest, and stays so."""
        end = time.monotonic() + within
        while wrong := self.wrong(visitor, keys):
            assert time.monotonic() < end, wrong
        assert self.wrong(visitor, keys) == []

    def state(self, visitor: Child) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(visitor.ask("state"))
        return told

    def recovers(self, keys: list[int], bound: float = BOUND) -> None:
        """See that nothing is pending soon, all is fresh a bound later, and memory answers again."""
        end = time.monotonic() + LIMIT
        while any(self.state(visitor)["pending"] for visitor in self.visitors):
            assert time.monotonic() < end, "what was changed meanwhile was never told"
        for visitor in self.visitors:
            self.comes_right(visitor, keys, bound + ALLOWANCE)
        self.kept_every_write(keys)
        for visitor in self.visitors:
            end = time.monotonic() + LIMIT
            before = self.state(visitor)["hits"]
            while self.state(visitor)["hits"] < before + 4 * len(keys):
                assert time.monotonic() < end, "nothing is remembered any more"
                assert self.wrong(visitor, keys) == []
        self.sound = True

    def kept_every_write(self, keys: list[int]) -> None:
        for pk in keys:
            stock = Product.objects.values_list("stock", flat=True).get(pk=pk)
            assert (stock, Review.objects.filter(product_id=pk).count()) == (
                self.saved[pk],
                self.saved[pk],
            ), f"writes to product {pk} were lost or doubled"


# --- Redis

Fault = Callable[[Site], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def stopped(site: Site) -> Iterator[None]:
    site.server.stop(signal.SIGKILL)
    yield
    site.server.start()


@contextlib.contextmanager
def restarted(site: Site) -> Iterator[None]:
    """Everything is forgotten; the pooled connections are dead."""
    site.server.restart(signal.SIGKILL)
    yield


@contextlib.contextmanager
def paused(site: Site) -> Iterator[None]:
    """Connections stay open, and are taken; nothing is answered before the end."""
    site.server.pause()
    yield
    site.server.resume()


@contextlib.contextmanager
def pausing_clients(site: Site) -> Iterator[None]:
    with site.server.client() as client:
        client.execute_command("CLIENT", "PAUSE", 2_500, "ALL")
        yield
        client.ping()


@contextlib.contextmanager
def killed(site: Site, kind: str) -> Iterator[None]:
    """Connections are killed all the time."""
    over = threading.Event()

    def kill() -> None:
        with site.server.client() as client:
            while not over.wait(0.005):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    over.set()
    killer.join()


def killed_calls(site: Site) -> contextlib.AbstractContextManager[None]:
    return killed(site, "normal")


def killed_listeners(site: Site) -> contextlib.AbstractContextManager[None]:
    return killed(site, "pubsub")


@contextlib.contextmanager
def full(site: Site) -> Iterator[None]:
    """Nothing that needs memory is taken."""
    with site.server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextlib.contextmanager
def evicting(site: Site) -> Iterator[None]:
    """Entries, tokens and schemes are thrown out to make room."""
    with site.server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 300_000)
        for number in range(100):
            client.set(f"junk:{number}", b"x" * 50_000)
        assert client.info("stats")["evicted_keys"] > 0
        yield
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.delete(*(f"junk:{number}" for number in range(100)))


@contextlib.contextmanager
def replica_of(server: RedisServer) -> Iterator[RedisServer]:
    """Give a server that has all that the other has."""
    with RedisServer("--repl-diskless-sync-delay", "0") as replica, replica.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", server.port)
        end = time.monotonic() + LIMIT
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < end
            time.sleep(0.01)
        yield replica


@contextlib.contextmanager
def demoted(site: Site) -> Iterator[None]:
    """The server becomes a replica of one that knows less, and refuses writes; then it is primary
    again with what that one knows."""
    with (
        replica_of(site.server) as other,
        other.client() as its_client,
        site.server.client() as client,
    ):
        warm_again(site)
        its_client.execute_command("REPLICAOF", "NO", "ONE")
        for visitor, command in ((site.here, "add"), (site.there, "aadd")):
            site.add(visitor, command, max(site.saved))
        client.execute_command("REPLICAOF", "127.0.0.1", other.port)
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def failed_over(site: Site) -> Iterator[None]:
    """A replica takes over that has not heard of the last writes, under the same address."""
    with replica_of(site.server) as other, other.client() as its_client:
        warm_again(site)
        its_client.execute_command("REPLICAOF", "NO", "ONE")
        for visitor, command in ((site.here, "add"), (site.there, "aadd")):
            site.add(visitor, command, max(site.saved))
        site.server.stop(signal.SIGKILL)
        for proxy in site.proxies:
            proxy.target = other.port
            proxy.cut()
        yield
        # The other one is the store from here on, for as long as this test lasts.
        site.recovers(list(site.saved)[-3:])
        site.server.start()
        for proxy in site.proxies:
            proxy.target = site.server.port
            proxy.cut()


def warm_again(site: Site) -> None:
    """Who gets its first replica is another primary to the site: nothing stored before counts."""
    keys = list(site.saved)[-3:]
    site.recovers(keys)
    for visitor in site.visitors:
        assert site.wrong(visitor, keys) == []


@contextlib.contextmanager
def slow(site: Site) -> Iterator[None]:
    """All is done, but later than anybody waits for."""
    for proxy in site.proxies:
        proxy.delay = 2 * TIMEOUT
    yield
    for proxy in site.proxies:
        proxy.delay = 0


@contextlib.contextmanager
def sluggish(site: Site) -> Iterator[None]:
    """All is done in time, if late."""
    for proxy in site.proxies:
        proxy.delay = TIMEOUT / 50
    yield
    for proxy in site.proxies:
        proxy.delay = 0


@contextlib.contextmanager
def deaf(site: Site) -> Iterator[None]:
    """One process hears no messages, and nothing tells it so."""
    site.proxies[0].silence(listening=True, asking=False)
    yield
    site.proxies[0].silence(listening=False, asking=False)


@contextlib.contextmanager
def cut_off(site: Site) -> Iterator[None]:
    """One process reaches nothing; the other everything."""
    site.proxies[0].silence(listening=True, asking=True)
    yield
    site.proxies[0].silence(listening=False, asking=False)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[str, Site]]:
    """The sites that tests have left sound, by their store: to start one takes seconds."""
    made: dict[str, Site] = {}
    yield made
    for site in made.values():
        site.close()


@pytest.fixture
def site(
    database: dict[str, Any],
    server: RedisServer,
    kept: dict[str, Site],
) -> Iterator[Site]:
    server.start()
    server.resume()
    site = kept.pop("redis", None) or Site(database, server)
    yield from _in_use(site, "redis", kept)


def _in_use(site: Site, name: str, kept: dict[str, Site]) -> Iterator[Site]:
    """Give a site to a test, and keep it for the next if it is as it was."""
    site.sound = False
    yield site
    connection.close()
    if site.sound:
        kept[name] = site
    else:
        site.close()


# Who cannot reach the store, and hears nothing, serves nothing after the bound: nor does another.
SEEN_MEANWHILE: tuple[Fault, ...] = (stopped, paused, full, deaf, killed_listeners)


@pytest.mark.parametrize(
    "fault",
    [
        stopped,
        restarted,
        paused,
        pausing_clients,
        killed_calls,
        killed_listeners,
        full,
        evicting,
        demoted,
        failed_over,
        slow,
        sluggish,
        deaf,
        cut_off,
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_redis_that_fails_costs_neither_answers_nor_writes(site: Site, fault: Fault) -> None:
    keys = site.products(3)
    by_here, by_there, by_both = keys
    with fault(site):
        for _ in range(2):
            site.add(site.here, "add", by_here)
            site.add(site.there, "aadd", by_there)
            site.add(site.here, "aadd", by_both)
            site.add(site.there, "add", by_both)
            # Whoever wrote sees it, whatever the store does; the rest is answered somehow.
            assert site.wrong(site.here, [by_here]) == []
            assert site.wrong(site.there, [by_there]) == []
            for visitor in site.visitors:
                site.wrong(visitor, keys)
        if fault in SEEN_MEANWHILE:
            for visitor in site.visitors:
                site.comes_right(visitor, keys, BOUND + ALLOWANCE)
        # Nobody knows of this when the fault ends.
        site.add(site.here, "add", by_here)
    site.recovers(keys)


def test_while_redis_does_not_answer_reads_wait_once_and_then_not_at_all(
    database: dict[str, Any], server: RedisServer
) -> None:
    server.start()
    # No listener, so that all that is sent is sent by calls.
    site = Site(database, server, SMARTCACHE_START_LISTENER=False)
    with contextlib.closing(site):
        keys = site.products(3)
        proxy = site.proxies[0]
        before = proxy.asked
        assert site.wrong(site.here, keys) == []
        assert proxy.asked >= before + len(keys), "calls do not ask through the proxy"
        with paused(site):
            began = time.monotonic()
            site.wrong(site.here, keys[:1])
            assert time.monotonic() - began < 4 * TIMEOUT + ALLOWANCE
            # The circuit breaker asks again ever more seldom: between two attempts of its, nobody
            # asks. A site without one asks each time.
            end = time.monotonic() + LIMIT
            while True:
                before = proxy.asked
                assert site.wrong(site.here, keys) == []
                if proxy.asked == before and not self_available(site):
                    break
                assert time.monotonic() < end, "each call asks a server that does not answer"
        site.recovers(keys)


def self_available(site: Site) -> bool:
    return bool(site.state(site.here)["available"])
