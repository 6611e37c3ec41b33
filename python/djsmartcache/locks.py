"""`cache_lock`: a lock between processes, for blocks of threads and tasks.

Asked for at growing intervals: the store wakes waiters for entries only. A holder may enter again.
A holder that is paused for longer than the lease loses the lock while it is still in the block, and
another may enter; it hears of that by LockLost when it leaves. What must not happen twice needs a
guard of its own, such as a constraint of the database.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final

from . import _core, conf, keys, process
from .exceptions import LockLost, LockNotAcquired

_FIRST_PAUSE: Final = 0.002  # seconds, about a round trip
_LONGEST_PAUSE: Final = 0.1


class _Hold:
    """A lock that a thread or task of this process holds."""

    def __init__(self) -> None:
        self.owner = secrets.randbits(63) | 1
        self.depth = 1
        self.forks = process.forks


class _OfThread(threading.local):
    """What a thread holds outside of tasks, by key; it goes with the thread."""

    def __init__(self) -> None:
        self.holds: dict[bytes, _Hold] = {}


_of_thread = _OfThread()
_of_tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], dict[bytes, _Hold]]
_of_tasks = weakref.WeakKeyDictionary()


def _holds() -> dict[bytes, _Hold]:
    """What the running task, or else the thread, holds."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return _of_thread.holds if task is None else _of_tasks.setdefault(task, {})


class CacheLock:
    """See `api.cache_lock`. One object may be entered by many threads and tasks."""

    def __init__(self, name: str, timeout: float | None, wait: float | None) -> None:
        for what, seconds, least in (("timeout", timeout, "above 0"), ("wait", wait, "0 or more")):
            if seconds is None:
                continue
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise TypeError(f"{what}={seconds!r}: seconds {least}, or None.")
            if not conf.is_number(seconds) or not (seconds > 0 or (what, seconds) == ("wait", 0)):
                raise ValueError(f"{what}={seconds!r}: seconds {least}, or None.")
        self._name = name
        self._key = keys.encode(name)
        self._lease = conf.current().lock_timeout if timeout is None else timeout
        self._wait = wait

    def __enter__(self) -> CacheLock:
        if not self._again():
            hold = _Hold()
            for pause in self._attempts():
                if self._try(hold):
                    break
                time.sleep(pause)
            _holds()[self._key] = hold
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        hold = self._leave(error)
        if hold is not None and not self._release(hold) and error is None:
            self._lost()

    async def __aenter__(self) -> CacheLock:
        if not self._again():
            hold = _Hold()
            for pause in self._attempts():
                if await self._atry(hold):
                    break
                await asyncio.sleep(pause)
            _holds()[self._key] = hold
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        hold = self._leave(error)
        if hold is None:
            return
        # A task that is cancelled here still frees the lock.
        released = process.executor().submit(self._release, hold)
        if not await asyncio.shield(asyncio.wrap_future(released)) and error is None:
            self._lost()

    def _mine(self) -> _Hold | None:
        hold = _holds().get(self._key)
        # What was held when the process forked is the parent's.
        return hold if hold is not None and hold.forks == process.forks else None

    def _again(self) -> bool:
        hold = self._mine()
        if hold is not None:
            hold.depth += 1
        return hold is not None

    def _attempts(self) -> Iterator[float]:
        """Pauses between attempts, until the time to wait is over."""
        start = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            left = None if self._wait is None else start + self._wait - time.monotonic()
            yield pause if left is None else max(0.0, min(pause, left))
            if left is not None and left <= 0:
                raise LockNotAcquired(
                    f"{self._name!r} was held by another for {self._wait} seconds."
                )
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _try(self, hold: _Hold) -> bool:
        try:
            return process.cache().try_user_lock(self._key, hold.owner, self._lease)
        except _core.StoreUnavailable as error:
            raise LockNotAcquired(f"{self._name!r}: the store cannot be asked.") from error

    async def _atry(self, hold: _Hold) -> bool:
        attempt = process.executor().submit(self._try, hold)
        try:
            return await asyncio.wrap_future(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(functools.partial(self._undo, hold))
            raise

    def _undo(self, hold: _Hold, attempt: Future[bool]) -> None:
        """Free what an attempt got that nobody waits for any more."""
        if not attempt.cancelled() and attempt.exception() is None and attempt.result():
            process.executor().submit(self._release, hold)

    def _leave(self, error: BaseException | None) -> _Hold | None:
        """Give the hold to release, unless the block is nested in another of the same lock."""
        hold = self._mine()
        if hold is None:
            if error is not None:
                return None
            raise LockLost(
                f"{self._name!r} is left by another process, thread or task than entered it."
            )
        hold.depth -= 1
        if hold.depth:
            return None
        del _holds()[self._key]
        return hold

    def _release(self, hold: _Hold) -> bool:
        try:
            return process.cache().user_unlock(self._key, hold.owner)
        except _core.StoreUnavailable:
            return False

    def _lost(self) -> None:
        raise LockLost(
            f"{self._name!r} was not held any more when it was left: its {self._lease} seconds "
            "were over, or the store lost it."
        )
