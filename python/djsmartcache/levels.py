"""How fresh the hits of a thread or task are: SMARTCACHE_CONSISTENCY, and blocks that ask for more.

A fence has a process hear of every change that was acknowledged before: one round trip, shared by
those who ask meanwhile. Within a block one fence, at its first read, serves all reads. See
docs/consistency.md.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from django.core import signing

from . import _core, conf, process

BOUND: Final = 2.0
"""Seconds for which at most a process may not have heard of a change (Options::trust_bound)."""

_SALT: Final = "djsmartcache.session"


class Block:
    """What reads inside of it are to see: all that was acknowledged before it began, if ``asks``;
    and whether something was written inside."""

    __slots__ = ("asks", "fenced", "wrote")

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks
        self.fenced = False
        self.wrote = False


_current: ContextVar[Block | None] = ContextVar("smartcache_level", default=None)


def install() -> None:
    """Let reads ask `fenced`."""
    _core.set_fenced(fenced)


def _strict() -> bool:
    return conf.current().consistency == "strict"


def _asking() -> Block | None:
    """Give the block that asks for more than the level that is set."""
    found = _current.get()
    return found if found is not None and found.asks else None


def fenced() -> bool:
    """Whether what this process knows of changes is enough for the read that begins; False: the
    store is to be asked. May wait for the server."""
    block = _asking()
    if block is None:
        return not _strict() or process.cache().fence()
    if not block.fenced:
        block.fenced = process.cache().fence()
    return block.fenced


@contextlib.contextmanager
def block(*, asks: bool) -> Iterator[Block]:
    """Let reads of the block see what was acknowledged before it began, if it asks."""
    made, before = Block(asks=asks), _current.get()
    _current.set(made)
    if asks:
        _core.count_fences(1)
    try:
        yield made
    finally:
        if asks:
            _core.count_fences(-1)
        _current.set(before)  # not by a token: a task may leave it in another context
        if before is not None:
            before.wrote |= made.wrote


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """One call that may read several times: at the level `strict`, with one fence."""
    if _strict() and _asking() is None:
        with block(asks=True):
            yield
    else:
        yield


def waits() -> bool:
    """Whether `fenced` would wait for the server: to be called elsewhere than on an event loop."""
    found = _asking()
    return _strict() if found is None else not found.fenced


def note_write() -> None:
    """Note that the block has written."""
    found = _current.get()
    if found is not None:
        found.wrote = True


# --- tickets


def session_ticket() -> str:
    """Give a ticket for what has been written so far, to be handed to whoever reads after it.

    Returns:
        Text for a header, a cookie or the arguments of a task, signed with SECRET_KEY.

    *Cost*: no I/O.
    """
    return signing.TimestampSigner(salt=_SALT).sign(secrets.token_urlsafe(6))


@contextlib.contextmanager
def smartcache_session(ticket: str | None) -> Iterator[None]:
    """Let a block read what was written before a ticket was given, wherever that was.

    Args:
        ticket: Of `session_ticket`. None, or one that was not given by this project: the block
            reads as without it.

    *Consistency*: reads contain each write that had returned when the ticket was given, and any
    other that had when the block began. Not what a process could not tell an unreachable store.
    *Cost*: one round trip at the first read of the block; none on the embedded store.
    """
    with block(asks=ticket is not None and is_ticket(ticket)):
        yield


def is_ticket(ticket: str) -> bool:
    """Whether it was given by this project."""
    try:
        signing.TimestampSigner(salt=_SALT).unsign(ticket)
    except signing.BadSignature:
        return False
    return True
