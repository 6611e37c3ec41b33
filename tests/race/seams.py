"""Delays and deaths at the moments that matter, put around Django from outside.

- after a query, before what it gave is stored: an `execute_wrapper`, the innermost of all
- before COMMIT, and between COMMIT and what a cache does after it: around `_commit`, which Django's
  `commit` calls, and around statements that commit by themselves
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# (share of all, seconds at most): nearly all are short, some are longer than the bound.
AFTER_QUERY = ((0.004, 2.6), (0.03, 0.15), (0.3, 0.01))
BEFORE_COMMIT = ((0.02, 0.06), (0.2, 0.006))
AFTER_COMMIT = ((0.03, 0.12), (0.25, 0.01))


class Queries:
    """How many queries were sent for one read."""

    def __init__(self) -> None:
        self.sent = 0


# Not of a thread: what a task asks the database is sent by another one, in the task's context.
_counted: ContextVar[Queries | None] = ContextVar("race_queries", default=None)


@contextlib.contextmanager
def counting() -> Iterator[Queries]:
    """Count the queries of a block, and of the tasks it starts."""
    made = Queries()
    token = _counted.set(made)
    try:
        yield made
    finally:
        _counted.reset(token)


class Seams:
    """What happens at the seams of this process.

    Args:
        committing: Called just before something is committed.
        after_query: Called after each delay between a query and its store.
    """

    def __init__(self, committing: Callable[[], None], after_query: Callable[[], None]) -> None:
        self._committing = committing
        self._after_query = after_query
        self.armed = ""
        """"before" or "after": die at the next COMMIT, on this side of it."""
        self.calm = False

    def install(self) -> None:
        connection_created.connect(self._watch, weak=False)
        original = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

        def _commit(connection: BaseDatabaseWrapper) -> Any:
            self._before_commit()
            try:
                return original(connection)
            finally:
                self._after_commit()

        BaseDatabaseWrapper._commit = _commit  # type: ignore[attr-defined]

    def _watch(self, connection: BaseDatabaseWrapper, **_: object) -> None:
        if self._statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._statement)

    def _statement(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        connection: BaseDatabaseWrapper = context["connection"]
        text = str(sql)
        if text.startswith("SELECT"):
            queries = _counted.get()
            if queries is not None:
                queries.sent += 1
            result = execute(sql, params, many, context)
            if not connection.in_atomic_block:
                self._pause(AFTER_QUERY)
                self._after_query()
            return result
        alone = not connection.in_atomic_block and text.startswith(("INSERT", "UPDATE", "DELETE"))
        if not alone:
            return execute(sql, params, many, context)
        self._before_commit()
        try:
            return execute(sql, params, many, context)
        finally:
            self._after_commit()

    def _before_commit(self) -> None:
        self._pause(BEFORE_COMMIT)
        if self.armed == "before":
            _die()
        self._committing()

    def _after_commit(self) -> None:
        if self.armed == "after":
            _die()
        self._pause(AFTER_COMMIT)

    def _pause(self, kinds: tuple[tuple[float, float], ...]) -> None:
        if self.calm:
            return
        chance = random.random()
        for share, most in kinds:
            if chance < share:
                time.sleep(random.random() * most)
                return
            chance -= share


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
