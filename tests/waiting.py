"""Waiting for what other threads and tasks do, in place of hoping that they have done it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from djsmartcache import waiting

LIMIT = 20  # seconds; only a failing test takes as long


def until(holds: Callable[[], Any]) -> None:
    """Return once `holds()`, of which nobody tells."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Waiters:
    """Tasks that wait for another's computation."""

    def __init__(self) -> None:
        self._count = 0
        self._then: dict[int, Callable[[], object]] = {}

    def then(self, number: int, call: Callable[[], object]) -> None:
        """Call once so many wait, from the loop of the last."""
        self._then[number] = call

    def one_more(self) -> None:
        self._count += 1
        self._then.get(self._count, lambda: None)()


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    made = Waiters()
    wait = waiting.ended

    async def counted(answer: Any, limit: float | None) -> bool:
        made.one_more()
        return await wait(answer, limit)

    monkeypatch.setattr(waiting, "ended", counted)
    return made
