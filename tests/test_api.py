"""The manual API: keys, locks and invalidation by hand."""

from __future__ import annotations

import asyncio
import enum
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

import djsmartcache as sc
from djsmartcache import logs, process
from tests.servers import RedisServer
from tests.stores import store
from tests.testapp.models import Category, Product

__all__ = ["store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]

WAIT = 10


def test_everything_that_users_call_is_explained() -> None:
    handles = ("invalidate", "refresh", "key", "get", "set", "uncached", "stats")
    cached = sc.smart_cached(test_ttl)
    explained = {name: getattr(sc, name) for name in sc.__all__}
    explained |= {f"f.{name}": getattr(cached, name) for name in handles}
    explained |= {f"f.a{name}": getattr(cached, f"a{name}") for name in ("get", "set", "refresh")}
    for name, what in explained.items():
        text = inspect.getdoc(what) or ""
        assert text.partition("\n")[0].endswith((".", ":")), name
        exception = isinstance(what, type)
        form_for_tasks = name.removeprefix("f.").startswith("a")
        if not exception and not form_for_tasks and name != "f.uncached":
            assert "*Cost*" in text, name


def test_values_come_back_as_private_copies() -> None:
    value = {"a": [1, {2}], "b": (None, 1.5, b"x")}
    assert sc.cache_set("k", value)
    found = sc.cache_get("k")
    assert found == value
    found["a"].append(3)
    assert sc.cache_get("k") == value
    assert sc.cache_get("other", default=7) == 7


def test_many_at_once() -> None:
    assert sc.cache_set_many({"a": 1, "b": None}) == []
    assert sc.cache_get_many(["a", "b", "c"]) == {"a": 1, "b": None}
    assert sc.cache_invalidate("a", "b", "c") == 2
    assert sc.cache_get_many(["a", "b"]) == {}
    assert sc.cache_invalidate() == 0


def test_ttl() -> None:
    sc.cache_set("short", 1, ttl=50)
    sc.cache_set("long", 1, ttl=None)
    remaining = sc.cache_ttl("short")
    assert remaining is not None
    assert 40 < remaining <= 50
    assert sc.cache_ttl("long") is None
    with pytest.raises(KeyError, match="never"):
        sc.cache_ttl("never")
    assert not sc.cache_set("short", 2, ttl=0)
    assert sc.cache_get("short") is None
    with pytest.raises(ValueError, match="ttl"):
        sc.cache_set("k", 1, ttl=-1)
    with pytest.raises(ValueError, match="ttl"):
        sc.cache_set("k", 1, ttl=10**400)
    assert sc.cache_set("k", 1, ttl=10**300)


@pytest.mark.parametrize("wanted", ["key", b"key", None, 5])
async def test_what_is_no_list_of_keys_is_refused(wanted: Any) -> None:
    with pytest.raises(TypeError, match="a list of keys"):
        sc.cache_get_many(wanted)
    with pytest.raises(TypeError, match="a list of keys"):
        await sc.acache_get_many(wanted)


@pytest.mark.parametrize("key", ["", 5, b"k", None])
def test_what_is_no_key_is_refused(key: Any) -> None:
    for call in (sc.cache_get, sc.cache_invalidate, sc.cache_ttl, lambda k: sc.cache_set(k, 1)):
        with pytest.raises(sc.InvalidKey):
            call(key)
    with pytest.raises(sc.InvalidKey):
        sc.invalidate_tags(key)


def test_what_cannot_be_pickled_is_named() -> None:
    class Held:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    with pytest.raises(sc.UnstorableValue, match=r'result\["rows"\]\[0\]'):
        sc.cache_set("k", {"rows": [Held()]})


def test_get_or_set_computes_once_and_knows_what_was_read() -> None:
    calls = []

    def compute() -> int:
        calls.append(1)
        return Product.objects.count()

    assert sc.cache_get_or_set("count", compute) == sc.cache_get_or_set("count", compute) == 0
    Product.objects.create(name="lamp")
    assert sc.cache_get_or_set("count", compute) == 1
    assert len(calls) == 2
    assert sc.cache_get_or_set("constant", 5) == sc.cache_get("constant") == 5


def test_invalidation_by_tag_object_model_and_table() -> None:
    lamp, desk = Product.objects.create(name="lamp"), Product.objects.create(name="desk")

    def fill() -> None:
        sc.cache_set("tagged", 1, tags=["a", "b"])
        for product in (lamp, desk):
            sc.cache_get_or_set(
                f"p{product.pk}", lambda p=product: Product.objects.get(pk=p.pk).name
            )
        sc.cache_get_or_set("categories", Category.objects.count)

    def gone(call: Callable[..., Any], *args: Any) -> set[str]:
        fill()
        keys = {"tagged", f"p{lamp.pk}", f"p{desk.pk}", "categories"}
        assert sc.cache_get_many(keys).keys() == keys
        call(*args)
        return keys - sc.cache_get_many(keys).keys()

    products = {f"p{lamp.pk}", f"p{desk.pk}"}
    assert gone(sc.invalidate_tags, "b") == {"tagged"}
    assert gone(sc.invalidate_tags, "c") == set()
    assert gone(sc.invalidate_obj, lamp) == {f"p{lamp.pk}"}
    assert gone(sc.invalidate_model, Product) == products
    assert gone(sc.invalidate_tables, "testapp_product") == products
    assert gone(sc.invalidate_tables, "testapp_category", "testapp_product") == {
        *products,
        "categories",
    }
    assert gone(sc.invalidate_all) == {*products, "categories", "tagged"}
    with pytest.raises(TypeError):
        sc.invalidate_obj(Product)
    for no_row in (Product(name="new"), Product.objects.create(name="gone")):
        if no_row.pk:
            no_row.delete()
        with pytest.raises(ValueError, match=r"testapp\.Product without a primary key"):
            sc.invalidate_obj(no_row)
    with pytest.raises(TypeError):
        sc.invalidate_model(lamp)


def test_invalidating_an_object_drops_what_may_have_found_it_by_a_condition() -> None:
    lamp = Product.objects.create(name="lamp", stock=1)

    def count() -> int:
        return len(Product.objects.filter(stock=1))

    assert sc.cache_get_or_set("in stock", count) == 1
    with sc.no_invalidation():
        Product.objects.filter(pk=lamp.pk).update(stock=2)
    sc.invalidate_obj(Product.objects.get(pk=lamp.pk))
    assert sc.cache_get_or_set("in stock", count) == 0


def test_an_enum_and_its_text_are_one_tag() -> None:
    class Name(str, enum.Enum):
        USERS = "users"

    sc.cache_set("by text", 1, tags=["users"])
    sc.cache_set("by enum", 1, tags=[Name.USERS])
    sc.invalidate_tags(Name.USERS)
    assert sc.cache_get("by text") is None
    sc.invalidate_tags("users")
    assert sc.cache_get("by enum") is None


def test_invalidation_in_a_transaction_waits_for_its_commit() -> None:
    sc.cache_set("tagged", 1, tags=["a"])
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - leaving the block matters
        sc.invalidate_tags("a")
        raise ZeroDivisionError
    assert sc.cache_get("tagged") == 1
    with transaction.atomic():
        sc.invalidate_tags("a")
        assert other_thread(lambda: sc.cache_get("tagged")) == 1
        sc.cache_set("direct", 1)
        assert other_thread(lambda: sc.cache_get("direct")) == 1
    assert sc.cache_get("tagged") is None


def other_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(WAIT)


def test_no_invalidation_lets_a_write_go_unnoticed() -> None:
    lamp = Product.objects.create(name="lamp")
    f = sc.smart_cached(key="silent")(lambda: Product.objects.get(pk=lamp.pk).name)
    assert f() == "lamp"
    with sc.no_invalidation():
        Product.objects.filter(pk=lamp.pk).update(name="lantern")
    assert f() == "lamp"


def test_disabled_reads_nothing_and_stores_nothing() -> None:
    sc.cache_set("k", 1)
    with sc.smartcache_disabled():
        assert sc.cache_get("k") is None
        assert not sc.cache_set("k", 2)
        assert sc.cache_get_many(["k"]) == {}
        assert sc.cache_get_or_set("k", lambda: 3) == 3
    assert sc.cache_get("k") == 1


# --- locks


def test_a_lock_is_held_by_one_thread_and_may_be_entered_again_by_it() -> None:
    with sc.cache_lock("l"), sc.cache_lock("l"):
        assert other_thread(lambda: taken("l"))
    assert not other_thread(lambda: taken("l"))
    assert sc.cache_get("l") is None


def taken(name: str) -> bool:
    try:
        with sc.cache_lock(name, wait=0):
            return False
    except sc.LockNotAcquired:
        return True


NAMES = ["grüße", "日本", "\ud800", "a" * 300, "a\nb"]


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_may_have_any_name(name: str) -> None:
    with sc.cache_lock(name):
        assert other_thread(lambda: taken(name))
        others = [each for each in (*NAMES, "gr\xc3\xbc\xc3\x9fe", "?") if each != name]
        assert not any(other_thread(lambda each=each: taken(each)) for each in others)
    with sc.cache_lock(name), pytest.raises(sc.LockNotAcquired) as raised:
        other_thread(lambda: sc.cache_lock(name, wait=0).__enter__())
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_a_lock_is_in_redis_under_its_name(redis_server: RedisServer) -> None:
    with sc.cache_lock("grüße"), redis_server.client() as client:
        assert [key for key in client.scan_iter() if key.endswith("grüße".encode())]


def test_a_lock_is_waited_for() -> None:
    held = threading.Event()
    order = []

    def second() -> None:
        assert held.wait(WAIT)
        with sc.cache_lock("l", wait=WAIT):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with sc.cache_lock("l", timeout=WAIT):
            future = pool.submit(second)
            held.set()
            order.append("first")
        future.result(WAIT)
    assert order == ["first", "second"]


def test_leaving_a_lock_that_was_lost_raises() -> None:
    lock = sc.cache_lock("l")
    with pytest.raises(sc.LockLost), lock:  # noqa: PT012 - leaving the block matters
        sc.invalidate_all()
        process.cache().user_unlock(b"l", 0)
        lose(lock)
    with pytest.raises(ZeroDivisionError), lock:  # noqa: PT012 - leaving the block matters
        lose(lock)
        raise ZeroDivisionError


def lose(lock: Any) -> None:
    """Release the lock behind its holder's back, as the end of its lease does."""
    from djsmartcache import locks

    (hold,) = locks._holds().values()
    process.cache().user_unlock(lock._key, hold.owner)


async def test_tasks_exclude_each_other() -> None:
    inside = 0

    async def enter() -> None:
        nonlocal inside
        async with sc.cache_lock("l", timeout=WAIT), sc.acache_lock("l"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(5)))


