"""Explicit reads and stores by key, and the checks of what users give.

They act at once, inside of a transaction as well; what is dropped there is dropped once more after
COMMIT. They are recorded where a computation makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import _core, computing, conf, keys, levels, process
from .orm import dependencies, scopes, switches, transaction


def read(key: bytes, default: Any, identity: int = 0) -> Any:
    """An explicit read, which an outer computation depends on."""
    if switches.disabled() or not conf.current().enabled:
        return default
    outer = dependencies.current()
    if outer is not None:
        # Before the read (I2): that nothing was there is what the computation may come to depend
        # on.
        outer.take([_core.key_tag(key)])
    answer = process.cache().get_answer(key, identity)
    if answer.kind != _core.HIT:
        computing.log_failure()
        return default
    if outer is not None:
        outer.inherit(answer.tags, answer.remaining)
    return answer.value


def write(
    key: bytes,
    value: Any,
    ttl: float | None,
    tags: Sequence[str] = (),
    identity: int = 0,
) -> bool:
    """An explicit store, at once even inside of a transaction. False: the store is down."""
    if switches.disabled() or not conf.current().enabled:
        return False
    cache = process.cache()
    if ttl is not None and ttl <= 0:
        process.delete([key])
        return False
    value = computing.settle(value)
    pairs: list[tuple[int, int]] = []
    if tags:
        wanted = [scopes.user_tag(name) for name in tags]
        tokens = cache.take(wanted)
        if tokens is None:
            computing.log_failure()
            return False
        pairs = list(zip(wanted, tokens, strict=True))
    levels.note_write()
    stored = cache.put(key, value, ttl=ttl, tags=pairs, identity=identity)
    if not stored:
        computing.log_failure()
    return stored


def drop(gone: Sequence[bytes]) -> int:
    """Drop keys at once, and once more after COMMIT where a transaction is open; gives how many
    were there."""
    levels.note_write()
    count = process.delete(gone)
    transaction.note_keys(gone)
    return count


def check_ttl(ttl: Any) -> None:
    """Raise TypeError or ValueError for what is no TTL."""
    if ttl is None or isinstance(ttl, computing.Default):
        return
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl={ttl!r}: seconds, None for no expiry, or 0 for not stored.")
    if not conf.is_number(ttl) or ttl < 0:
        raise ValueError(f"ttl={ttl!r}: seconds are 0 or more; None is for no expiry.")


def check_tags(tags: Any) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        InvalidKey: One is not text, is empty, or begins with NUL.
        TypeError: It is one text, or no collection.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags={tags!r}: a list of names, such as [{tags!r}].")
    if not isinstance(tags, Iterable):
        raise TypeError(f"tags={tags!r}: a list of names, () for none.")
    return tuple(keys.check_text(tag, "a tag") for tag in tags)


def read_many(wanted: Sequence[bytes]) -> dict[bytes, Any]:
    """Explicit reads in one round trip; one by one where a computation has to record them."""
    if switches.disabled() or not conf.current().enabled or not wanted:
        return {}
    if dependencies.current() is None:
        return process.cache().get_many(wanted)
    found = ((key, read(key, _core.MISS)) for key in wanted)
    return {key: value for key, value in found if value is not _core.MISS}
