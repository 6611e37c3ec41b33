"""The callable: a function to whoever looks at it, and a hit without Python in between."""

from __future__ import annotations

import asyncio
import collections.abc
import copy
import gc
import inspect
import pickle
import resource
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from djsmartcache import _core
from tests.core.conftest import Recorder, cached, plan
from tests.core.test_shutdown import BEGINNING


def double(a: int, *, b: int = 1) -> int:
    """Docs."""
    return a * 2 + b


module_level = cached(double)
module_level.__qualname__ = module_level.__name__ = "module_level"


def test_a_second_call_is_a_hit(cache: _core.Cache) -> None:
    f = cached(double)
    assert f(3) == f(a=3) == f(3, b=1) == 7
    assert len(f.slow.calls) == 1
    assert f.hits == 2
    assert f.slow.calls[0][0] == f.key((3,), {})[0]


def test_mutable_results_are_private(cache: _core.Cache) -> None:
    f = cached(lambda n: {"n": [n]})
    first = f(1)
    first["n"].append("mine")
    second = f(1)
    second["n"].append("mine too")
    assert f(1) == {"n": [1]}
    assert f.hits == 2


def test_prefix_goes_before_the_key(cache: _core.Cache) -> None:
    assert cached(double, ["k:", ("a", [])], prefix=b"ns:").key((1,), {})[0] == b"ns:k:1"
    names = iter([b"one:", b"two:"])
    f = cached(double, ["k:", ("a", [])], prefix=lambda: next(names))
    assert [f.key((1,), {})[0], f.key((1,), {})[0]] == [b"one:k:1", b"two:k:1"]
    with pytest.raises(TypeError, match="prefix"):
        cached(double, prefix=lambda: "text")(1)
    with pytest.raises(TypeError, match="prefix"):
        cached(double, prefix="text")


