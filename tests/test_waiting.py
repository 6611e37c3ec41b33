"""Who waits for another's computation never keeps from it what it needs to come to its end."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import connections

from djsmartcache import _core, process, smart_cached
from djsmartcache.waiting import Unshared, patient
from tests.servers import PostgresServer
from tests.stores import store
from tests.waiting import LIMIT, Waiters, until, waiters

__all__ = ["store", "waiters"]
pytestmark = pytest.mark.usefixtures("store")


def of_thread() -> str:
    return "of the thread"


class _InATask:
    """Two functions of one key: a coroutine function computes, and needs Django's thread for it."""

    def __init__(self) -> None:
        self.leads = asyncio.Event()
        self.awaited = asyncio.Event()
        self.computed = 0

        @smart_cached(key="both")
        async def of_task() -> str:
            self.computed += 1
            self.leads.set()
            await self.awaited.wait()
            return await sync_to_async(of_thread)()

        @smart_cached(key="both")
        def in_thread() -> str:
            self.computed += 1
            return of_thread()

        self.of_task, self.in_thread = of_task, in_thread


async def _thread_waits() -> None:
    while process.cache().stats()["flight_waits"] == 0:
        await asyncio.sleep(0.01)


async def _thread_stands_still(
    two: _InATask, other: Callable[[], Any], waits: Callable[[], Awaitable[object]]
) -> list[str]:
    """Let `other` wait in Django's thread for the coroutine function, which then needs that."""
    leader = asyncio.create_task(two.of_task())
    await two.leads.wait()
    waiter = asyncio.create_task(sync_to_async(other)())
    await asyncio.wait_for(waits(), LIMIT)
    two.awaited.set()
    return await asyncio.wait_for(asyncio.gather(leader, waiter), LIMIT)


async def test_a_thread_that_the_awaited_task_needs_stops_waiting() -> None:
    two = _InATask()
    found = await _thread_stands_still(two, two.in_thread, _thread_waits)
    assert found == ["of the thread"] * 2
    assert two.computed == 2


async def test_a_task_stops_waiting_if_the_thread_below_it_is_needed(waiters: Waiters) -> None:
    two, waits = _InATask(), asyncio.Event()
    waiters.then(1, waits.set)
    found = await _thread_stands_still(two, async_to_sync(two.of_task), waits.wait)
    assert found == ["of the thread"] * 2
    assert two.computed == 2


async def test_a_thread_that_nobody_needs_waits_to_the_end() -> None:
    two = _InATask()

    async def request() -> str:
        async with ThreadSensitiveContext():  # as of a request: a thread of its own
            return await sync_to_async(two.in_thread)()

    leader = asyncio.create_task(two.of_task())
    await two.leads.wait()
    waiter = asyncio.create_task(request())
    await asyncio.wait_for(_thread_waits(), LIMIT)
    two.awaited.set()
    assert await asyncio.wait_for(asyncio.gather(leader, waiter), LIMIT) == ["of the thread"] * 2
    assert two.computed == 1


