"""Waiting for a computation that another caller has under way, without holding up that other.

The core waits where threads wait, tasks wait here. Neither may keep from the other what it needs
to come to its end. A circle of callers who wait for each other the core finds, or it bounds the
wait; locks of the database are known to `orm.transaction`. What is left is looked at again and
again while a caller waits: whether others queue for its thread, or for its connection out of a
pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, Final

from asgiref.sync import AsyncToSync, SyncToAsync
from django.db import connections

from . import _core

ASK_EVERY: Final = 0.1  # seconds, as in the core
_LOOKS: Final = 5


def patient() -> bool:
    """Whether a thread may wait on: nobody queues for what it holds meanwhile."""
    return not _wanted(threading.current_thread()) and not _connection_wanted()


def _task_patient() -> bool:
    """As `patient`, for a task: a thread may stand still until it ends, in `async_to_sync`."""
    below = getattr(AsyncToSync.executors, "current", None)
    thread = getattr(below, "_work_thread", None)
    return thread is None or not _wanted(thread, serving=below)


def _wanted(thread: threading.Thread, serving: Executor | None = None) -> bool:
    """Whether work is queued that only this thread does, and will not do before the wait is over.

    Django runs all synchronous code of one request, or of the process, in one thread. asgiref has
    no public way to ask for its queue; what a version of it does not have counts as empty.

    Args:
        serving: What the thread works off even while it stands still.
    """
    return any(executor is not serving and _queued(executor) for executor in _executors_of(thread))


def _executors_of(thread: threading.Thread) -> Iterator[Executor]:
    for pool in _pools():
        if thread in getattr(pool, "_threads", ()):
            yield pool
    standing: Any = getattr(AsyncToSync.executors, "current", None)
    while standing is not None:
        if getattr(standing, "_work_thread", None) is thread:
            yield standing
        standing = getattr(standing, "_old_executor", None)


def _pools() -> list[Executor]:
    single: Executor = SyncToAsync.single_thread_executor
    for _ in range(_LOOKS):
        # Requests that begin or end in the thread of the loop change the dictionary meanwhile.
        with contextlib.suppress(RuntimeError):
            return [single, *SyncToAsync.context_to_thread_executor.values()]
    return [single]  # until it is looked at again


def _queued(executor: Executor) -> bool:
    items = getattr(executor, "_work_items", None)
    if items is not None:
        return len(items) > 0
    queue = getattr(executor, "_work_queue", None)
    return queue is not None and not queue.empty()


def _connection_wanted() -> bool:
    """Whether this thread holds a connection out of a pool that others wait for."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or not connection.settings_dict["OPTIONS"].get("pool"):
            continue
        stats: Any = getattr(getattr(connection, "pool", None), "get_stats", dict)
        if stats().get("requests_waiting", 0) > 0:
            return True
    return False


async def ended(answer: _core.Answer, limit: float | None) -> bool:
    """Wait for another's flight without holding a thread. False: it took longer than `limit`
    seconds, or waiting holds up what it may need."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(event.set)

    answer.subscribe(wake)
    until = None if limit is None else time.monotonic() + limit
    while _task_patient():
        left = ASK_EVERY if until is None else min(ASK_EVERY, until - time.monotonic())
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), left)
        if event.is_set():
            return True
        if until is not None and time.monotonic() >= until:
            break
    return False


async def lingered(start: Callable[[Callable[[], bool]], asyncio.Future[Any]]) -> Any:
    """Wait for another process while a thread stands for this task; None: that would hold up what
    the other may need.

    Args:
        start: Starts the thread's wait, which is to end once what it is given gives False.
    """
    wanted = True
    future = start(lambda: wanted and patient())
    try:
        while not future.done():
            if not _task_patient():
                return None
            await asyncio.wait([future], timeout=ASK_EVERY)
        return future.result()
    finally:
        wanted = False
        future.cancel()  # where no thread was free for it


class Unshared:
    """Which flights of late ended without a value to share, for tasks that wait for them."""

    # Threads add at once, and no lock is held for it, which a fork would inherit: each step is one
    # that the interpreter does not divide.

    _KEPT: Final = 1024

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def now(self) -> int:
        """A number to ask `since` with."""
        return next(self._numbers)

    def add(self, key: bytes) -> None:
        self._last.pop(key, None)
        self._last[key] = next(self._numbers)
        if len(self._last) > self._KEPT:
            self._last.popitem(last=False)

    def since(self, key: bytes, number: int) -> bool:
        return self._last.get(key, 0) > number


unshared: Final = Unshared()