def test_wrong_constructor_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="KeyPlan"):
        _core.CachedFunction(None, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="slow"):
        _core.CachedFunction(plan(double), None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.CachedFunction(plan(double), print, unknown=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="once"):
        module_level.__init__(plan(double), print)
    with pytest.raises(RuntimeError):
        _core.CachedFunction.__new__(_core.CachedFunction)(1)


def test_contexts_and_enable_take_the_slow_path(cache: _core.Cache) -> None:
    f = cached(double)
    f(1), f(1)
    assert f.hits == 1
    context, dropped = _core.Context(), _core.Context()
    assert _core.contexts() == 2
    assert f(1) == 3
    del dropped
    assert f(1) == 3
    assert f.hits == 1
    context.end()
    context.end()
    assert _core.contexts() == 0
    assert f(1) == 3
    assert f.hits == 2
    _core.enable(False)
    f(1)
    assert f.hits == 2
    _core.enable(True)
    f(1)
    assert f.hits == 3


def test_without_a_cache_every_call_is_slow(configure: Callable[..., _core.Cache]) -> None:
    _core.close()
    assert _core.current() is None
    f = cached(double)
    assert f(1) == f(1) == 3
    assert f.hits == 0
    assert len(f.slow.calls) == 2


def test_wrong_arguments_raise_as_the_function(cache: _core.Cache) -> None:
    f = cached(double)
    for args, kwargs in [((), {}), ((1, 2), {}), ((1,), {"c": 1}), ((1,), {"a": 1})]:
        with pytest.raises(TypeError) as expected:
            double(*args, **kwargs)
        with pytest.raises(TypeError) as raised:
            f(*args, **kwargs)
        assert str(raised.value) == str(expected.value)


def test_it_looks_like_the_function() -> None:
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Docs."
    assert module_level.__module__ == __name__
    assert inspect.signature(module_level) == inspect.signature(double)
    assert inspect.unwrap(module_level) is double
    assert "module_level" in repr(module_level)
    assert callable(module_level)
    assert "cached function" in repr(_core.CachedFunction(plan(double), print))


def test_it_is_pickled_by_name_and_copied_as_itself() -> None:
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert copy.copy(module_level) is module_level
    assert copy.deepcopy([module_level])[0] is module_level


def test_weak_references_and_cycles(cache: _core.Cache) -> None:
    f = cached(lambda n: n)
    f.itself = f
    f.slow.back = f
    gone = weakref.ref(f)
    f(1)
    del f
    gc.collect()
    assert gone() is None


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    def _price(self, product: int) -> list[Any]:
        """Docs."""
        return [self.name, product]

    _price.__name__ = "price"
    price = cached(_price, ["price:", ("self", [("attr", "name")]), ":", ("product", [])])
    price.invalidate = lambda self, product: (self.name, product)
    price.limit = 5

    def _many(cls, n: int) -> int:  # noqa: N805
        return n

    many = classmethod(cached(_many, ["many:", ("n", [])]))
    few = staticmethod(cached(lambda n: n, ["few:", ("n", [])]))


def test_methods_bind(cache: _core.Cache) -> None:
    one, two = Shop("one"), Shop("two")
    for _ in range(2):
        assert one.price(5) == ["one", 5]
        assert two.price(product=5) == ["two", 5]
        assert Shop.price(one, 5) == ["one", 5]
    bound = one.price
    assert bound(5) == ["one", 5]
    assert bound(*[5]) == ["one", 5]
    assert [bound(n) for n in (1, 2, 1)] == [["one", 1], ["one", 2], ["one", 1]]
    assert list(map(bound, [5, 6])) == [["one", 5], ["one", 6]]
    keys = {key for key, _ in Shop.price.slow.calls}
    assert keys == {b"price:two:5", *(b"price:one:%d" % n for n in (1, 2, 5, 6))}


def test_handles_of_a_bound_method_are_bound() -> None:
    one = Shop("one")
    assert one.price.invalidate(7) == ("one", 7)
    assert Shop.price.invalidate(one, 7) == ("one", 7)
    assert one.price.limit == 5
    assert one.price.hits == Shop.price.hits
    assert one.price.__wrapped__(7) == ["one", 7]
    assert str(inspect.signature(one.price)) == "(product: 'int') -> 'list[Any]'"
    assert one.price.__self__ is one
    assert one.price.__func__ is Shop.price
    assert one.price.__name__ == "price"
    with pytest.raises(AttributeError):
        one.price.unknown  # noqa: B018


def test_bound_methods_compare_hash_and_pickle_like_pythons() -> None:
    one, two = Shop("one"), Shop("two")
    assert one.price == one.price
    assert one.price != two.price
    assert hash(one.price) == hash(one.price)
    assert "Shop" in repr(one.price)
    bound = one.price
    gone = weakref.ref(bound)
    assert gone() is bound
    del bound
    assert gone() is None
    assert pickle.loads(pickle.dumps(one.price))(3) == ["one", 3]
    with pytest.raises(TypeError):
        one.price < two.price  # noqa: B015


def test_class_and_static_methods(cache: _core.Cache) -> None:
    assert Shop.many(3) == Shop("x").many(3) == 3
    assert Shop.few(4) == Shop("x").few(4) == 4


def test_bound_calls_keep_references_even(cache: _core.Cache) -> None:
    one = Shop("one")
    bound, product = one.price, 123456789
    one.price(product), bound(product)
    counts = sys.getrefcount(one), sys.getrefcount(bound), sys.getrefcount(product)
    for _ in range(50):
        one.price(product)
        bound(product=product)
        list(map(bound, [product]))
    assert (sys.getrefcount(one), sys.getrefcount(bound), sys.getrefcount(product)) == counts


def test_calls_with_very_many_arguments(cache: _core.Cache) -> None:
    class Wide:
        f = cached(lambda self, *args, **kw: [len(args), len(kw)], ["w:", ("args", []), ("kw", [])])

    kw = {f"k{i}": i for i in range(50)}
    assert Wide().f(*range(100), **kw) == [100, 50]
    assert list(map(Wide().f, range(2)))[1] == [1, 0]


# --- coroutines


def coroutine_of(function: Callable[..., Any]) -> Any:
    recorder = Recorder(function)

    async def slow(*args: Any) -> Any:
        return recorder(*args)

    made = _core.CachedFunction(plan(function), slow, coroutine=True)
    made.recorder = recorder
    return made


def test_a_hit_of_a_coroutine_function_is_awaited(cache: _core.Cache) -> None:
    f = coroutine_of(double)

    async def main() -> list[Any]:
        task = asyncio.create_task(f(2))
        return [
            await task,
            await f(2),
            *(await asyncio.gather(f(2), f(2))),
            await asyncio.create_task(f(2)),
        ]

    assert asyncio.run(main()) == [5] * 5
    assert f.hits == 4
    assert asyncio.run(f(2)) == 5


@pytest.mark.parametrize("value", [None, (), (1, 2), ValueError("a value"), StopIteration(3), [1]])
def test_awaited_values_are_handed_over_as_they_are(cache: _core.Cache, value: Any) -> None:
    f = coroutine_of(lambda a: value)

    async def main() -> Any:
        await f(1)
        return await f(1)

    got = asyncio.run(main())
    assert type(got) is type(value)
    assert repr(got) == repr(value)
    with pytest.raises(StopIteration) as stop:
        f(1).send(None)
    assert repr(stop.value.value) == repr(value)


def test_the_hits_awaitable_is_a_coroutine(cache: _core.Cache) -> None:
    f = coroutine_of(double)
    asyncio.run(f(2))
    hit = f(2)
    assert isinstance(hit, collections.abc.Coroutine)
    assert inspect.isawaitable(hit)
    assert asyncio.iscoroutine(hit)
    with pytest.raises(StopIteration):
        next(iter(hit))
    with pytest.raises(RuntimeError, match="already awaited"):
        hit.send(None)
    with pytest.raises(KeyError):
        f(2).throw(KeyError("x"))
    with pytest.raises(KeyError):
        f(2).throw(KeyError)
    f(2).close()


# --- reentrancy and threads


class Restless(str):
    """Immutable, so that L1 shares it, and yet with something to say at its end."""

    __slots__ = ()
    ends: list[int] = []

    def end(self) -> None: ...

    def __del__(self) -> None:
        self.end()


def test_arguments_whose_methods_call_the_cache(cache: _core.Cache) -> None:
    inner = cached(lambda n: [n])

    class Attribute:
        @property
        def pk(self) -> int:
            return inner(7)[0]

    f = cached(lambda a: {"pk": a.pk}, ["x:", ("a", [("attr", "pk")]), ":"])
    for _ in range(3):
        assert f(Attribute()) == {"pk": 7}
    assert f.slow.calls[0][0] == b"x:7:"


def test_dropped_values_whose_end_calls_the_cache(cache: _core.Cache) -> None:
    """L1 lets go of values while the core is at work; what their ends call must find it usable."""
    inner = cached(lambda n: [n])
    f = cached(lambda n: [Restless(n)])
    Restless.end = lambda self: Restless.ends.append(inner(int(self))[0])
    try:
        for n in range(50):
            assert f(n) == [str(n)]
        assert Restless.ends == []
        cache.clear()
        f(0)
        assert sorted(Restless.ends) == list(range(50))
    finally:
        Restless.end = lambda self: None


def test_threads_hammering_one_function_see_whole_private_values(cache: _core.Cache) -> None:
    f = cached(lambda n: {"n": n, "list": [n] * 5})
    stop = threading.Event()
    wrong = []

    def work(seed: int) -> None:
        for i in range(2000):
            n = (seed * 7 + i) % 20
            value = f(n=n)
            if value != {"n": n, "list": [n] * 5}:
                wrong.append(value)
            value["list"].append("mine")
            value["n"] = None

    def disturb() -> None:
        while not stop.is_set():
            cache.delete([f.key((n,), {})[0] for n in range(20)])
            cache.clear()

    disturber = threading.Thread(target=disturb)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in [disturber, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    disturber.join()
    assert not wrong


# --- memory


@pytest.mark.parametrize(
    "program",
    [
        """
        text = "x" * (256 << 20)
        f = cached(lambda text: 1)
        refused(lambda: f(text))
        refused(lambda: f.key((text,), {}))
        """,
        """
        class Owner:
            method = cached(lambda self, *args: 1)
        args = (None,) * (32 << 20)
        refused(lambda: Owner().method(*args))
        """,
    ],
)
def test_a_key_without_room_is_a_memory_error(program: str, tmp_path: Path) -> None:
    beginning = BEGINNING + textwrap.dedent(
        """
        import resource

        def refused(call):
            pages = int(open("/proc/self/statm").read().split()[0])
            limit = pages * resource.getpagesize() + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            try:
                call()
            except MemoryError:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            else:
                raise SystemExit("there was room")
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", beginning + textwrap.dedent(program), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_long_key_leaves_no_memory_behind(cache: _core.Cache) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    f = cached(lambda text: 1)
    f.key(("x",), {})
    before = resident()
    f.key(("x" * (64 << 20),), {})
    assert resident() - before < 16 << 20
