"""The manual API: values by key, locks, and invalidation by name, object, model or table.

Explicit operations act at once, inside of a transaction as well, and `cache_invalidate` once more
after its COMMIT. `invalidate_obj` and its kin are writes: inside of a transaction they take effect
after its COMMIT. The store being down is a miss or False, never an exception. Each function has a
form for tasks with an `a` before its name, which does not hold the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async

from . import _core, computing, explicit, invalidation, keys, process
from .computing import DEFAULT, Counters, Job, Recipe, Ttl
from .locks import CacheLock

T = TypeVar("T")

_counters = Counters()


def cache_get(key: str, default: Any = None) -> Any:
    """Read the value of a key.

    Args:
        key: Text that is not empty. The key of a decorated function's result, as its handle `key`
            gives it, reads that result.
        default: What to return for a miss.

    Returns:
        A private copy of the value. `default` for a miss: nothing was stored, it has expired or was
        invalidated, the store is down, or the block is `smartcache_disabled`.

    Raises:
        InvalidKey: `key` is not text, is empty, or begins with NUL.

    *Consistency*: contains every change of the key, and of what a computed value was made from,
    that was acknowledged before the call.
    *Cost*: none in the process' memory, else one round trip to the store, for which it blocks.
    """
    return explicit.read(keys.encode(key), default)


def cache_get_many(wanted: Iterable[str]) -> dict[str, Any]:
    """Read the values of several keys.

    Args:
        wanted: Keys, as for `cache_get`.

    Returns:
        Private copies by key. A key that is a miss is not in it.

    Raises:
        InvalidKey: A key is not text, is empty, or begins with NUL.
        TypeError: ``wanted`` is one text, or no collection.

    *Consistency*: as `cache_get` for each key; the values need not be of one moment.
    *Cost*: one round trip for all, one more for all if some have tags; one for each inside of a
    cached function.
    """
    names = {keys.encode(key): key for key in _list_of_keys(wanted)}
    return {names[key]: value for key, value in explicit.read_many(list(names)).items()}


def _list_of_keys(wanted: Any) -> list[str]:
    if isinstance(wanted, str | bytes) or not isinstance(wanted, Iterable):
        example = wanted if isinstance(wanted, str) else "key"
        raise TypeError(f"cache_get_many({wanted!r}): a list of keys, such as [{example!r}].")
    return list(wanted)


def cache_set(key: str, value: Any, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()) -> bool:
    """Store a value under a key, at once, inside of a transaction as well.

    Args:
        key: Any text that is not empty.
        value: Anything that can be pickled. It stays the caller's: what is stored is a copy.
        ttl: Seconds to keep it, 0 or more; exactly these, SMARTCACHE_JITTER_PCT is for computed
            values. None: no expiry. 0: the key is dropped instead. Absent: SMARTCACHE_DEFAULT_TTL.
        tags: Names by which `invalidate_tags` drops it.

    Returns:
        Whether it was stored. False: `ttl` is 0, the store is down, the encoded value is longer
        than SMARTCACHE_MAX_PAYLOAD_BYTES, or the block is `smartcache_disabled`.

    Raises:
        InvalidKey: `key` or a tag is not text, is empty, or begins with NUL.
        TypeError: `ttl` is no number, or `tags` is one text.
        ValueError: `ttl` is negative.
        UnstorableValue: The value cannot be encoded; names the path to the part that is why.

    *Consistency*: a read in any process that begins after the call has the value or a later one.
    *Cost*: one round trip, one more with tags. Blocks.
    """
    explicit.check_ttl(ttl)
    names = explicit.check_tags(tags)
    return explicit.write(keys.encode(key), value, Recipe(ttl).lifetime(), names)


def cache_set_many(
    values: Mapping[str, Any], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> list[str]:
    """Store several values, one after the other.

    Args:
        values: By key.
        ttl: As for `cache_set`, for all.
        tags: As for `cache_set`, for all.

    Returns:
        The keys that were not stored, for the reasons that `cache_set` names.

    Raises:
        InvalidKey, TypeError, ValueError, UnstorableValue: As `cache_set`. Those before are stored.

    *Consistency*: as `cache_set` for each key; a reader may see some stored and others not yet.
    *Cost*: that of `cache_set` for each. Blocks.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"cache_set_many({values!r}): a mapping of keys to values.")
    names = explicit.check_tags(tags)
    return [key for key, value in values.items() if not cache_set(key, value, ttl, names)]


def cache_invalidate(*names: str) -> int:
    """Drop keys and everything that was made from their values, at once.

    In a transaction they are dropped again after its COMMIT.

    Args:
        names: Keys, as for `cache_get`. None: nothing is done.

    Returns:
        How many were there; 0 as well where the store is down, which is told of it later.

    Raises:
        InvalidKey: A key is not text, is empty, or begins with NUL.

    *Consistency*: no read that begins after the call gives a value from before it, and a
    computation that is under way is not stored.
    *Cost*: one round trip for all. Blocks.
    """
    return explicit.drop([keys.encode(name) for name in names]) if names else 0


