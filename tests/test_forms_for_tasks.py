"""Forms for tasks wait for the store in a thread: the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import djsmartcache as sc
from djsmartcache import process
from tests.servers import RedisServer
from tests.stores import store
from tests.testapp.models import Product
from tests.waiting import until

__all__ = ["store"]

PATIENCE = 10.0  # seconds until the server goes on by itself: only a loop that stands takes as long


@sc.smart_cached(key="sync")
def of_threads() -> int:
    return 1


@sc.smart_cached(key="async")
async def of_tasks() -> int:
    return 1


async def enter() -> None:
    async with sc.acache_lock("l"):
        pass


FORMS: dict[str, Callable[[], Any]] = {
    "f()": of_tasks,
    "aget": of_tasks.aget,
    "aset": lambda: of_tasks.aset(value=2),
    "arefresh": of_tasks.arefresh,
    "ainvalidate": of_tasks.ainvalidate,
    "aget of a function": of_threads.aget,
    "aset of a function": lambda: of_threads.aset(value=2),
    "arefresh of a function": of_threads.arefresh,
    "ainvalidate of a function": of_threads.ainvalidate,
    "acache_get": lambda: sc.acache_get("k"),
    "acache_get_many": lambda: sc.acache_get_many(["k"]),
    "acache_get_or_set": lambda: sc.acache_get_or_set("k", lambda: 1),
    "acache_set": lambda: sc.acache_set("k", 1),
    "acache_set_many": lambda: sc.acache_set_many({"k": 1}),
    "acache_ttl": lambda: sc.acache_ttl("k"),
    "acache_invalidate": lambda: sc.acache_invalidate("k"),
    "acache_lock": enter,
    "ainvalidate_tags": lambda: sc.ainvalidate_tags("t"),
    "ainvalidate_model": lambda: sc.ainvalidate_model(Product),
    "ainvalidate_tables": lambda: sc.ainvalidate_tables("testapp_product"),
    "ainvalidate_obj": lambda: sc.ainvalidate_obj(Product(pk=1)),
    "ainvalidate_all": sc.ainvalidate_all,
}


def stands(server: RedisServer) -> bool:
    status = Path(f"/proc/{server.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("store", ["redis"], indirect=True)
@pytest.mark.parametrize("form", FORMS)
async def test_the_loop_goes_on_while_the_store_is_waited_for(
    store: str, redis_server: RedisServer, settings: Any, form: str
) -> None:
    settings.SMARTCACHE_LOCAL_MAX_BYTES = 0
    settings.SMARTCACHE_REDIS_TIMEOUT = 60
    await sc.acache_set("k", 1)
    assert await of_tasks() == await asyncio.to_thread(of_threads) == 1
    anyway = threading.Timer(PATIENCE, redis_server.resume)
    redis_server.pause()
    try:
        until(lambda: stands(redis_server))
        anyway.start()
        task = asyncio.ensure_future(FORMS[form]())
        for _ in range(100):
            await asyncio.sleep(0)
        assert anyway.is_alive(), "the loop stood until the server went on"
        assert not task.done(), "the store was not asked"
    finally:
        anyway.cancel()
        redis_server.resume()
    await task
    assert process.cache().available


def test_every_form_for_tasks_is_tried() -> None:
    forms = {name for name in sc.__all__ if name.startswith(("acache_", "ainvalidate_"))}
    handles = {name for name in vars(of_tasks) if name in ("aget", "aset", "arefresh")}
    assert forms | handles <= FORMS.keys()
