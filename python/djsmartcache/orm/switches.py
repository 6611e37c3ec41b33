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

Blocks = ContextVar[tuple[_core.Context | None, ...]]
_disabled: Blocks = ContextVar("smartcache_disabled", default=())
_silent: Blocks = ContextVar("smartcache_no_invalidation", default=())


class _Switch:
    """A block, noted in a stack of those around it; as a decorator, one block for each call."""

    def __init__(self, blocks: Blocks, begin: Callable[[], _core.Context | None]) -> None:
        self._blocks = blocks
        self._begin = begin

    def __enter__(self) -> None:
        self._blocks.set((*self._blocks.get(), self._begin()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        blocks = self._blocks.get()
        if blocks:  # a generator may be left in another context than it was entered in
            self._blocks.set(blocks[:-1])
            if blocks[-1] is not None:
                blocks[-1].end()

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
    """Neither read the cache nor store to it: in a `with` block, or as a decorator.

    Cached functions compute, `cache_get` returns its default, `cache_set` returns False. Writes go
    on to invalidate. Blocks nest; each is for its thread or task, and those that it starts.

    Returns:
        A context manager and decorator.

    *Cost*: no I/O. While one is open, calls in other threads of the process take the slower way
    through Python as well.
    """
    return _Switch(_disabled, _core.Context)


def no_invalidation() -> _Switch:
    """Write without invalidating anything: in a `with` block, or as a decorator.

    Blocks nest; each is for its thread or task, and those that it starts.

    Returns:
        A context manager and decorator.

    *Consistency*: what is cached of the rows that are written stays as it was, in all processes,
    until its TTL ends or another write to them invalidates it. For bulk loads of tables that
    nothing cached depends on, or before `invalidate_model`.
    *Cost*: no I/O.
    """
    return _Switch(_silent, lambda: None)


def disabled() -> bool:
    """Whether this thread or task is inside `smartcache_disabled`."""
    return bool(_disabled.get())


def silent() -> bool:
    """Whether this thread or task is inside `no_invalidation`."""
    return bool(_silent.get())