class Gate:
    """The core, whose attempts at a lock stop at a gate before the store is asked."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.asked, self.open, self.answered = (threading.Event() for _ in range(3))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def try_user_lock(self, key: bytes, owner: int, lease: float) -> bool:
        self.asked.set()
        assert self.open.wait(WAIT)
        try:
            return self.core.try_user_lock(key, owner, lease)
        finally:
            self.answered.set()


@pytest.mark.parametrize("answered", [False, True])
async def test_a_task_cancelled_while_it_enters_does_not_keep_the_lock(
    monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    async def enter() -> None:
        async with sc.acache_lock("l", timeout=1000):
            raise AssertionError("it was cancelled")

    gate = Gate(process.cache())
    with monkeypatch.context() as patch:
        patch.setattr(process, "cache", lambda: gate)
        task = asyncio.create_task(enter())
        assert await asyncio.to_thread(gate.asked.wait, WAIT)
        if answered:
            gate.open.set()
            assert gate.answered.wait(WAIT)  # the loop does not get to hear of it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open.set()
        assert await asyncio.to_thread(gate.answered.wait, WAIT)
    async with sc.acache_lock("l", wait=WAIT):
        pass


async def test_a_task_cancelled_while_it_leaves_frees_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hold() -> None:
        async with sc.acache_lock("l", timeout=1000):
            entered.set()
            await left.wait()
            # All threads are busy, so that the release has to queue.
            blocked.extend(process.executor().submit(go.wait, WAIT) for _ in range(process.THREADS))

    entered, left, go = asyncio.Event(), asyncio.Event(), threading.Event()
    blocked: list[Any] = []
    task = asyncio.create_task(hold())
    await entered.wait()
    left.set()
    while not blocked:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    async with sc.acache_lock("l", wait=WAIT):
        pass


async def test_a_task_does_not_hold_what_the_one_that_started_it_holds() -> None:
    async def enter() -> bool:
        try:
            async with sc.acache_lock("l", wait=0):
                return True
        except sc.LockNotAcquired:
            return False

    async with sc.acache_lock("l", timeout=1000):
        assert await enter()
        assert not await asyncio.create_task(enter())
        assert not await asyncio.to_thread(lambda: not taken("l"))


@pytest.mark.parametrize("wrong", [-1, True, 0, "5", float("nan")])
def test_a_lock_s_times_are_checked(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"timeout=.*seconds above 0"):
        sc.cache_lock("l", timeout=wrong)
    assert sc.cache_lock("l", wait=0)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: sc.cache_get_many("abc"), r"a list of keys, such as \['abc'\]"),
        (lambda: sc.cache_set_many([("a", 1)]), "a mapping of keys to values"),
        (lambda: sc.cache_set("k", 1, tags=None), r"tags=None: a list of names, \(\) for none"),
        (lambda: sc.invalidate_tables(5), "names of tables, not 5"),
    ],
)
def test_wrong_arguments_are_told_with_what_is_allowed(call: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        call()


# --- tasks


async def test_every_function_has_a_form_for_tasks() -> None:
    lamp = await Product.objects.acreate(name="lamp")
    assert await sc.acache_set("a", [1], tags=["t"])
    assert await sc.acache_get("a") == [1]
    assert await sc.acache_set_many({"b": 2}) == []
    assert await sc.acache_get_many(["a", "b"]) == {"a": [1], "b": 2}
    assert await sc.acache_ttl("a") is not None
    await sc.ainvalidate_tags("t")
    assert await sc.acache_invalidate("a", "b") <= 2
    assert await sc.acache_get_or_set("n", Product.objects.acount) == 1
    await sc.ainvalidate_obj(lamp)
    assert await sc.acache_get("n") is None
    assert await sc.acache_get_or_set("n", lambda: 5) == 5
    await sc.ainvalidate_model(Product)
    await sc.ainvalidate_tables("testapp_product")
    await sc.ainvalidate_all()
    assert await sc.acache_get("n") is None


# --- the store is down


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_a_wrong_password_is_logged_once_and_functions_compute(
    redis_server: RedisServer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server.client() as client:
        client.acl_setuser(
            "guarded", enabled=True, passwords=["+right"], keys="*", commands=["+@all"]
        )
    settings.SMARTCACHE_REDIS_URL = redis_server.url.replace("//", "//guarded:mistaken@")
    logs._logged.clear()
    try:
        f = sc.smart_cached(key="guarded")(lambda: 1)
        assert [f(), f(), sc.cache_get("k", 2), sc.cache_set("k", 1)] == [1, 1, 2, False]
    finally:
        with redis_server.client() as client:
            client.acl_deluser("guarded")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("djsmartcache", "WARNING")
    assert "WRONGPASS" in record.getMessage()
    assert "mistaken" not in record.getMessage()


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_a_store_that_is_down_is_never_an_exception(redis_server: RedisServer) -> None:
    lamp = Product.objects.create(name="lamp")
    f = sc.smart_cached(key="down")(lambda: Product.objects.get(pk=lamp.pk).name)
    assert f() == "lamp"
    redis_server.stop()
    try:
        assert sc.cache_get("k", 5) == 5
        assert not sc.cache_set("k", 1)
        assert sc.cache_invalidate("k") == 0
        sc.invalidate_tags("a")
        sc.invalidate_all()
        lamp.name = "lantern"
        lamp.save()
        assert f() == "lantern"
        assert f.refresh() == "lantern"
        assert sc.cache_get_or_set("k", lambda: 3) == 3
        with pytest.raises(KeyError):
            sc.cache_ttl("k")
        with pytest.raises(sc.LockNotAcquired), sc.cache_lock("l"):
            pass
    finally:
        redis_server.start()


# --- keys dropped in a transaction


@pytest.mark.parametrize("by", ["function", "key", "task"])
@pytest.mark.parametrize("stored", ["computed", "set"])
def test_a_key_dropped_in_a_transaction_is_dropped_after_its_commit_too(
    by: str, stored: str
) -> None:
    f = sc.smart_cached(key="k", ttl=None)(lambda: "old")

    def reader() -> Any:
        return f() if stored == "computed" else sc.cache_set("k", "old", ttl=None)

    def drop() -> None:
        if by == "function":
            f.invalidate()
        elif by == "key":
            sc.cache_invalidate("k")
        else:
            async_to_sync(f.ainvalidate)()

    reader()
    with transaction.atomic():
        drop()
        assert sc.cache_get("k") is None
        assert other_thread(reader)  # it knows nothing of what is not committed
        assert sc.cache_get("k") == "old"
    assert sc.cache_get("k") is None
