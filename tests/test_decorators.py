"""`smart_cached` on everything that can be called."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.db import connection, transaction
from django.test import RequestFactory
from django.views import View

from djsmartcache import (
    KeyTemplateError,
    UnkeyableArgument,
    UnstorableValue,
    _core,
    cache_get,
    cache_set,
    cache_ttl,
    invalidate_tags,
    process,
    smart_cached,
    smartcache_disabled,
)
from tests.stores import store
from tests.testapp.models import Category, Product
from tests.waiting import Waiters, until, waiters

__all__ = ["store", "waiters"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]

WAIT = 10  # seconds; only a failing test takes as long


_numbers = itertools.count()


class Counted:
    """A function that counts its calls: `made = Counted(lambda a: a)`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.__qualname__ = f"counted_{next(_numbers)}"
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)


def test_calls_that_bind_alike_share_an_entry() -> None:
    def add(a: int, b: int = 2, *, c: int = 3) -> int:
        return a + b + c

    made = Counted(add)
    f = smart_cached(made)
    assert f(1) == f(a=1) == f(1, 2) == f(1, b=2, c=3) == 6
    assert made.calls == 1
    assert f("1" if False else 2) == 7


def test_types_are_kept_apart() -> None:
    made = Counted(lambda a: repr(a))
    f = smart_cached(made)
    values = [1, "1", True, 1.0, None, "None", b"1", (1,), [1], {1: 1}, {1}]
    assert [f(value) for value in values] == [repr(value) for value in values]
    assert [f(value) for value in values] == [repr(value) for value in values]
    assert made.calls == len(values)


def test_results_are_private_copies() -> None:
    @smart_cached(key="rows")
    def rows() -> dict[str, list[int]]:
        return {"a": [1]}

    rows()["a"].append(2)
    rows()["a"].append(3)
    assert rows() == {"a": [1]}


@pytest.mark.parametrize("options", [{}, {"key": "n:{x}"}, {"key": lambda _, x: f"n:{x}"}])
def test_methods_bind_and_their_handles_too(options: dict[str, Any]) -> None:
    class Shop:
        @smart_cached(**(options or {"key": "m:{x}"}))
        def method(self, x: int) -> list[int]:
            return [x]

    shop = Shop()
    assert shop.method(1) == [1]
    assert shop.method.get(1) == [1]
    assert shop.method.key(1).endswith(":1")
    assert shop.method.invalidate(1)
    assert shop.method.get(1, default="gone") == "gone"
    assert Shop.method(shop, 2) == [2]
    assert shop.method.stats()["misses"] >= 2


def test_a_method_of_a_model_goes_by_its_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    def shout(self: Product) -> str:
        return self.name.upper()

    monkeypatch.setattr(Product, "shout", smart_cached(shout), raising=False)
    lamp: Any = Product.objects.create(name="lamp")
    desk: Any = Product.objects.create(name="desk")
    assert (lamp.shout(), desk.shout(), lamp.shout()) == ("LAMP", "DESK", "LAMP")
    lamp.name = "other"
    assert lamp.shout() == "OTHER"


