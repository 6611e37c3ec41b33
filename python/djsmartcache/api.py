"""The manual API: values by key, locks, and invalidation by name, object, model or table.

Explicit operations act at once, inside of a transaction as well; `invalidate_obj` and its kin are
writes: inside of a transaction they take effect after its COMMIT. The store being down is a miss or
False, never an exception. Each function has a form for tasks with an `a` before its name, which
does not hold the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from . import _core, computing, explicit, invalidation, keys, process
from .computing import DEFAULT, Counters, Job, Recipe, Ttl
from .locks import CacheLock

T = TypeVar("T")
P = ParamSpec("P")

_counters = Counters()


def cache_get(key: str, default: Any = None) -> Any:
    """The value of a key, else `default`. Keys of templates are known here under the same text.

    Returns:
        A private copy.

    Raises:
        InvalidKey: `key` is not text, or is empty; so do all functions here.

    *Consistency*: contains every change of the key, or of what a computed value was made from, that
    was acknowledged before the call. *Cost*: one round trip if it is not in the process' memory.
    """
    return explicit.read(keys.encode(key), default)


def cache_get_many(wanted: Iterable[str]) -> dict[str, Any]:
    """The values of those keys that have one. *Cost*: one round trip for all."""
    names = {keys.encode(key): key for key in wanted}
    return {names[key]: value for key, value in explicit.read_many(list(names)).items()}


def cache_set(key: str, value: Any, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()) -> bool:
    """Store a value under a key.

    Args:
        key: Any text that is not empty.
        value: Anything that can be pickled.
        ttl: Seconds, not varied below a TTL that others rely on; None: no expiry; 0: the key is
        dropped.
        tags: Names by which `invalidate_tags` drops it.

    Returns:
        False: the store is down or the value too large, nothing was stored.

    Raises:
        UnstorableValue: The value cannot be encoded; names the path to the part.
    """
    explicit.check_ttl(ttl)
    names = explicit.check_tags(tags)
    return explicit.write(keys.encode(key), value, Recipe(ttl).lifetime(), names)


def cache_set_many(
    values: Mapping[str, Any], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> list[str]:
    """Store several values; gives the keys that could not be stored."""
    names = explicit.check_tags(tags)
    return [key for key, value in values.items() if not cache_set(key, value, ttl, names)]


def cache_invalidate(*names: str) -> int:
    """Drop keys, and everything made from their values; gives how many were there."""
    return process.delete([keys.encode(name) for name in names]) if names else 0


def cache_get_or_set(
    key: str, compute: Callable[[], Any], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> Any:
    """The value of a key, computed by one caller, for whom all others wait, if it is not there.

    What `compute` reads through the ORM is what the value depends on, as with `smart_cached`. It
    may also be a value.
    """
    made = compute if callable(compute) else lambda: compute
    return computing.obtain(_job(key, made, ttl, tags))


async def acache_get_or_set(
    key: str, compute: Callable[[], Any], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> Any:
    """As `cache_get_or_set`; `compute` may be a coroutine function or one that does not block."""

    async def made() -> Any:
        value = compute() if callable(compute) else compute
        return await value if isinstance(value, Awaitable) else value

    return await computing.aobtain(_job(key, made, ttl, tags))


def _job(key: str, compute: Callable[[], Any], ttl: Ttl, tags: Iterable[str]) -> Job:
    explicit.check_ttl(ttl)
    recipe = Recipe(ttl, counters=_counters)
    return Job(keys.encode(key), 0, compute, recipe, explicit.check_tags(tags))


def cache_ttl(key: str) -> float | None:
    """Seconds that a key has left; None: no expiry.

    Raises:
        KeyError: There is no such key.
    """
    try:
        return process.cache().ttl(keys.encode(key))
    except KeyError:
        raise KeyError(key) from None


def cache_lock(name: str, timeout: float | None = None, *, wait: float | None = None) -> CacheLock:
    """A lock between processes: a context manager, for threads and for tasks (`async with`).

    Args:
        name: Any text; locks and keys of one name do not meet.
        timeout: Seconds after which it is free again if its holder died. None:
        SMARTCACHE_LOCK_TIMEOUT.
            Choose it well above what the block takes.
        wait: Seconds to wait for it. None: until it is free.

    Raises:
        LockNotAcquired: At entering: `wait` is over, or the store is down.
        LockLost: At leaving: the lock was not held any more, so another may have had it meanwhile.
    """
    return CacheLock(keys.encode(name), timeout, wait)


acache_lock = cache_lock


def invalidate_tags(*names: str) -> None:
    """Drop everything that carries one of these names. In a transaction: after its COMMIT."""
    invalidation.tags(explicit.check_tags(names))


def invalidate_obj(obj: Any) -> None:
    """Drop what depends on a model instance, as saving it does. In a transaction: after COMMIT."""
    invalidation.obj(obj)


def invalidate_model(model: Any) -> None:
    """Drop what depends on any row of a model. In a transaction: after its COMMIT."""
    invalidation.model(model)


def invalidate_tables(*tables: str) -> None:
    """Drop what depends on any row of these tables. In a transaction: after its COMMIT."""
    invalidation.tables(tables)


def invalidate_all() -> None:
    """Drop every entry under SMARTCACHE_KEY_PREFIX, at once, in all processes, and nothing else."""
    try:
        process.cache().clear()
    except _core.StoreUnavailable:
        return  # the core tells it later, and serves nothing before


async def acache_get(key: str, default: Any = None) -> Any:
    return await process.run(cache_get, key, default)


async def acache_get_many(wanted: Iterable[str]) -> dict[str, Any]:
    return await process.run(cache_get_many, list(wanted))


async def acache_set(key: str, value: Any, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()) -> bool:
    await computing.asettle(value)
    return await process.run(cache_set, key, value, ttl, tuple(tags))


async def acache_set_many(
    values: Mapping[str, Any], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> list[str]:
    await computing.asettle(dict(values))
    return await process.run(cache_set_many, dict(values), ttl, tuple(tags))


async def acache_invalidate(*names: str) -> int:
    return await process.run(cache_invalidate, *names)


async def acache_ttl(key: str) -> float | None:
    return await process.run(cache_ttl, key)


# Through Django's thread for synchronous code, where a task's transactions are.


async def ainvalidate_tags(*names: str) -> None:
    await sync_to_async(invalidate_tags)(*names)


async def ainvalidate_obj(obj: Any) -> None:
    await sync_to_async(invalidate_obj)(obj)


async def ainvalidate_model(model: Any) -> None:
    await sync_to_async(invalidate_model)(model)


async def ainvalidate_tables(*tables: str) -> None:
    await sync_to_async(invalidate_tables)(*tables)


async def ainvalidate_all() -> None:
    await process.run(invalidate_all)
