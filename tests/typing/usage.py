"""Code as users write it, and the types that they get: read by type checkers, never run."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from typing_extensions import assert_type

from djsmartcache import (
    acache_get,
    acache_get_or_set,
    acache_lock,
    cache_get,
    cache_get_many,
    cache_get_or_set,
    cache_invalidate,
    cache_lock,
    cache_set,
    cache_set_many,
    cache_ttl,
    invalidate_tags,
    no_invalidation,
    smart_cached,
    smartcache_disabled,
)

# --- functions


def tags_of(a: int) -> list[str]:
    return [f"a-{a}"]


def half(a: int) -> float:
    return a / 2


@smart_cached
def bare(user_id: int, name: str = "") -> list[str]:
    return [name] * user_id


@smart_cached(key="user:{user_id}", ttl=60, tags=["users"], stale=30, lock=True)
def profile(user_id: int, *, full: bool = False) -> dict[str, int]:
    return {"id": user_id, "full": int(full)}


@smart_cached(
    ttl=None,
    tags=tags_of,
    condition=bool,
    vary=half,
    cache_none=False,
)
def fully(a: int) -> int | None:
    return a or None


assert_type(bare(1), list[str])
assert_type(bare(user_id=1, name="a"), list[str])
assert_type(bare.refresh(1), list[str])
assert_type(bare.uncached(1), list[str])
assert_type(bare.__wrapped__(1), list[str])
assert_type(bare.key(1), str)
assert_type(bare.invalidate(1), bool)
assert_type(bare.stats(), dict[str, int])
assert_type(bare.get(1), list[str] | None)
assert_type(bare.get(1, default=0), list[str] | int)
assert_type(bare.set(1, value=["a"]), bool)
assert_type(profile(user_id=1, full=True), dict[str, int])
assert_type(fully(1), int | None)

bare("1")  # type: ignore[arg-type]
bare.key("1")  # type: ignore[arg-type]
bare.invalidate(nobody=1)  # type: ignore[call-arg]
bare.set(1, value="a")  # type: ignore[arg-type]
smart_cached(tll=30)  # type: ignore[call-overload]
smart_cached(lock=None)  # type: ignore[call-overload]

# --- coroutine functions


@smart_cached(key="x:{a}")
async def later(a: int) -> str:
    return str(a)


@smart_cached
async def at_once(a: int) -> float:
    return a / 2


async def use_coroutines() -> None:
    _ = assert_type(later(1), Coroutine[Any, Any, str])
    assert_type(await later(1), str)
    assert_type(await at_once(1), float)
    assert_type(await later.refresh(1), str)
    assert_type(await later.arefresh(1), str)
    assert_type(await later.uncached(1), str)
    assert_type(later.get(1), str | None)
    assert_type(await later.aget(1), str | None)
    assert_type(await later.aget(1, default=0), str | int)
    assert_type(await later.aset(1, value="a"), bool)
    assert_type(await later.ainvalidate(1), bool)
    assert_type(await bare.arefresh(1), list[str])
    assert_type(await bare.aget(1), list[str] | None)
    await later("1")  # type: ignore[arg-type]
    await later.aset(1, value=1)  # type: ignore[arg-type]


# --- methods


class Shop:
    @smart_cached
    def method(self, x: int) -> bytes:
        return bytes(x)

    @smart_cached(ttl=5)
    async def task(self, x: int) -> bytes:
        return bytes(x)

    @smart_cached(ttl=None)
    @classmethod
    def made(cls, x: int = 0) -> Shop:
        return cls()

    @classmethod
    @smart_cached(ttl=None)
    def made_inside(cls, x: int = 0) -> Shop:
        return cls()

    @smart_cached
    @classmethod
    async def amade(cls, x: int = 0) -> Shop:
        return cls()

    @smart_cached
    @staticmethod
    def size(x: int) -> float:
        return x / 2

    @staticmethod
    @smart_cached
    def size_inside(x: int) -> float:
        return x / 2

    @smart_cached(ttl=1)
    @staticmethod
    async def asize(x: int) -> float:
        return x / 2


assert_type(Shop().method(1), bytes)
assert_type(Shop.method(Shop(), 1), bytes)
assert_type(Shop().method.key(1), str)
assert_type(Shop().method.get(1), bytes | None)
assert_type(Shop.made(1), Shop)
assert_type(Shop().made(x=1), Shop)
assert_type(Shop.made.get(1), Shop | None)
assert_type(Shop.made.key(x=1), str)
assert_type(Shop.made_inside(1), Shop)
assert_type(Shop.size(1), float)
assert_type(Shop.size.get(1, default=""), float | str)
assert_type(Shop.size_inside(1), float)
Shop().method.invalidate("1")  # type: ignore[arg-type]
Shop.made.key("1")  # type: ignore[call-overload]
Shop.size("1")  # type: ignore[call-overload]


async def use_methods() -> None:
    assert_type(await Shop().task(1), bytes)
    assert_type(await Shop().task.aget(1), bytes | None)
    assert_type(await Shop.amade(1), Shop)
    assert_type(await Shop.amade.aget(1), Shop | None)
    assert_type(await Shop.asize(1), float)
    assert_type(await Shop.asize.arefresh(1), float)


# --- views


@smart_cached(ttl=60, vary="user")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse(str(pk))


class Page(View):
    @method_decorator(smart_cached(ttl=60))
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse()


assert_type(page(HttpRequest(), 1), HttpResponse)
assert_type(page.get(HttpRequest(), 1), HttpResponse | None)

# --- by hand


def compute() -> int:
    return 1


async def acompute() -> int:
    return 1


def use_keys() -> None:
    assert_type(cache_get("k"), Any)
    assert_type(cache_get("k", default=None), Any)
    assert_type(cache_get_many(["k"]), dict[str, Any])
    assert_type(cache_get_or_set("k", compute, ttl=5), int)
    assert_type(cache_get_or_set("k", lambda: "a", tags=["t"]), str)
    assert_type(cache_get_or_set("k", 1.5), float)
    assert_type(cache_set("k", 1, ttl=None, tags=("t",)), bool)
    assert_type(cache_set_many({"k": 1}, ttl=5), list[str])
    assert_type(cache_ttl("k"), float | None)
    assert_type(cache_invalidate("k", "l"), int)
    with smartcache_disabled(), no_invalidation(), cache_lock("l", timeout=5, wait=1):
        invalidate_tags("users")


async def use_keys_in_tasks() -> None:
    assert_type(await acache_get("k"), Any)
    assert_type(await acache_get_or_set("k", acompute, ttl=5), int)
    assert_type(await acache_get_or_set("k", compute), int)
    assert_type(await acache_get_or_set("k", "a"), str)
    async with acache_lock("l"):
        pass
