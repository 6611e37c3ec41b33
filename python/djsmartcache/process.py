"""The core of this process: made from the settings, made anew when they change, told of forks.

Also the threads in which asynchronous callers wait for the store. All functions are safe in any
thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from django.apps import apps
from django.db import close_old_connections, models

from . import _core, conf, serializers
from .exceptions import SettingError

T = TypeVar("T")
THREADS: Final = 16  # they wait for the store, they do not compute
MARK_LEASE = 10.0
"""Seconds for which at most what a writer changed is stale that dies between COMMIT and bump, and
for which the database may take over a COMMIT whose client is gone."""
WAITERS: Final = 64  # they wait for other processes, which may need as long as they like

_lock = threading.Lock()
_parameters: dict[str, Any] | None = None
_pools: dict[str, ThreadPoolExecutor] = {}
_fork_hooked = False

forks = 0
"""How often this process was forked off; what carries another number is an ancestor's."""


def cache() -> _core.Cache:
    """The cache of this process, made at the first call.

    Raises:
        SettingError: A setting is not allowed.
    """
    return _core.current() or configure()


def configure() -> _core.Cache:
    """Make the core fit the settings; keeps it, and all it holds, when nothing that it is made from
    changed.

    Raises:
        SettingError: A setting is not allowed.
    """
    global _parameters
    wanted = _wanted()
    with _lock:
        present = _core.current()
        if present is None or wanted != _parameters:
            if (missing := missing_tls()) is not None:
                raise SettingError(f"{missing} {GETTING_TLS}")
            try:
                present = _core.configure(
                    **wanted,
                    dumps=serializers.dumps,
                    loads=serializers.loads,
                    model_of=apps.get_model,
                    label_of=label_of,
                )
            except ValueError as error:
                told = str(error)  # of a URL the core does not know from which setting it is
                name = f"{conf.PREFIX}REDIS_URL: " if told.startswith("Redis URL") else ""
                raise SettingError(f"{name}{told}") from error
            _parameters = wanted
        _hook_forks()
    _core.enable(conf.current().enabled, conf.current().consistency == "strict")
    return present


GETTING_TLS: Final = (
    "Install OpenSSL and its headers (Debian: apt-get install libssl-dev), and build djsmartcache "
    "anew from source: pip install --force-reinstall --no-deps --no-cache-dir "
    "--no-binary=djsmartcache --config-settings=cmake.define.SMARTCACHE_TLS=ON djsmartcache "
    "(from a clone: a dot in place of the last word)."
)


def missing_tls() -> str | None:
    """What keeps a URL from being used that asks for TLS; None: nothing, or it does not ask."""
    scheme = (conf.current().redis_url or "").partition("://")[0]
    if scheme not in conf.TLS_SCHEMES:
        return None
    try:
        importlib.import_module("djsmartcache._tls")  # tells the core by itself
    except ImportError as error:
        return (
            f"{conf.PREFIX}REDIS_URL: {scheme}:// needs the optional module djsmartcache._tls: "
            f"{error}."
        )
    return None


def _wanted() -> dict[str, Any]:
    settings = conf.current()
    return {
        "url": settings.redis_url,
        "directory": conf.directory() if settings.redis_url is None else "",
        "prefix": settings.key_prefix,
        "secret": conf.secret(),
        "local_max_bytes": int(settings.local_max_bytes),
        "max_payload_bytes": int(settings.max_payload_bytes),
        "use_lock": settings.use_redis_lock,
        "lock_timeout": float(settings.lock_timeout),
        "channel": settings.pubsub_channel,
        "start_listener": settings.start_listener,
        "redis_timeout": float(settings.redis_timeout),
        "embedded_max_bytes": int(settings.embedded_max_bytes),
        "mark_lease": MARK_LEASE,
    }


def follow_settings(*, setting: str, **_: object) -> None:
    """Receiver of `setting_changed`, after those that forget settings.

    A value that is not allowed leaves the core as it was: writers must be able to go on
    invalidating.
    """
    if _core.current() is not None and (
        setting.startswith(conf.PREFIX) or setting in ("SECRET_KEY", "BASE_DIR")
    ):
        try:
            configure()
        except SettingError:
            return


def close() -> None:
    """Stop threads and drop connections; the next use starts them again."""
    with _lock:
        _core.close()
        for threads in _pools.values():
            threads.shutdown(wait=False)
        _pools.clear()


def label_of(cls: type) -> str | None:
    """The label of a model class whose instances are their fields and nothing more, else None."""
    if not issubclass(cls, models.Model):
        return None
    options = getattr(cls, "_meta", None)
    if options is None or options.abstract:
        return None
    for name in _OWN_MAKING:
        if getattr(cls, name) is not getattr(models.Model, name, None):
            return None
    if cls.from_db.__func__ is not models.Model.from_db.__func__:  # type: ignore[attr-defined]
        return None
    try:
        known = apps.get_model(options.label) is cls
    except LookupError:
        return None
    return options.label if known else None


# What a class overrides to have a hand in how its instances are made or copied.
_OWN_MAKING: Final = (
    "__init__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
)


def _hook_forks() -> None:
    global _fork_hooked
    if not _fork_hooked:
        _fork_hooked = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    global _lock, _pools, forks
    forks += 1
    _lock = threading.Lock()  # another thread of the parent may have held it
    _pools = {}  # the threads are the parent's
    _core.after_fork()


async def run(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call what may wait for the store, in a thread, with the context of this task."""
    return await _run_in(executor(), function, *args, **kwargs)


def run_waiting(function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
    """Call what may wait for another process, in a thread, with the context of this task."""
    return _run_in(waiters(), function, *args, **kwargs)


def _run_in(
    threads: ThreadPoolExecutor, function: Callable[..., T], *args: Any, **kwargs: Any
) -> asyncio.Future[T]:
    context = contextvars.copy_context()

    def call() -> T:
        try:
            return context.run(function, *args, **kwargs)
        finally:
            # What asked a database did so over a connection of this thread, which ends as those of
            # requests do.
            close_old_connections()

    return asyncio.get_running_loop().run_in_executor(threads, call)


class _Threads(ThreadPoolExecutor):
    """Their work belongs to no computation, unless it brings a context along."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return contextvars.Context().run(super().submit, fn, *args, **kwargs)


def executor() -> ThreadPoolExecutor:
    """The threads in which calls wait for the store, which answers soon or fails soon: whoever
    waits for anything else waits elsewhere."""
    return _pool("smartcache", THREADS)


def waiters() -> ThreadPoolExecutor:
    """The threads in which calls wait for other processes' computations. Those may wait for ours in
    turn, which need none of these threads to end."""
    return _pool("smartcache-wait", WAITERS)


def _pool(name: str, size: int) -> ThreadPoolExecutor:
    with _lock:
        if name not in _pools:
            _pools[name] = _Threads(size, thread_name_prefix=name)
        return _pools[name]


def delete(gone: Sequence[bytes]) -> int:
    """Drop keys at once, or when the store is back; gives how many were there."""
    try:
        return cache().delete(gone)
    except _core.StoreUnavailable:
        return 0  # the core tells it later, and serves nothing before
