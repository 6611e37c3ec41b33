"""`smartcache_disabled` and `no_invalidation`: blocks and decorators, for one thread or task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

from djsmartcache import _core

F = TypeVar("F", bound=Callable[..., Any])

_disabled: ContextVar[int] = ContextVar("smartcache_disabled", default=0)
_silent: ContextVar[int] = ContextVar("smartcache_no_invalidation", default=0)


class _Switch:
    """A block for which a depth counter is one higher; as a decorator, one block for each call."""

    def __init__(self, depth: ContextVar[int], contexts: int) -> None:
        self._depth = depth
        self._contexts = contexts

    def __enter__(self) -> None:
        self._depth.set(self._depth.get() + 1)
        _core.contexts(self._contexts)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _core.contexts(-self._contexts)
        self._depth.set(self._depth.get() - 1)

    def __call__(self, function: F) -> F:
        made: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def made(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def made(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        wrapped: F = made
        return wrapped


def smartcache_disabled() -> _Switch:
    """Neither read the cache nor store to it. Writes go on to invalidate."""
    return _Switch(_disabled, 1)


def no_invalidation() -> _Switch:
    """Let writes go unnoticed: what was cached of the rows they change stays until its TTL ends."""
    return _Switch(_silent, 0)


def disabled() -> bool:
    """Whether this thread or task is inside `smartcache_disabled`."""
    return _disabled.get() > 0


def silent() -> bool:
    """Whether this thread or task is inside `no_invalidation`."""
    return _silent.get() > 0
