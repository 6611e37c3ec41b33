"""Locks of `cache_lock`: how long one is held, and what its name is apart from."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import djsmartcache as sc
from tests.servers import RedisServer
from tests.stores import store
from tests.waiting import LIMIT

__all__ = ["store"]


def other_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(LIMIT)


def is_taken(name: str) -> bool:
    """Whether another holds a lock."""

    def enter() -> bool:
        try:
            with sc.cache_lock(name, wait=0):
                return False
        except sc.LockNotAcquired:
            return True

    return bool(other_thread(enter))


def lease(server: RedisServer, name: str) -> float:
    """Seconds after which Redis frees a lock by itself."""
    with server.client() as client:
        (key,) = client.keys(f"*{name}*")
        return float(client.pttl(key)) / 1000


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_a_lock_is_held_for_the_lock_timeout_unless_another_is_given(
    store: str, redis_server: RedisServer, settings: Any
) -> None:
    for default in (1000, 50.0):
        settings.SMARTCACHE_LOCK_TIMEOUT = default
        with sc.cache_lock("reports"):
            assert default - LIMIT < lease(redis_server, "reports") <= default
        with sc.cache_lock("reports", timeout=3000):
            assert 3000 - LIMIT < lease(redis_server, "reports") <= 3000


@pytest.mark.usefixtures("store")
def test_a_lock_is_free_once_its_time_is_over(settings: Any) -> None:
    settings.SMARTCACHE_LOCK_TIMEOUT = 0.05
    lock = sc.cache_lock("reports")
    settings.SMARTCACHE_LOCK_TIMEOUT = 1000
    with pytest.raises(sc.LockLost), lock:
        # Less than the setting is by default.
        other_thread(lambda: sc.cache_lock("reports", wait=4).__enter__())


@pytest.mark.usefixtures("store")
def test_locks_of_two_namespaces_are_two(settings: Any) -> None:
    tenant = "a"
    settings.SMARTCACHE_NAMESPACE = lambda: tenant
    with sc.cache_lock("reports"):
        assert is_taken("reports")
        tenant = "b"
        assert not is_taken("reports")
        with sc.cache_lock("reports", wait=0):
            assert is_taken("reports")
        tenant = "a"
        assert is_taken("reports")
    settings.SMARTCACHE_NAMESPACE = "c"
    with sc.cache_lock("reports", timeout=1000):
        settings.SMARTCACHE_NAMESPACE = ""
        assert not is_taken("reports")
        settings.SMARTCACHE_NAMESPACE = "c"
        assert is_taken("reports")
