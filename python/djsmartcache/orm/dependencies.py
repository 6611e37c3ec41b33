"""What one computation has read: the tags its answer depends on, with their tokens.

A token is taken before the SQL that relies on it is sent (invariant I2), so an entry stored with it
is never fresher in name than in fact. The innermost computation under way is held by a context
variable: threads and tasks that copy the context (asgiref, asyncio) add to the same one, hence the
lock, and `patch` takes it to threads that the computed function starts. Threads that wait for work
since before (a process-wide pool that is no executor) are not seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from djsmartcache import _core, process
from djsmartcache.orm.scopes import Scheme, user_tag

TagToken = tuple[int, int]

_innermost: ContextVar[Computation | None] = ContextVar("smartcache_computation", default=None)


class Computation:
    """A cached function, view or queryset while it computes.

    Args:
        outer: The computation this one runs inside of. It inherits all that this one has read.
        key: Of the entry being computed.
        own: (key tag, token) of it, which an outer entry depends on as well.
    """

    __slots__ = (
        "_closed",
        "_deadline",
        "_lock",
        "_memories",
        "_own",
        "_reason",
        "_running",
        "_tokens",
        "key",
        "outer",
    )

    def __init__(
        self,
        outer: Computation | None = None,
        key: bytes | None = None,
        own: TagToken | None = None,
    ) -> None:
        self.outer = outer
        self.key = key
        self._own = own
        self._lock = threading.Lock()
        self._tokens: dict[int, int] = {}
        self._reason: str | None = None
        self._deadline: float | None = None
        self._closed = False
        self._running = 0
        self._memories: dict[str, dict[Any, Any]] = {}

    def tags(self) -> list[TagToken]:
        """Give (tag, token) of everything read so far, in the order it was read."""
        with self._lock:
            return list(self._tokens.items())

    @property
    def forbidden(self) -> str | None:
        """Why the result must not be stored, or None."""
        return self._reason

    @property
    def remaining(self) -> float | None:
        """Seconds until the first entry this one was made from ends; None: no limit."""
        deadline = self._deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def forbid(self, reason: str) -> None:
        """Keep the result, and that of every outer computation, from being stored.

        The first reason is kept.
        """
        if self._reason is None:
            self._reason = reason

    def memory(self, name: str) -> dict[Any, Any]:
        """Give what stands in for a memory of the process: nothing in it is older than this."""
        return self._memories.setdefault(name, {})

    def started(self) -> Callable[[], None]:
        """Count a piece of work in another thread; call what this returns when it is over."""
        self._count(1)
        left = [self]

        def over() -> None:
            if left:
                left.pop()._count(-1)

        return over

    def _count(self, more: int) -> None:
        with self._lock:
            self._running += more
        if self.outer is not None:
            self.outer._count(more)

    def forbid_stragglers(self) -> None:
        """Keep the result from being stored if a thread still runs: what it reads would be
        missing."""
        if self._running:
            self.forbid("a thread that it started was still running")

    def limit(self, seconds: float | None) -> None:
        """Let no entry made from this result outlive ``seconds`` from now; None: no limit."""
        if seconds is None:
            return
        deadline = time.monotonic() + seconds
        with self._lock:
            if self._deadline is None or deadline < self._deadline:
                self._deadline = deadline

    def inherit(self, tags: Iterable[TagToken], remaining: float | None = None) -> None:
        """Depend on what a cached answer depends on, as it was stored (invariant I10).

        A tag seen with two tokens means that something changed between the two reads: nothing made
        from both may be stored.

        Args:
            tags: (tag, token) of the answer, its own key's included.
            remaining: Seconds of the answer's hard TTL that are left; None: no expiry.
        """
        self._add(tags)
        self.limit(remaining)

    def take(self, tags: Iterable[int], schemes: Sequence[Scheme] = ()) -> None:
        """Depend on ``tags`` from here on. Call it before the SQL that they stand for is sent.

        Args:
            tags: Those already held keep the token they have: the older, and so the safe one.
            schemes: Column combinations of condition tags, registered before the tokens are taken.

        *Cost*: one round trip to the store if a token is not held locally.
        """
        if self._reason is not None:
            return
        missing = [tag for tag in dict.fromkeys(tags) if tag not in self._tokens]
        if not missing:
            return
        tokens = process.cache().take(missing, schemes)
        if tokens is None:
            self.forbid("the store could not be asked for tokens")
        else:
            self._add(zip(missing, tokens, strict=True))

    def user_tags(self, names: Iterable[str]) -> None:
        """Depend on tags that the user chose."""
        self.take([user_tag(name) for name in names])

    def depends_on(self, things: Iterable[Any]) -> None:
        """Depend on models, model instances and querysets, as though they had been read here.

        Raises:
            TypeError: One of ``things`` is nothing of these; names it.
        """
        declare(self, things)

    def close(self) -> None:
        """End it: an outer computation inherits what was read, whether or not it was stored."""
        self.forbid_stragglers()
        self._closed = True
        if self.outer is None:
            return
        self.outer._add(self.tags())
        if self._own is not None:
            self.outer._add([self._own])
        self.outer.limit(self.remaining)
        if self._reason is not None:
            self.outer.forbid(self._reason)

    def _add(self, tags: Iterable[TagToken]) -> None:
        with self._lock:
            for tag, token in tags:
                if self._tokens.setdefault(tag, token) != token:
                    self.forbid("something it read changed while it was computed")

    @property
    def closed(self) -> bool:
        """Whether it ended; what a straggling task reads then is no part of it."""
        return self._closed


def _no_models(computation: Computation, things: Iterable[Any]) -> None:
    raise TypeError("models can be named once djsmartcache is among INSTALLED_APPS")


declare: Callable[[Computation, Iterable[Any]], None] = _no_models
"""How `Computation.depends_on` finds tags; `reads`, which knows queries, puts it here."""


def current() -> Computation | None:
    """Give the innermost computation under way in this thread or task, or None."""
    found = _innermost.get()
    while found is not None and found.closed:
        found = found.outer
    return found


def computes(key: bytes) -> bool:
    """Whether this thread or task, or one that it runs inside of, is computing the entry of a
    key."""
    found = current()
    while found is not None:
        if found.key == key and not found.closed:
            return True
        found = found.outer
    return False


@contextmanager
def computation(key: bytes | None = None, token: int = 0) -> Iterator[Computation]:
    """Record what the block reads.

    While any is under way, every cached function takes its slow path, so that it can report the
    tags of its hits by ``current().inherit(answer.tags, answer.remaining)``. Call ``limit(ttl)``
    inside the block with the TTL of the entry being made, for outer entries to end no later. Works
    in coroutines.

    Args:
        key: Of the entry being computed, and `token` of its own tag.
    """
    outer = current()
    made = Computation(outer, key, None if key is None else (_core.key_tag(key), token))
    previous = _innermost.get()
    _innermost.set(made)
    context = _core.Context()
    try:
        yield made
    finally:
        context.end()
        _innermost.set(previous)
        made.close()


@contextmanager
def unrecorded() -> Iterator[None]:
    """Run a block whose reads belong to no computation: what the package reads for itself."""
    with inside_of(None):
        yield


@contextmanager
def inside_of(computation: Computation | None) -> Iterator[None]:
    """Run a block as part of a computation that is under way in another thread."""
    previous = _innermost.get()
    _innermost.set(computation)
    try:
        yield
    finally:
        _innermost.set(previous)
