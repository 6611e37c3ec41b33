"""Forks: a child has connections and threads of its own, and hears of its parent's changes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

import djsmartcache as sc
from djsmartcache import process
from djsmartcache.orm.state import State
from tests.servers import free_port
from tests.stores import store
from tests.testapp.models import Product
from tests.waiting import until

__all__ = ["store"]
ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("store"),
    # Python 3.12 warns of just what is tried here.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def in_child(call: Callable[[], Any]) -> None:
    """Run `call` in a real fork; fail with what it raised. A child that hangs is killed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            connections.close_all()
            call()
            os._exit(0)
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said or f"the child ended with status {status}"


def test_parent_and_child_see_each_other_s_changes() -> None:
    lamp = Product.objects.create(name="lamp")
    f = sc.smart_cached(key="forked")(lambda: Product.objects.get(pk=lamp.pk).name)
    assert f() == "lamp"
    sc.cache_set("manual", 1)

    def child() -> None:
        assert f() == "lamp"
        assert sc.cache_get("manual") == 1
        Product.objects.filter(pk=lamp.pk).update(name="of the child")
        assert f() == "of the child"
        sc.cache_set("manual", 2)

    connections.close_all()
    in_child(child)
    # Redis tells this process; the embedded store is asked.
    until(lambda: f() == "of the child")
    until(lambda: sc.cache_get("manual") == 2)


def test_a_child_forked_while_the_parent_computes_does_not_wait_for_it() -> None:
    f = sc.smart_cached(key="computing")(lambda: (in_child(lambda: None), in_child(again), 1)[-1])

    def again() -> None:
        other = sc.smart_cached(key="other")(lambda: 2)
        assert other() == other() == 2

    assert f() == 1


def test_tasks_of_a_child_have_threads_of_their_own() -> None:
    async def work() -> None:
        assert await sc.acache_set("k", [1])
        assert await sc.acache_get("k") == [1]

    asyncio.run(work())
    in_child(lambda: asyncio.run(work()))
    asyncio.run(work())


def _pool_task(number: int) -> tuple[int, Any]:
    return os.getpid(), sc.cache_get_or_set(f"pool:{number}", lambda: number)


def test_a_pool_of_forked_workers_shares_the_store() -> None:
    assert sc.cache_get_or_set("pool:0", lambda: "of the parent") == "of the parent"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map(_pool_task, [0, 1, 2, 1, 2])
    assert [value for _, value in results] == ["of the parent", 1, 2, 1, 2]
    assert os.getpid() not in {pid for pid, _ in results}
    assert sc.cache_get("pool:1") == 1


def test_children_of_children() -> None:
    def child() -> None:
        sc.cache_set("generation", 1)
        in_child(lambda: sc.cache_set("generation", 2))
        assert sc.cache_get("generation") == 2

    sc.cache_set("generation", 0)
    in_child(child)
    assert sc.cache_get("generation") == 2


def test_a_forked_server_with_preload_serves_fresh_pages(store: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "SMARTCACHE_TEST_STORE": store,
    }
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind"]
    server = subprocess.Popen(
        [*command, f"127.0.0.1:{port}", "tests.preloaded:application"],
        env=environment,
        cwd=tmp_path,
    )
    try:
        pages = _pages(port, server, 12)
    finally:
        server.terminate()
        server.wait(30)
    # A worker that took sockets along, or trusts its parent's memory, answers with an old number.
    numbers = [int(page.split()[0]) for page in pages]
    assert numbers == sorted(numbers)
    assert numbers[-1] == len(pages) - 1
    assert len({page.split()[1] for page in pages}) == 2, "one worker alone answered"


def _pages(port: int, server: subprocess.Popen[bytes], wanted: int) -> list[str]:
    """What the server says, each page after one more change; ends once both workers have spoken."""
    pages: list[str] = []
    while len(pages) < wanted or (len({p.split()[1] for p in pages}) < 2 and len(pages) < 400):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                pages.append(page.read().decode())
        except ConnectionRefusedError:
            continue
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
    return pages


def test_a_child_does_not_hold_its_parent_s_lock() -> None:
    lock = sc.cache_lock("l", timeout=1000)

    def child() -> None:
        with pytest.raises(sc.LockNotAcquired), sc.cache_lock("l", wait=0):
            pass
        with pytest.raises(sc.LockLost):
            lock.__exit__(None, None, None)
        error = SystemExit()
        lock.__exit__(SystemExit, error, None)  # what ends the child is not replaced

    with lock:
        in_child(child)
        in_child(child)  # the first one did not free it


def test_a_child_is_not_slowed_by_what_its_parent_s_threads_did() -> None:
    calls: list[int] = []
    f: Any = sc.smart_cached(key="fast")(lambda: calls.append(1))
    g = sc.smart_cached(key="slow")(lambda: (started.set(), go.wait(30)))
    started, go = threading.Event(), threading.Event()

    def child() -> None:
        f()
        before = f.hits
        f()
        assert f.hits == before + 1, "answered by the slow path"

    other = threading.Thread(target=g)
    other.start()
    try:
        assert started.wait(30)
        in_child(child)
    finally:
        go.set()
        other.join()
    child()


def test_a_child_keeps_the_blocks_of_the_thread_that_forked() -> None:
    f: Any = sc.smart_cached(key="fast")(lambda: 1)
    f()
    state = State()  # of another thread's transaction, which the child drops at some time
    other = threading.Thread(target=state.count, kwargs={"matters": True})
    other.start()
    other.join()

    def child() -> None:
        state.count(matters=False)
        before = f.hits
        f()
        assert f.hits == before, "answered inside of smartcache_disabled"

    with sc.smartcache_disabled():
        in_child(child)
        in_child(lambda: in_child(child))
    state.count(matters=False)


def test_closing_twice_and_going_on() -> None:
    process.close()
    process.close()
    assert sc.cache_set("k", 1)
    assert sc.cache_get("k") == 1