@pytest.fixture
def pooled(
    postgres: PostgresServer, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let `default` be a PostgreSQL with a pool of two connections."""
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": str(postgres.port),
        "USER": "postgres",
        "NAME": "postgres",
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": LIMIT / 2}},
    }
    before = connections.settings["default"]
    connections.settings["default"] = settings
    connections.configure_settings({"default": settings})
    own = connections["default"]
    connections["default"] = connections.create_connection("default")
    with django_db_blocker.unblock():
        one()  # keys are of the database that the process is at, so it goes there first
        connections["default"].close()
        yield
        connections["default"].close()
        connections["default"].close_pool()
    connections.settings["default"] = before
    connections["default"] = own


def one() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])


def test_who_holds_a_connection_that_the_leader_needs_stops_waiting(pooled: None) -> None:
    leads, go_on = threading.Event(), threading.Event()
    found: list[int] = []

    @smart_cached(key="one")
    def cached() -> int:
        if not leads.is_set():
            leads.set()
            go_on.wait()
        return one()

    def visitor(*, queries_before: bool) -> None:
        try:
            if queries_before:
                one()
            found.append(cached())
        finally:
            connections["default"].close()

    leader = threading.Thread(target=visitor, kwargs={"queries_before": False})
    leader.start()
    leads.wait()
    waiters = [threading.Thread(target=visitor, kwargs={"queries_before": True}) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    until(lambda: process.cache().stats()["flight_waits"] == 2)
    go_on.set()
    for thread in (leader, *waiters):
        thread.join(LIMIT)
    assert found == [1] * 3


def test_settings_made_by_hand_come_back_with_a_session_out_of_a_pool(pooled: None) -> None:
    cached = smart_cached(key="under settings")(one)
    connection = connections["default"]
    with connection.cursor() as cursor:
        cursor.execute("SET timezone = 'Asia/Tokyo'")
    altered = connection.connection
    connection.close()  # the pool takes it back, and gives it to somebody
    while connection.connection is not altered:
        connection.close()
        connection.connect()
    assert cached() == 1
    assert cached.get() is None
    connection.close()
    connection.close_pool()
    connection.connect()  # here, for a new pool starts threads
    assert cached() == cached.get() == 1


async def test_connections_of_threads_that_stand_for_tasks_are_closed(pooled: None) -> None:
    opened: list[Any] = []

    def ask() -> int:
        opened.append(connections["default"])
        return one()

    assert await process.run(ask) == 1
    assert opened[0].connection is None


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt() -> Iterator[None]:
    """Send this process a signal in a moment, whose handler raises."""

    def handler(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_ends_the_wait_for_another_thread(interrupt: None) -> None:
    leads, done = threading.Event(), threading.Event()

    @smart_cached(key="slow")
    def slow() -> int:
        leads.set()
        done.wait(LIMIT)
        return 1

    leader = threading.Thread(target=slow)
    leader.start()
    leads.wait()
    try:
        with pytest.raises(Interrupted):
            slow()
        assert not done.is_set()
    finally:
        done.set()
        leader.join()
    assert slow.get() == 1


def test_requests_that_begin_and_end_meanwhile_raise_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Changing(dict[object, Executor]):
        """As when a request begins in another thread at each step."""

        def values(self) -> Any:
            for number in range(3):
                self[number] = SyncToAsync.single_thread_executor
            for each in super().values():
                self[len(self)] = each
                yield each

    monkeypatch.setattr(SyncToAsync, "context_to_thread_executor", Changing())
    assert patient()


def test_what_patience_raises_ends_the_wait() -> None:
    cache = process.cache()
    lead = cache.find(b"k", owner=1)
    raised: list[BaseException] = []

    def impatient() -> bool:
        raise KeyError("patience")

    def wait() -> None:
        try:
            cache.find(b"k", owner=2, patience=impatient)
        except KeyError as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(LIMIT)
    assert len(raised) == 1
    assert cache.find(b"k", owner=3, wait=False).kind == _core.WAIT
    assert lead.lead is not None
    lead.lead.abandon(retry=False)


def test_flights_that_end_while_another_is_noted() -> None:
    unshared = Unshared()
    for number in range(unshared._KEPT):
        unshared.add(b"%d" % number)
    others = 0

    def other_thread(frame: Any, event: str, what: Any) -> None:
        """Another thread is on its way through `add` whenever this one is interrupted there."""
        nonlocal others
        if event in ("c_call", "c_return") and frame.f_code.co_name == "add":
            others += 1
            unshared._last[b"of another thread %d" % others] = unshared.now()

    before = unshared.now()
    sys.setprofile(other_thread)
    try:
        unshared.add(b"k")
    finally:
        sys.setprofile(None)
    assert others > 1
    assert unshared.since(b"k", before)
    assert unshared.since(b"of another thread 1", before)
    assert not unshared.since(b"k", unshared.now())
    assert not unshared.since(b"0", 0), "the oldest are forgotten"