@pytest.mark.parametrize("inside", [True, False])
def test_classmethods_and_staticmethods_in_either_order(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrap(kind: Any, function: Any) -> Any:
        return kind(smart_cached(function)) if inside else smart_cached(kind(function))

    def of_class(cls: type, x: int) -> tuple[str, int]:
        return cls.__name__, x

    def of_none(x: int) -> int:
        return x

    class Base:
        c = wrap(classmethod, of_class)
        s = wrap(staticmethod, of_none)

    class Derived(Base):
        pass

    for made in (Base, Derived):  # a class is an argument if it is found under its name
        made.__qualname__ = made.__name__
        monkeypatch.setattr(sys.modules[__name__], made.__name__, made, raising=False)
    for _ in range(2):
        assert Base.c(1) == ("Base", 1)
        assert Derived.c(1) == Derived().c(1) == ("Derived", 1)
        assert Base.s(1) == Base().s(1) == 1
    assert Base.s.get(1) == 1
    if not inside:
        assert Derived.c.get(1) == ("Derived", 1)
        assert Derived.c.invalidate(1)
        assert Base.c.get(1) == ("Base", 1)


def test_what_cannot_be_cached_is_refused_at_once() -> None:
    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    for wrong in (generator, async_generator, property(lambda s: 1), int, 5, lambda: 1):
        with pytest.raises(TypeError):
            smart_cached(wrong)
    with pytest.raises(TypeError, match="ttl"):
        smart_cached(ttl="5")
    with pytest.raises(TypeError, match="tags"):
        smart_cached(tags="users")
    for wrong_option, told in (
        ({"unknown": 1}, "'unknown'; it has: key, ttl,"),
        ({"tags": None}, "tags=None: a list of names"),
        ({"vary": 5}, 'vary=5: "user"'),
        ({"depends_on": None}, "depends_on=None: models, instances"),
        ({"depends_on": "shop.Product"}, "depends_on='shop.Product': models"),
    ):
        with pytest.raises(TypeError, match=told):
            smart_cached(**wrong_option)  # type: ignore[arg-type]
    with pytest.raises(KeyTemplateError, match="nobody"):
        smart_cached(key="{nobody}")(lambda a: a)


def test_an_argument_without_identity_is_named() -> None:
    @smart_cached
    def f(connection: object) -> int:
        return 1

    with pytest.raises(UnkeyableArgument, match=r"'connection'.*object.*key="):
        f(object())
    with pytest.raises(UnkeyableArgument, match="has not been saved"):
        f(Product(name="new"))
    with pytest.raises(TypeError):
        f()


def test_a_view_is_no_argument_of_a_function_and_a_request_may_be() -> None:
    request = RequestFactory().get("/")
    f = smart_cached(lambda_named(lambda a, b, c: 1))
    with pytest.raises(UnkeyableArgument):
        f(1, 2, View())
    assert f(1, 2, request) == f(1, 2, [request]) == 1
    assert smart_cached(key="leaves-it-out:{a}")(lambda a, b, c: a)(1, 2, request) == 1


def lambda_named(function: Any) -> Any:
    """Give a lambda the name that an automatic key needs."""
    function.__qualname__ = f"named_{next(_numbers)}"
    return function


def test_handles_do_what_they_say() -> None:
    made = Counted(lambda a: [a])
    f = smart_cached(key="handles:{a}")(made)
    assert f.get(1) is None
    assert f(1) == [1]
    assert f.key(1) == "handles:1"
    assert cache_get("handles:1") == [1]
    assert f.uncached(1) == [1]
    assert f.refresh(1) == [1]
    assert made.calls == 3
    assert f.set(1, value=["set"])
    assert f(1) == ["set"]
    assert f.invalidate(1)
    assert not f.invalidate(1)
    assert cache_set("handles:1", "by hand")
    assert f(1) == "by hand"
    assert f.stats()["stored"] == 2


def test_exceptions_are_not_cached() -> None:
    results = [ValueError("first"), 2]

    def take() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    f = smart_cached(key="raising")(take)
    with pytest.raises(ValueError, match="first"):
        f()
    assert f() == f() == 2


@pytest.mark.parametrize(
    ("options", "value"),
    [({"ttl": 0}, 1), ({"cache_none": False}, None), ({"condition": lambda v: v != 1}, 1)],
)
def test_what_is_not_wanted_is_not_stored(options: dict[str, Any], value: Any) -> None:
    made = Counted(lambda: value)
    f = smart_cached(key="unwanted", **options)(made)
    assert f() == f() == value
    assert made.calls == 2


def test_none_is_a_value() -> None:
    made = Counted(lambda: None)
    f = smart_cached(key="none")(made)
    assert f() is f() is None
    assert made.calls == 1


def test_a_value_that_cannot_be_stored_is_named() -> None:
    f = smart_cached(key="lock")(lambda: {"rows": [1, {"lock": threading.Lock()}]})
    with pytest.raises(UnstorableValue, match=r'result\["rows"\]\[1\]\["lock"\]'):
        f()


# --- dependencies


def test_a_write_drops_what_read_the_row_and_nothing_else() -> None:
    lamp, desk = Product.objects.create(name="lamp"), Product.objects.create(name="desk")

    @smart_cached(key="stock:{pk}")
    def stock(pk: int) -> int:
        return Product.objects.get(pk=pk).stock

    before = stock.stats()["misses"]
    assert (stock(lamp.pk), stock(desk.pk)) == (0, 0)
    lamp.stock = 50
    lamp.save()
    assert (stock(lamp.pk), stock(desk.pk)) == (50, 0)
    assert stock.stats()["misses"] - before == 3


def test_a_queryset_comes_back_evaluated_and_with_its_dependencies() -> None:
    Product.objects.create(name="lamp")
    made = Counted(lambda: {"all": Product.objects.order_by("name")})
    f = smart_cached(key="queryset")(made)
    assert [p.name for p in f()["all"]] == ["lamp"]
    assert [p.name for p in f()["all"].filter(name="lamp")] == ["lamp"]
    assert made.calls == 1
    Product.objects.create(name="desk")
    assert [p.name for p in f()["all"]] == ["desk", "lamp"]


def test_an_outer_function_inherits_from_an_inner_hit() -> None:
    lamp = Product.objects.create(name="lamp")

    @smart_cached(key="inner")
    def inner() -> str:
        return Product.objects.get(pk=lamp.pk).name

    @smart_cached(key="outer")
    def outer() -> str:
        return f"<{inner()}>"

    assert inner() == "lamp"
    assert outer() == "<lamp>"
    Product.objects.filter(pk=lamp.pk).update(name="lantern")
    assert outer() == "<lantern>"
    assert inner.invalidate()
    assert outer.get() is None


def test_an_outer_function_sees_a_key_that_was_not_there() -> None:
    f = smart_cached(key="reads-manual")(lambda: cache_get("manual", "nothing"))
    assert f() == f() == "nothing"
    cache_set("manual", "something")
    assert f() == "something"


def test_an_outer_function_inherits_the_tags_of_a_key_that_it_reads() -> None:
    cache_set("manual", 1, tags=["t"])
    f = smart_cached(key="reads-tagged")(lambda: cache_get("manual"))
    assert f() == f() == 1
    invalidate_tags("t")
    assert f() is None


class Holder:
    """Hides a queryset from whoever looks for those to evaluate."""

    def __init__(self) -> None:
        self.queryset = Product.objects.order_by("name")


def test_a_value_that_reads_while_it_is_stored_is_not_kept_without_that() -> None:
    f = smart_cached(key="hidden")(lambda: Holder())
    Product.objects.create(name="lamp")
    assert [p.name for p in f().queryset] == ["lamp"]
    Product.objects.create(name="desk")
    assert [p.name for p in f().queryset] == ["desk", "lamp"]


def test_a_function_that_writes_in_a_transaction_is_not_stored() -> None:
    lamp = Product.objects.create(name="lamp")

    def sell() -> int:
        with transaction.atomic():
            Product.objects.filter(pk=lamp.pk).update(stock=1)
            return Product.objects.get(pk=lamp.pk).stock

    f = smart_cached(key="writes")(sell)
    assert f() == 1
    assert f.get() is None


def test_tags_and_declared_dependencies() -> None:
    category = Category.objects.create(name="a")
    made = Counted(lambda user: 1)
    f = smart_cached(
        key="tagged:{user}", tags=lambda user: [f"user-{user}"], depends_on=[category, Product]
    )(made)
    f(1), f(2)
    invalidate_tags("user-1")
    f(1), f(2)
    assert made.calls == 3
    category.save()
    f(1)
    assert made.calls == 4
    Product.objects.create(name="x")
    f(1)
    assert made.calls == 5


def test_an_old_instance_never_answers_for_a_new_one() -> None:
    lamp = Product.objects.create(name="lamp")
    old = Product.objects.get(pk=lamp.pk)

    @smart_cached(key="name:{product.pk}")
    def name(product: Product) -> str:
        return product.name

    assert name(old) == "lamp"
    lamp.name = "lantern"
    lamp.save()
    assert name(old) == "lamp"
    assert name(Product.objects.get(pk=lamp.pk)) == "lantern"
    assert name(old) == "lamp"


def test_an_old_related_instance_tells_too() -> None:
    category = Category.objects.create(name="old")
    lamp = Product.objects.create(name="lamp", category=category)
    stale = Product.objects.select_related("category").get(pk=lamp.pk)

    @smart_cached
    def category_of(product: Product) -> str:
        return product.category.name

    assert category_of(stale) == "old"
    Category.objects.filter(pk=category.pk).update(name="new")
    assert category_of(Product.objects.select_related("category").get(pk=lamp.pk)) == "new"


# --- transactions


def test_a_transaction_sees_its_own_writes_and_stores_nothing() -> None:
    lamp = Product.objects.create(name="lamp")
    f = smart_cached(key="in-transaction")(lambda: Product.objects.get(pk=lamp.pk).name)
    assert f() == "lamp"
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - leaving the block matters
        Product.objects.filter(pk=lamp.pk).update(name="lantern")
        assert f() == "lantern"
        raise ZeroDivisionError
    assert f() == "lamp"


def test_a_transaction_still_reads_what_it_has_not_touched() -> None:
    f = smart_cached(key="untouched")(Counted(lambda: Category.objects.count()))
    assert f() == 0
    with transaction.atomic():
        Product.objects.create(name="lamp")
        assert f() == 0
    assert f.__wrapped__.calls == 1


def test_a_caller_in_a_transaction_waits_for_a_limited_time(settings: Any) -> None:
    settings.SMARTCACHE_LOCK_TIMEOUT = 0.1
    entered, go = threading.Event(), threading.Event()

    def compute(leads: bool) -> bool:
        if leads:
            entered.set()
            assert go.wait(WAIT)  # as for a row that the transaction has locked
        return leads

    f = smart_cached(key="held")(compute)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # first asked of the store by Python, then by the core
            leader = pool.submit(f, True)
            assert entered.wait(WAIT)
            with transaction.atomic():
                assert not f(False)
            go.set()
            assert leader.result(WAIT)
            f.invalidate(True)
            entered.clear(), go.clear()


def test_nothing_is_read_or_stored_while_disabled() -> None:
    made = Counted(lambda: 1)
    f = smart_cached(key="disabled")(made)
    with smartcache_disabled():
        f(), f()
    assert made.calls == 2
    f()
    with smartcache_disabled():
        f()
    assert made.calls == 4


def test_enabled_false_stops_reads_and_stores_and_not_invalidation(settings: Any) -> None:
    lamp = Product.objects.create(name="lamp")
    f = smart_cached(key="enabled")(lambda: Product.objects.get(pk=lamp.pk).name)
    assert f() == "lamp"
    settings.SMARTCACHE_ENABLED = False
    lamp.name = "lantern"
    lamp.save()
    assert f() == "lantern"
    settings.SMARTCACHE_ENABLED = True
    assert f() == "lantern"
    assert f.stats()["hits"] == 0


# --- one computes, the others wait


def test_threads_wait_for_the_one_that_computes() -> None:
    entered, go = threading.Event(), threading.Event()

    def compute() -> list[int]:
        entered.set()
        assert go.wait(WAIT)
        return [1]

    made = Counted(compute)
    f = smart_cached(key="flight")(made)
    with ThreadPoolExecutor(8) as pool:
        before = process.cache().stats()["flight_waits"]
        results = [pool.submit(f) for _ in range(8)]
        assert entered.wait(WAIT)
        until(lambda: process.cache().stats()["flight_waits"] == before + 7)
        go.set()
        assert [result.result(WAIT) for result in results] == [[1]] * 8
    assert made.calls == 1


def test_a_function_that_calls_itself_does_not_wait_for_itself() -> None:
    @smart_cached(key="self:{n}")
    def f(n: int) -> int:
        return 1 if n == 0 else f(n) if n > 9 else f(n - 1) + 1

    assert f(5) == 6

    @smart_cached(key="again")
    def g(depth: int = 3) -> int:
        return g(depth - 1) + 1 if depth else 0

    assert g() == 3


def in_thread(call: Callable[[], int]) -> int:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(WAIT)
    return results[0]


def in_pool(call: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(WAIT)


@pytest.mark.parametrize(
    "run",
    [
        in_thread,
        in_pool,
        lambda call: in_pool(functools.partial(contextvars.copy_context().run, call)),
    ],
)
def test_a_function_that_calls_itself_in_another_thread_does_not_wait_for_itself(
    run: Callable[[Callable[[], int]], int],
) -> None:
    @smart_cached(key="elsewhere")
    def f(deep: bool = True) -> int:
        return run(functools.partial(f, False)) + 1 if deep else 1

    before = process.cache().stats()["lock_timeouts"]
    assert f() == 2
    assert process.cache().stats()["lock_timeouts"] == before


async def test_tasks_wait_for_the_one_that_computes() -> None:
    calls = 0

    @smart_cached(key="task:{a}")
    async def f(a: int) -> list[int]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return [a]

    assert await asyncio.gather(*(f(1) for _ in range(20))) == [[1]] * 20
    assert calls == 1
    assert await f(1) == [1]
    assert await f.aget(1) == [1]
    assert await f.ainvalidate(1)
    assert await f.arefresh(1) == await f.refresh(1) == [1]
    assert calls == 3
    assert iscoroutinefunction(f)


async def test_a_loop_s_thread_does_not_wait_for_a_task_of_the_loop() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @smart_cached(key="of-a-loop")
    async def slow() -> str:
        begun.set()
        await go.wait()
        return "of the task"

    quick = smart_cached(key="of-a-loop")(lambda: "computed here")
    task = asyncio.create_task(slow())
    await begun.wait()
    assert quick() == "computed here"
    go.set()
    assert await task == "of the task"
    assert quick() == "of the task"


async def test_tasks_do_not_queue_up_for_what_is_not_shared(waiters: Waiters) -> None:
    first, together = asyncio.Event(), asyncio.Event()
    calls = 0
    waiters.then(9, first.set)

    @smart_cached(key="unshared", condition=lambda value: False)
    async def f() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            await first.wait()
        else:
            if calls == 10:
                together.set()
            await asyncio.wait_for(together.wait(), WAIT)  # over only if all are in here
        return 1

    assert await asyncio.gather(*(f() for _ in range(10))) == [1] * 10


async def test_a_cancelled_leader_is_replaced(waiters: Waiters) -> None:
    begun, joined = asyncio.Event(), asyncio.Event()
    waiters.then(1, joined.set)
    calls = 0

    @smart_cached(key="cancelled")
    async def f() -> int:
        nonlocal calls
        calls += 1
        begun.set()
        if calls == 1:
            await asyncio.Event().wait()
        return calls

    leader = asyncio.create_task(f())
    await begun.wait()
    waiter = asyncio.create_task(f())
    await asyncio.wait_for(joined.wait(), WAIT)
    leader.cancel()
    assert await asyncio.wait_for(waiter, WAIT) == 2


class Asking:
    """While there is one the core answers nothing by itself."""

    def __init__(self) -> None:
        self.close = _core.Context().end


async def test_a_task_that_outlives_its_computation_reads_the_cache() -> None:
    over = asyncio.Event()
    started: list[asyncio.Task[int]] = []
    calls = 0

    async def later() -> int:
        await over.wait()
        with contextlib.closing(Asking()):
            return await f()

    @smart_cached(key="outlived")
    async def f() -> int:
        nonlocal calls
        calls += 1
        started.append(asyncio.create_task(later()))
        return calls

    assert await f() == 1
    over.set()
    assert await started[0] == 1
    assert calls == 1


async def test_coroutine_functions_record_what_they_read() -> None:
    lamp = await Product.objects.acreate(name="lamp")

    calls = 0

    @smart_cached(key="async-orm")
    async def names() -> Any:
        nonlocal calls
        calls += 1
        return Product.objects.order_by("name")

    assert [p.name for p in await names()] == ["lamp"]
    assert [p.name for p in await names()] == ["lamp"]
    assert calls == 1
    lamp.name = "lantern"
    await lamp.asave()
    assert [p.name for p in await names()] == ["lantern"]


async def test_one_raises_and_the_next_takes_over() -> None:
    calls = 0

    @smart_cached(key="raises-once")
    async def f() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise ValueError
        return calls

    results = await asyncio.gather(*(f() for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, ValueError) for result in results) == 1
    assert calls == 2


# --- stale values, namespaces


ENDED = 1e-6  # seconds: a TTL that is over as soon as a value is stored


def test_a_stale_value_is_served_where_making_a_new_one_raises() -> None:
    results: list[Any] = [[1], ValueError("broken"), [3]]

    def take() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    f = smart_cached(key="stale", ttl=ENDED, stale=600)(take)
    assert f() == [1]
    assert f() == [1]
    assert results == [[3]]
    assert f() == [3]
    assert f.stats()["errors"] >= 1


def test_a_stale_value_is_served_while_one_caller_makes_a_new_one() -> None:
    entered, go = threading.Event(), threading.Event()
    values = [1, 2]

    def compute() -> int:
        value = values.pop(0)
        if value == 2:
            entered.set()
            assert go.wait(WAIT)
        return value

    f = smart_cached(key="refreshing", ttl=ENDED, stale=600)(compute)
    assert f() == 1
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(f)
        assert entered.wait(WAIT)
        assert f() == 1
        go.set()
        assert refreshing.result(WAIT) == 2


def test_what_was_invalidated_is_never_served_stale() -> None:
    f = smart_cached(key="gone", ttl=600, stale=600, tags=["t"])(Counted(lambda: 1))
    f()
    invalidate_tags("t")
    f.__wrapped__.function = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        f()


def test_each_tenant_has_entries_and_tags_of_its_own(settings: Any) -> None:
    tenant = "a"
    made = Counted(lambda: tenant)
    f = smart_cached(key="tenant", tags=["t"])(made)
    settings.SMARTCACHE_NAMESPACE = lambda: tenant
    assert f() == f() == "a"
    tenant = "b"
    assert f() == f() == "b"
    invalidate_tags("t")
    tenant = "a"
    assert f() == "a"
    assert made.calls == 2
    settings.SMARTCACHE_NAMESPACE = "c"
    tenant = "c"
    assert f() == "c"


def test_a_write_in_one_namespace_reaches_the_entries_of_all(settings: Any) -> None:
    lamp = Product.objects.create(name="lamp")
    tenant = "a"
    settings.SMARTCACHE_NAMESPACE = lambda: tenant
    by_pk = smart_cached(key="shared")(lambda: Product.objects.get(pk=lamp.pk).name)
    whole = smart_cached(key="shared-table")(lambda: [p.name for p in Product.objects.all()])
    for name, writer in (("torch", "b"), ("lantern", "")):
        for tenant in ("a", "b"):  # noqa: B007 - the namespace
            by_pk(), whole()
        tenant = writer
        Product.objects.filter(pk=lamp.pk).update(name=name)
        for tenant in ("a", "b"):  # noqa: B007 - the namespace
            assert (by_pk(), whole()) == (name, [name])


def test_a_namespace_that_cannot_be_told_fails_no_write(settings: Any) -> None:
    lamp = Product.objects.create(name="lamp")
    f = smart_cached(key="of-some-tenant")(lambda: [p.name for p in Product.objects.all()])
    settings.SMARTCACHE_NAMESPACE = lambda: "a"
    assert f() == ["lamp"]

    def unknown() -> str:
        raise LookupError("no tenant")

    settings.SMARTCACHE_NAMESPACE = unknown
    with connection.cursor() as cursor:
        cursor.execute("UPDATE testapp_product SET name = 'torch'")
    lamp.refresh_from_db()
    lamp.save()
    Product.objects.bulk_create([Product(name="desk"), Product(name="chair")])
    Product.objects.filter(name="desk").delete()
    with transaction.atomic():
        Product.objects.filter(name="chair").update(name="stool")
    with pytest.raises(LookupError):
        invalidate_tags("t")
    settings.SMARTCACHE_NAMESPACE = lambda: "a"
    assert f() == ["torch", "stool"]


def test_a_value_set_for_an_instance_is_found_for_it() -> None:
    lamp = Product.objects.create(name="lamp")
    f = smart_cached(Counted(lambda product: 1))
    assert f.set(lamp, value="set")
    assert f(lamp) == "set"
    lamp.name = "lantern"
    assert f(lamp) == 1


def test_an_outer_entry_ends_no_later_than_the_inner_one() -> None:
    inner = smart_cached(key="short", ttl=50)(lambda: 1)
    outer = smart_cached(key="long", ttl=500)(lambda: inner())
    for _ in range(8):  # at first the inner one is computed inside of the outer one
        outer()
        # The inner one is asked first: however long the asking takes, it only makes `ends` less.
        inner_ends, ends = cache_ttl("short"), cache_ttl("long")
        assert ends is not None
        assert inner_ends is not None
        assert ends <= inner_ends + 2  # what storing may take on a loaded machine
        outer.invalidate()


@pytest.mark.parametrize("ttl", [1000, None])
def test_a_chain_of_entries_ends_with_its_first_link_and_not_before(ttl: float | None) -> None:
    @smart_cached(key="link:{n}", ttl=ttl)
    def link(n: int) -> int:
        return link(n - 1) + 1 if n else 0

    for n in (9, *range(10, 15)):  # nested computations, then each of a hit in the one before
        assert link(n) == n
    ends = [cache_ttl(f"link:{n}") for n in range(15)]
    least = 1000 * 0.9 if ttl else 7 * 86400  # jitter; as long as their tokens
    assert min(each or 0 for each in ends) > least - 5


def test_a_callable_key_does_not_let_an_old_instance_answer_for_a_new_one() -> None:
    lamp = Product.objects.create(name="lamp")
    name = smart_cached(key=lambda product: f"name:{product.pk}")(lambda product: product.name)
    assert name(lamp) == "lamp"
    Product.objects.filter(pk=lamp.pk).update(name="lantern")
    assert name(Product.objects.get(pk=lamp.pk)) == "lantern"
    assert name(lamp) == "lamp"


# --- functions of one name


class Times:
    """An object that is called, and has a method to bind."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, value: int) -> int:
        return self.factor * value

    def method(self, value: int) -> int:
        return self.factor * value

    @classmethod
    def of_class(cls, value: int) -> str:
        return f"{cls.__name__} {value}"


class Twice(Times):
    pass


def combine(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def minus(a: int, b: int) -> int:
    return a - b


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as people write them."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@passing
def decorated(value: int) -> int:
    return value


@passing
@passing
def decorated_twice(value: int) -> int:
    return -value


def test_partials_differ_by_what_they_are_made_of() -> None:
    made = [
        functools.partial(combine, 1),
        functools.partial(combine, 2),
        functools.partial(combine, "1"),
        functools.partial(combine, x=1),
        functools.partial(functools.partial(combine, 1), 2),
        functools.partial(combine),
        functools.partial(minus, 1),
    ]
    cached = [smart_cached(each) for each in made]
    for _ in range(2):
        assert [f(5) for f in cached] == [f(5) for f in made]
    assert smart_cached(functools.partial(combine, 1)).get(5) == ((1, 5), {})
    with pytest.raises(UnkeyableArgument, match="combine"):
        smart_cached(functools.partial(combine, object()))
    assert smart_cached(key="partial:{args}")(functools.partial(combine, Times(1)))


def test_bound_methods_differ_by_what_they_are_bound_to() -> None:
    assert smart_cached(Times.of_class)(1) == "Times 1"
    assert smart_cached(Twice.of_class)(1) == "Twice 1"
    with pytest.raises(UnkeyableArgument, match=r"Times\.method.*'self'"):
        smart_cached(Times(2).method)
    with pytest.raises(TypeError, match="model instance"):
        smart_cached(Product(pk=1).get_deferred_fields)
    assert smart_cached(key="bound:{value}")(Times(2).method)(5) == 10


def test_what_a_name_does_not_tell_is_refused_at_decoration() -> None:
    factor = 2

    def closure(value: int) -> int:
        return factor * value

    @passing
    def wrapped(value: int) -> int:
        return factor * value

    class Local(Times):
        def itself(self, value: int) -> Any:
            return super().method(value) if value else itself(self, 1)

    itself = Local.itself
    for wrong, name in ((closure, "factor"), (wrapped, "factor"), (Times(2), "Times")):
        with pytest.raises(TypeError, match=rf"{name}.*key="):
            smart_cached(wrong)
        assert smart_cached(key=f"{name}:{{value}}")(wrong)(5) == 10
    assert smart_cached(itself)
    for plain in (decorated, decorated_twice, passing(minus)):
        assert smart_cached(plain)


def test_a_class_that_a_function_made_is_no_argument() -> None:
    def make(value: int) -> type:
        return type("Local", (), {"value": value})

    f = smart_cached(lambda_named(lambda cls: cls.__name__))
    assert (f(Times), f(Product)) == ("Times", "Product")
    with pytest.raises(UnkeyableArgument, match="Local, which is not found"):
        f(make(1))


# --- refreshing


def test_a_refresh_that_raises_leaves_what_is_there() -> None:
    results: list[Any] = [1, ZeroDivisionError(), 2]

    def compute() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    f = smart_cached(key="renewed")(compute)
    outer = smart_cached(key="of-renewed")(lambda: f())
    assert outer() == 1
    with pytest.raises(ZeroDivisionError):
        f.refresh()
    assert f() == outer() == 1
    assert f.refresh() == 2
    assert f.get() == f() == outer() == 2
    assert results == []


def test_a_refresh_whose_result_cannot_be_stored_leaves_what_is_there() -> None:
    results: list[Any] = [1, threading.Lock(), 2]
    f = smart_cached(key="renewed-odd")(lambda: results.pop(0))
    assert f() == 1
    with pytest.raises(UnstorableValue):
        f.refresh()
    assert f() == 1
    assert f.refresh() == f() == 2


async def test_a_refresh_in_a_task_that_raises_leaves_what_is_there() -> None:
    results: list[Any] = [1, ZeroDivisionError(), 2]

    @smart_cached(key="renewed")
    async def f() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    assert await f() == 1
    with pytest.raises(ZeroDivisionError):
        await f.refresh()
    assert await f() == 1
    assert await f.refresh() == 2
    assert await f() == 2


def test_what_is_there_is_served_while_it_is_refreshed() -> None:
    seen: list[Any] = []
    f = smart_cached(key="renewed")(lambda: seen.append(f.get()) or len(seen))
    assert f() == 1
    assert f.refresh() == 2
    assert seen == [None, 1]


def test_a_refresh_stores_nothing_that_was_invalidated_meanwhile() -> None:
    @smart_cached(key="renewed")
    def f() -> int:
        f.invalidate()
        return 1

    f.set(value=0)
    assert f.refresh() == 1
    assert f.get() is None
