"""What each promised setting does, seen from outside: in the store, and between real processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from djsmartcache import (
    cache_get,
    cache_get_or_set,
    cache_set,
    cache_ttl,
    prefixes,
    process,
    smart_cached,
)
from tests.servers import RedisServer
from tests.starting import Start, start
from tests.stores import store
from tests.testapp.models import Product
from tests.waiting import LIMIT, until

__all__ = ["start", "store"]

ON_REDIS = pytest.mark.parametrize("store", ["redis"], indirect=True)
READS = ("get", "mget")  # commands of Redis by which a hit is found or proven
SLACK = 2.0  # seconds that a loaded machine may take for a few milliseconds' work


def ttl_of(key: str) -> float:
    found = cache_ttl(key)
    assert found is not None
    return found


# --- SMARTCACHE_DEFAULT_TTL, SMARTCACHE_JITTER_PCT

WEEK = 7 * 86400.0


@pytest.mark.usefixtures("store")
def test_the_default_ttl_is_that_of_all_that_names_none(settings: Any) -> None:
    settings.SMARTCACHE_JITTER_PCT = 0
    f = smart_cached(key="function")(lambda: 1)
    for ttl in (1000, 50.0):
        settings.SMARTCACHE_DEFAULT_TTL = ttl
        cache_set("by hand", 1)
        cache_get_or_set(f"got or set {ttl}", lambda: 1)
        f.refresh()
        for key in ("by hand", f"got or set {ttl}", "function"):
            assert ttl - SLACK < ttl_of(key) <= ttl, key
    settings.SMARTCACHE_DEFAULT_TTL = None
    f.refresh()
    assert ttl_of("function") > WEEK  # as long as its tokens
    cache_set("by hand", 1)
    assert cache_ttl("by hand") is None
    cache_set("of its own", 1, ttl=20)
    assert 20 - SLACK < ttl_of("of its own") <= 20


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("share", [None, 0.1, 0.5, 0])
def test_ttls_are_spread_by_the_jitter_and_no_further(settings: Any, share: float | None) -> None:
    if share is None:
        share = 0.1  # the default
    else:
        settings.SMARTCACHE_JITTER_PCT = share
    ttls = []
    for number in range(100):
        cache_get_or_set(f"spread:{number}", lambda: 1, ttl=10_000)
        ttls.append(ttl_of(f"spread:{number}"))
    spread = 10_000 * share
    assert 10_000 - spread - SLACK <= min(ttls)
    assert max(ttls) <= 10_000 + spread
    # Of a hundred in a row none in the outer quarter on one side: once in ten million runs or less.
    assert min(ttls) <= 10_000 - spread * 0.7
    assert max(ttls) >= 10_000 + spread * 0.7 - SLACK


# --- SMARTCACHE_USE_REDIS_LOCK, SMARTCACHE_LOCK_TIMEOUT


def test_one_process_computes_and_wakes_the_others(start: Start) -> None:
    # So long a lease that who was not woken would be seen to sleep.
    leader, first, second = (start(LOCK_TIMEOUT=60) for _ in range(3))
    assert leader.ask("call", "a") == "computing"
    for waiter in (first, second):
        waiter.tell("call", "a")
        until(lambda waiter=waiter: waiter.ask("waits") == "1")
    leader.tell("go")
    began = time.monotonic()
    made = {child.hear() for child in (leader, first, second)}
    assert made == {f"value a {leader.pid}"}
    assert time.monotonic() - began < 60 / 3


def test_without_the_lock_each_process_computes(start: Start) -> None:
    first, second = (start(USE_REDIS_LOCK=False) for _ in range(2))
    assert first.ask("call", "a") == second.ask("call", "a") == "computing"
    for child in (first, second):
        child.tell("go")
        assert child.hear() == f"value a {child.pid}"


def test_a_killed_leader_costs_its_waiters_the_lock_timeout(start: Start) -> None:
    timeout = 1.5
    leader, waiter = (start(LOCK_TIMEOUT=timeout) for _ in range(2))
    assert leader.ask("call", "a") == "computing"
    waiter.tell("call", "a")
    until(lambda: waiter.ask("waits") == "1")
    leader.kill()
    began = time.monotonic()
    waiter.tell("go")
    assert waiter.hear() == "computing"
    taken = time.monotonic() - began
    assert waiter.hear() == f"value a {waiter.pid}"
    # The leader had renewed its lease within the last third or two of it.
    assert timeout / 4 < taken < timeout + SLACK


# --- SMARTCACHE_PUBSUB_CHANNEL, SMARTCACHE_START_LISTENER


@ON_REDIS
@pytest.mark.django_db(transaction=True)
def test_changes_are_told_on_the_channel_and_on_no_other(
    store: str, redis_server: RedisServer, settings: Any
) -> None:
    settings.SMARTCACHE_PUBSUB_CHANNEL = "of:this:test"
    with redis_server.client() as client, client.pubsub() as heard:
        heard.psubscribe("*")
        assert heard.get_message(timeout=LIMIT)["type"] == "psubscribe"
        for change in (
            lambda: cache_set("k", 1),
            lambda: Product.objects.create(name="lamp"),
        ):
            change()
            message = heard.get_message(timeout=LIMIT)
            assert message, "nothing was told"
            assert (message["type"], message["channel"]) == ("pmessage", b"of:this:test")
            while more := heard.get_message(timeout=0.01):
                assert more["channel"] == b"of:this:test"


@ON_REDIS
def test_processes_on_two_channels_do_not_hear_each_other(start: Start) -> None:
    writer, near = (start(PUBSUB_CHANNEL="one") for _ in range(2))
    far = start(PUBSUB_CHANNEL="two")
    for child in (near, far):
        until(lambda child=child: child.ask("get", "k") == "None" and child.ask("hears") == "True")
    assert writer.ask("set", "k", "old") == "True"
    for child in (near, far):
        until(lambda child=child: child.ask("get", "k") == "old")
        assert child.ask("get", "k") == "old"
    assert writer.ask("set", "k", "new") == "True"
    until(lambda: near.ask("get", "k") == "new")
    assert far.ask("get", "k") == "old"  # it trusts what it hears on its own


@ON_REDIS
@pytest.mark.parametrize("listens", [True, False])
def test_without_a_listener_every_hit_asks_the_store(
    store: str, redis_server: RedisServer, settings: Any, listens: bool
) -> None:
    settings.SMARTCACHE_START_LISTENER = listens
    f = smart_cached(key="f")(lambda: 1)
    f()
    with redis_server.client() as client:
        if listens:
            until(lambda: f() and process.cache().trusted())
            f()

        def asked() -> int:
            found = client.info("commandstats")
            return sum(found.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in READS)

        misses, before = f.stats()["misses"], asked()
        for _ in range(10):
            assert f() == 1
        questions = asked() - before
        listeners = client.pubsub_numsub("smartcache:updates")[0][1]
    assert f.stats()["misses"] == misses
    assert (questions == 0, listeners) == (listens, int(listens))
    assert listens or questions >= 10


@ON_REDIS
def test_without_a_listener_a_change_elsewhere_is_seen_at_once(start: Start) -> None:
    writer, reader = (start(START_LISTENER=False) for _ in range(2))
    for number in range(50):
        assert writer.ask("set", "k", number) == "True"
        assert reader.ask("get", "k") == reader.ask("get", "k") == str(number)


# --- SMARTCACHE_VALIDATE_SCHEMA


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("validates", [True, False])
def test_entries_of_another_model_definition_are_misses(
    settings: Any, monkeypatch: pytest.MonkeyPatch, validates: bool
) -> None:
    settings.SMARTCACHE_VALIDATE_SCHEMA = validates
    f = smart_cached(key="of a schema")(lambda: made)
    made = "old"
    assert f() == "old"
    with monkeypatch.context() as deploy:
        deploy.setattr(Product._meta.get_field("name"), "max_length", 101)
        prefixes.forget()
        made = "new"
        assert f() == ("new" if validates else "old")
        assert cache_get("of a schema") == ("new" if validates else "old")
    prefixes.forget()
    assert f() == "old"  # processes of both sides go on side by side


# --- SMARTCACHE_REDIS_URL


@pytest.mark.parametrize("form", ["{url}", "unix://{socket}?db=0", "redis://localhost:{port}/3"])
def test_entries_are_in_the_server_of_the_url(
    redis_server: RedisServer, settings: Any, form: str
) -> None:
    settings.SMARTCACHE_REDIS_URL = form.format(
        url=redis_server.url, socket=redis_server.socket, port=redis_server.port
    )
    assert cache_set("k", 1)
    assert cache_get("k") == 1
    database = 3 if form.endswith("/3") else 0
    for number in (0, 3):
        with redis_server.client(db=number) as client:
            assert bool(client.keys("smartcache:*")) == (number == database)
    process.close()


def test_without_a_url_entries_are_in_the_folder(settings: Any, tmp_path: Path) -> None:
    settings.SMARTCACHE_REDIS_URL = None
    settings.SMARTCACHE_DIR = str(tmp_path / "store")
    assert cache_set("k", 1)
    assert cache_get("k") == 1
    assert any(path.name == "entries" for path in tmp_path.rglob("*"))
    process.close()
