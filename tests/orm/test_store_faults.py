"""A site whose store fails: it answers, loses and doubles no write, and is fresh afterwards.

Two processes of the site read and write, from threads and from tasks, through cached functions and
views. What is broken is real: servers, connections, disks. Each test leaves the site as sound as it
was.
"""

from __future__ import annotations

import asyncio
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
from django.db import connection, transaction

from djsmartcache import WriteRefused
from tests.children import Child
from tests.orm.conftest import environment
from tests.servers import RedisServer, free_port
from tests.slow_proxy import SlowProxy
from tests.testapp.models import Product, Review
from tests.waiting import LIMIT, until

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
    def folder(self) -> Path:
        assert isinstance(self.place, Path)
        return self.place

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
        """See that soon nothing is pending, all is fresh a bound later, memory answers again."""
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
    try:
        yield
    finally:
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
        site.recovers(list(site.saved)[-4:])
        site.server.start()
        for proxy in site.proxies:
            proxy.target = site.server.port
            proxy.cut()


def warm_again(site: Site) -> None:
    """Who gets its first replica is another primary to the site: nothing stored before counts."""
    keys = list(site.saved)[-4:]
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
    if "redis" not in kept:
        server.restart(signal.SIGKILL)  # whatever a failed test has left
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
    # The last is written by faults that let the store forget writes it has acknowledged.
    keys = site.products(4)
    by_here, by_there, by_both, _ = keys
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
                if proxy.asked == before and not site.state(site.here)["available"]:
                    break
                assert time.monotonic() < end, "each call asks a server that does not answer"
        site.recovers(keys)


# --- the embedded store


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """Give a folder, and whether it has a disk of its own."""
    folder = tmp_path_factory.mktemp("disk")
    options = ["-o", "size=8m,mode=0700", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", *options], capture_output=True).returncode == 0
    )
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def shelf(
    database: dict[str, Any], disk: tuple[Path, bool], kept: dict[str, Site]
) -> Iterator[Site]:
    """A site on an embedded store of the least size."""
    site = kept.pop("embedded", None) or Site(
        database, disk[0] / "store", SMARTCACHE_EMBEDDED_MAX_BYTES=1 << 20
    )
    yield from _in_use(site, "embedded", kept)


@contextlib.contextmanager
def overfull(site: Site) -> Iterator[None]:
    """There is more to store than there is room for, of entries and of tokens."""
    for visitor in site.visitors:
        assert visitor.ask("overfill", 200, FILL) == "filling"
    yield
    for visitor in site.visitors:
        assert visitor.ask("overfill", 0, 0) == "over"


@contextlib.contextmanager
def deleted(site: Site) -> Iterator[None]:
    """The folder is deleted again and again."""
    over = threading.Event()

    def delete() -> None:
        while not over.wait(0.02):
            shutil.rmtree(site.folder, ignore_errors=True)

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        yield
    finally:
        over.set()
        deleter.join()


@contextlib.contextmanager
def deleted_once(site: Site) -> Iterator[None]:
    shutil.rmtree(site.folder)
    yield


@contextlib.contextmanager
def without_space(site: Site) -> Iterator[None]:
    """The disk is full, and the store is gone that had its room there."""
    junk = site.folder.parent / "junk"
    shutil.rmtree(site.folder)
    with junk.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        junk.unlink()


@contextlib.contextmanager
def limited(site: Site) -> Iterator[None]:
    """No file of the processes may grow, of a store made anew."""
    shutil.rmtree(site.folder)
    for visitor in site.visitors:
        assert visitor.ask("limit", 20_000) == "limited"
    yield
    for visitor in site.visitors:
        assert visitor.ask("limit", 0) == "limited"


@pytest.mark.parametrize(
    "fault",
    [overfull, deleted_once, deleted, without_space, limited],
    ids=lambda fault: fault.__name__,
)
def test_an_embedded_store_that_fails_costs_neither_answers_nor_writes(
    shelf: Site, fault: Fault, disk: tuple[Path, bool]
) -> None:
    if fault is without_space and not disk[1]:
        pytest.skip("no disk of its own can be mounted here: `limited` is as near as it gets")
    keys = shelf.products(3)
    by_here, by_there, by_both = keys
    with fault(shelf):
        for _ in range(3):
            shelf.add(shelf.here, "add", by_here)
            shelf.add(shelf.there, "aadd", by_there)
            shelf.add(shelf.here, "aadd", by_both)
            shelf.add(shelf.there, "add", by_both)
            assert shelf.wrong(shelf.here, [by_here]) == []
            assert shelf.wrong(shelf.there, [by_there]) == []
            # One may be able to use the files before the other, which then tells it of its writes.
            for visitor in shelf.visitors:
                shelf.comes_right(visitor, keys, ALLOWANCE)
        shelf.add(shelf.here, "add", by_here)
    shelf.recovers(keys, bound=0)


# --- writers that are killed, stopped, or take long

LEASE = 0.8  # seconds


