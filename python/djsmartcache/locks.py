"""`cache_lock`: a lock between processes, for blocks of threads and tasks.

Asked for at growing intervals: the store wakes waiters for entries only. A holder may enter again.
What it protects must bear that a holder loses it, paused for longer than the lease: leaving then
raises.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from . import _core, computing, conf, process
from .exceptions import LockLost, LockNotAcquired

_FIRST_PAUSE: Final = 0.002  # seconds, about a round trip
_LONGEST_PAUSE: Final = 0.1

_held: dict[tuple[str, int], _Hold] = {}


class _Hold:
    """A lock that a thread or task of this process holds."""

    def __init__(self) -> None:
        self.owner = secrets.randbits(63) | 1
        self.depth = 1


class CacheLock:
    """See `api.cache_lock`. One object may be entered by many threads and tasks."""

    def __init__(self, name: bytes, timeout: float | None, wait: float | None) -> None:
        for what, seconds in (("timeout", timeout), ("wait", wait)):
            if seconds is not None and (isinstance(seconds, bool) or not seconds >= 0):
                raise ValueError(f"{what}={seconds!r}: seconds, or None.")
        self._name = name.decode("latin-1")  # the core takes text, and any bytes are
        self._lease = conf.current().lock_timeout if timeout is None else timeout
        self._wait = wait

    def __enter__(self) -> CacheLock:
        if not self._again():
            for pause in self._attempts():
                if self._try():
                    break
                time.sleep(pause)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        hold = self._leave()
        if hold is not None and not self._release(hold) and error is None:
            self._lost()

    async def __aenter__(self) -> CacheLock:
        if not self._again():
            me = computing.caller()
            for pause in self._attempts():
                if await process.run(self._try, me):
                    break
                await asyncio.sleep(pause)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        hold = self._leave()
        if hold is not None and not await process.run(self._release, hold) and error is None:
            self._lost()

    def _again(self) -> bool:
        hold = _held.get((self._name, computing.caller()))
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

    def _try(self, caller: int | None = None) -> bool:
        hold = _Hold()
        try:
            got = process.cache().try_user_lock(self._name, hold.owner, self._lease)
        except _core.StoreUnavailable as error:
            raise LockNotAcquired(f"{self._name!r}: the store cannot be asked.") from error
        if got:
            _held[self._name, computing.caller() if caller is None else caller] = hold
        return got

    def _leave(self) -> _Hold | None:
        """Give the hold to release, unless the block is nested in another of the same lock."""
        key = (self._name, computing.caller())
        hold = _held.get(key)
        if hold is None:
            raise LockLost(f"{self._name!r} is left by another thread or task than entered it.")
        hold.depth -= 1
        if hold.depth:
            return None
        del _held[key]
        return hold

    def _release(self, hold: _Hold) -> bool:
        try:
            return process.cache().user_unlock(self._name, hold.owner)
        except _core.StoreUnavailable:
            return False

    def _lost(self) -> None:
        raise LockLost(
            f"{self._name!r} was not held any more when it was left: its {self._lease} seconds "
            "were over, or the store lost it."
        )