@overload
def cache_get_or_set(
    key: str, compute: Callable[[], T], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> T: ...
@overload
def cache_get_or_set(key: str, compute: T, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()) -> T: ...


def cache_get_or_set(key: str, compute: Any, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()) -> Any:
    """Read the value of a key, or compute and store it: one caller does, the others wait.

    What `compute` reads through the ORM is what the value depends on, as with `smart_cached`.

    Args:
        key: Any text that is not empty.
        compute: Called without arguments for a miss. A value that is not callable is stored as it
            is.
        ttl: Seconds to keep it, varied by SMARTCACHE_JITTER_PCT. None: no expiry. 0: it is computed
            and not stored. Absent: SMARTCACHE_DEFAULT_TTL.
        tags: Names by which `invalidate_tags` drops it.

    Returns:
        A private copy of what was stored, or what `compute` returned. A miss is never returned:
        where the store is down, or the value cannot be shared, this caller computes.

    Raises:
        InvalidKey: `key` or a tag is not text, is empty, or begins with NUL.
        TypeError: `ttl` is no number, or `tags` is one text.
        ValueError: `ttl` is negative.
        UnstorableValue: The value cannot be encoded.
        Exception: Whatever `compute` raises; nothing is stored then.

    *Consistency*: as of a call of a function with `smart_cached`.
    *Cost*: none in the process' memory, else one round trip. A caller waits for another that
    computes for at most SMARTCACHE_LOCK_TIMEOUT seconds after that one died.
    """
    made = compute if callable(compute) else lambda: compute
    return computing.obtain(_job(key, made, ttl, tags))


@overload
async def acache_get_or_set(
    key: str, compute: Callable[[], Awaitable[T]], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> T: ...
@overload
async def acache_get_or_set(
    key: str, compute: Callable[[], T], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> T: ...
@overload
async def acache_get_or_set(
    key: str, compute: T, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> T: ...


async def acache_get_or_set(
    key: str, compute: Any, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> Any:
    """Do as `cache_get_or_set`, without blocking the event loop.

    Args:
        key: As there.
        compute: A coroutine function, a function that does not block, or a value.
        ttl: As there.
        tags: As there.

    Returns:
        As there.

    Raises:
        As there.

    *Consistency*, *Cost*: as there; the task waits, no thread does.
    """

    async def made() -> Any:
        value = compute() if callable(compute) else compute
        return await value if isinstance(value, Awaitable) else value

    return await computing.aobtain(_job(key, made, ttl, tags))


def _job(key: str, compute: Callable[[], Any], ttl: Ttl, tags: Iterable[str]) -> Job:
    explicit.check_ttl(ttl)
    recipe = Recipe(ttl, counters=_counters)
    return Job(keys.encode(key), 0, compute, recipe, explicit.check_tags(tags))


def cache_ttl(key: str) -> float | None:
    """Tell how long a key will still be kept.

    Args:
        key: As for `cache_get`.

    Returns:
        Seconds, 0 or more. None: no expiry.

    Raises:
        InvalidKey: `key` is not text, is empty, or begins with NUL.
        KeyError: There is no such key, or the store is down.

    *Consistency*: as `cache_get`: an entry that has been invalidated is not there.
    *Cost*: one round trip. Blocks.
    """
    try:
        return process.cache().ttl(keys.encode(key))
    except KeyError:
        raise KeyError(key) from None


def cache_lock(name: str, timeout: float | None = None, *, wait: float | None = None) -> CacheLock:
    """Make a lock between processes, to be entered by threads (`with`) and tasks (`async with`).

    Its holder may enter it again. Threads, tasks and forked processes that the holder starts do not
    hold it.

    Args:
        name: Any text that is not empty. Locks have names of their own: a key of the same name is
            not locked.
        timeout: Seconds, more than 0, after which it is free again, whether or not its holder is
            still in the block. None: SMARTCACHE_LOCK_TIMEOUT. Choose it well above what the block
            takes.
        wait: Seconds, 0 or more, to wait for it. None: until it is free.

    Returns:
        A context manager, which may be entered many times.

    Raises:
        InvalidKey: `name` is not text, is empty, or begins with NUL.
        TypeError: `timeout` or `wait` is no number.
        ValueError: `timeout` is not above 0, or `wait` is negative.
        LockNotAcquired: At entering: `wait` is over, or the store is down.
        LockLost: At leaving: the lock was not held any more, so another may have had it meanwhile.
            Not raised where the block raises something itself.

    *Consistency*: of all processes on one store one at most is in the block, as long as that takes
    less than `timeout`. Losing the store's data frees the lock.
    *Cost*: entering and leaving take one round trip each. While it is held by another it is asked
    for again after 2 to 100 milliseconds.
    """
    return CacheLock(name, timeout, wait)


acache_lock = cache_lock
"""The same function, for those who look for the `a` form: what it makes is for both."""


def invalidate_tags(*names: str) -> None:
    """Drop everything that carries one of these tags; in a transaction, after its COMMIT.

    Args:
        names: As given to `tags=` of `smart_cached`, `cache_set` and `cache_get_or_set`.

    Raises:
        InvalidKey: A name is not text, is empty, or begins with NUL.

    *Consistency*: a hit that begins after the call, or in a transaction after its COMMIT, is not of
    before. Rolled back, it drops nothing.
    *Cost*: one round trip, however many entries are concerned. Blocks. The store being down is no
    error: it is told before anything is served again.
    """
    invalidation.tags(explicit.check_tags(names))


def invalidate_obj(obj: Any) -> None:
    """Drop what depends on the row of a model instance; in a transaction, after its COMMIT.

    For rows that something else than Django has changed. What found rows by conditions is dropped
    for the whole table, since it is not known what the row was before.

    Args:
        obj: An instance that has been saved. Its own values are not looked at.

    Raises:
        TypeError: `obj` is no model instance.
        ValueError: `obj` has no primary key: it has not been saved, or has been deleted.

    *Consistency*: a hit that begins after the call, or in a transaction after its COMMIT, is not of
    before. Rolled back, it drops nothing.
    *Cost*: one round trip, however many entries are concerned. Blocks. The store being down is no
    error: it is told before anything is served again.
    """
    invalidation.obj(obj)


def invalidate_model(model: Any) -> None:
    """Drop what depends on any row of a model; in a transaction, after its COMMIT.

    Args:
        model: A model class. The tables of its parents are included.

    Raises:
        TypeError: `model` is no model class.

    *Consistency*: a hit that begins after the call, or in a transaction after its COMMIT, is not of
    before. Rolled back, it drops nothing.
    *Cost*: one round trip, however many entries are concerned. Blocks. The store being down is no
    error: it is told before anything is served again.
    """
    invalidation.model(model)


def invalidate_tables(*tables: str) -> None:
    """Drop what depends on any row of these tables; in a transaction, after its COMMIT.

    Args:
        tables: Names as the database has them, in each database of the project.

    *Consistency*: a hit that begins after the call, or in a transaction after its COMMIT, is not of
    before. Rolled back, it drops nothing.
    *Cost*: one round trip, however many entries are concerned. Blocks. The store being down is no
    error: it is told before anything is served again.
    """
    invalidation.tables(tables)


def invalidate_all() -> None:
    """Drop every entry under SMARTCACHE_KEY_PREFIX, at once, inside of a transaction as well.

    Other keys on the same server stay.

    *Consistency*: no read in any process that begins after the call gives a value from before it,
    and no computation that is under way is stored.
    *Cost*: grows with the number of entries on Redis. Blocks. The store being down is no error: it
    is told before anything is served again.
    """
    try:
        process.cache().clear()
    except _core.StoreUnavailable:
        return  # the core tells it later, and serves nothing before


async def acache_get(key: str, default: Any = None) -> Any:
    """Do as `cache_get`, in a thread of its own: the event loop is not blocked."""
    return await process.run(cache_get, key, default)


async def acache_get_many(wanted: Iterable[str]) -> dict[str, Any]:
    """Do as `cache_get_many`, in a thread of its own: the event loop is not blocked."""
    return await process.run(cache_get_many, _list_of_keys(wanted))


async def acache_set(key: str, value: Any, ttl: Ttl = DEFAULT, tags: Iterable[str] = ()) -> bool:
    """Do as `cache_set`, in a thread of its own: the event loop is not blocked."""
    await computing.asettle(value)
    return await process.run(cache_set, key, value, ttl, tuple(tags))


async def acache_set_many(
    values: Mapping[str, Any], ttl: Ttl = DEFAULT, tags: Iterable[str] = ()
) -> list[str]:
    """Do as `cache_set_many`, in a thread of its own: the event loop is not blocked."""
    await computing.asettle(values)
    return await process.run(cache_set_many, values, ttl, tags)


async def acache_ttl(key: str) -> float | None:
    """Do as `cache_ttl`, in a thread of its own: the event loop is not blocked."""
    return await process.run(cache_ttl, key)


# Through Django's thread for synchronous code, where a task's transactions are.


async def acache_invalidate(*names: str) -> int:
    """Do as `cache_invalidate`, in Django's thread, whose transaction it belongs to."""
    return await sync_to_async(cache_invalidate)(*names)


async def ainvalidate_tags(*names: str) -> None:
    """Do as `invalidate_tags`, in Django's thread, whose transaction it belongs to."""
    await sync_to_async(invalidate_tags)(*names)


async def ainvalidate_obj(obj: Any) -> None:
    """Do as `invalidate_obj`, in Django's thread, whose transaction it belongs to."""
    await sync_to_async(invalidate_obj)(obj)


async def ainvalidate_model(model: Any) -> None:
    """Do as `invalidate_model`, in Django's thread, whose transaction it belongs to."""
    await sync_to_async(invalidate_model)(model)


async def ainvalidate_tables(*tables: str) -> None:
    """Do as `invalidate_tables`, in Django's thread, whose transaction it belongs to."""
    await sync_to_async(invalidate_tables)(*tables)


async def ainvalidate_all() -> None:
    """Do as `invalidate_all`, in a thread of its own: the event loop is not blocked."""
    await process.run(invalidate_all)