@pytest.fixture(params=["redis", "embedded"])
def leased(database: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site of either kind whose marks last for LEASE."""
    found: Site = request.getfixturevalue("site" if request.param == "redis" else "shelf")
    for visitor in found.visitors:
        assert visitor.ask("lease", LEASE) == "lease"
    yield found
    for visitor in found.visitors:
        assert visitor.ask("lease", 10) == "lease"


def test_a_process_killed_anywhere_in_a_write_of_the_store_hinders_nobody(leased: Site) -> None:
    keys = leased.products(2)
    by_killed, by_there = keys
    for number in range(6):
        leased.here.tell("churn", by_killed, 0.15 + 0.03 * number)
        leased.add(leased.there, "add", by_there)
        assert leased.wrong(leased.there, [by_there]) == []
        returned = int(leased.here.hear())
        leased.add(leased.there, "aadd", by_there)
        leased.saved[by_killed] += returned
        # The last may have been committed or not; a backend that was left does either soon.
        wait_for_backends()
        stock = Product.objects.values_list("stock", flat=True).get(pk=by_killed)
        assert stock - leased.saved[by_killed] in (0, 1)
        leased.saved[by_killed] = stock
        for visitor in leased.visitors:
            leased.wrong(visitor, keys)
    time.sleep(LEASE)
    leased.recovers(keys)


def wait_for_backends(longer: float = 0.0) -> None:
    """Wait until no other session does anything, or one has done it for longer than that."""
    end = time.monotonic() + LIMIT
    condition = "now() - query_start > %s * interval '1 second'" if longer else "%s = 0"
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle'"
                f" AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND {condition}",
                [longer],
            )
            found = cursor.fetchone()[0]
        if bool(found) == bool(longer):
            return
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_mark_of_a_long_statement_is_renewed_while_it_runs(leased: Site) -> None:
    keys = leased.products(1)
    leased.there.tell("die", *keys, 4 * LEASE)
    wait_for_backends(longer=2 * LEASE)
    # What is read here is old as soon as the statement is committed, of which nobody will tell.
    leased.wrong(leased.here, keys)
    assert leased.wrong(leased.here, keys) == []
    assert leased.there.hear() == "killed"
    leased.saved[keys[0]] += 1
    time.sleep(LEASE)
    leased.recovers(keys)


def test_a_writer_stopped_before_its_commit_for_longer_than_its_lease_tells_of_it_after_all(
    leased: Site,
) -> None:
    keys = leased.products(1)
    leased.there.tell("stop", *keys)
    wait_until_stopped(leased.there.pid)
    time.sleep(2 * LEASE)
    # Its mark is over: this is kept as though nobody were about to write.
    assert leased.wrong(leased.here, keys) == []
    os.kill(leased.there.pid, signal.SIGCONT)
    assert leased.there.hear() == "saved"
    leased.saved[keys[0]] += 1
    leased.recovers(keys, bound=BOUND if leased.proxies else 0)


def wait_until_stopped(pid: int) -> None:
    end = time.monotonic() + LIMIT
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end
        time.sleep(0.005)


# --- fail_closed


@pytest.fixture
def strict(shop: None, store: dict[str, str], settings: Any) -> Iterator[Product]:
    settings.SMARTCACHE_ON_REDIS_DOWN = "fail_closed"
    settings.SMARTCACHE_REDIS_TIMEOUT = TIMEOUT
    yield Product.objects.create(name="lamp")
    settings.SMARTCACHE_ON_REDIS_DOWN = "fail_open"


async def asaved(product: Product) -> None:
    product.stock += 1
    await product.asave()


async def acreated(product: Product) -> None:
    await Review.objects.acreate(product=product, text="good")


def saved(product: Product) -> None:
    product.stock += 1
    product.save()


def both(product: Product) -> None:
    with transaction.atomic():
        Review.objects.create(product=product, text="good")
        saved(product)


def all_at_once(product: Product) -> None:
    Review.objects.bulk_create(Review(product=product, text="good") for _ in range(3))


WAYS: tuple[Callable[[Product], Any], ...] = (saved, both, all_at_once, asaved, acreated)


@contextlib.contextmanager
def hung(server: RedisServer) -> Iterator[None]:
    server.pause()
    yield
    server.resume()


@contextlib.contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """The server is the replica of one that is not there."""
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
        yield
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def gone(server: RedisServer) -> Iterator[None]:
    server.stop(signal.SIGKILL)
    yield
    server.start()


@pytest.mark.parametrize("store", ["redis"], indirect=True)
@pytest.mark.parametrize("fault", [gone, hung, read_only], ids=lambda fault: fault.__name__)
def test_fail_closed_refuses_every_write_and_does_no_half_of_it(
    strict: Product, redis_server: RedisServer, fault: Any
) -> None:
    def counts() -> tuple[int, int]:
        return Product.objects.get(pk=strict.pk).stock, strict.reviews.count()

    with fault(redis_server):
        for way in WAYS:
            with pytest.raises(WriteRefused):
                write(way, strict)
            assert counts() == (0, 0), way.__name__
    for way in WAYS:
        retry(way, strict)
    assert counts() == (3, 5)


def write(way: Callable[[Product], Any], product: Product) -> None:
    product.refresh_from_db()
    if asyncio.iscoroutinefunction(way):
        asyncio.run(way(product))
    else:
        way(product)


def retry(way: Callable[[Product], Any], product: Product) -> None:
    """Write once the circuit breaker has looked again."""

    def done() -> bool:
        with contextlib.suppress(WriteRefused):
            write(way, product)
            return True
        return False

    until(done)


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_fail_closed_takes_writes_while_redis_is_full(
    strict: Product, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            for way in WAYS:
                write(way, strict)
        finally:
            client.config_set("maxmemory", 0)
