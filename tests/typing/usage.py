"""Code as users write it, read by mypy in strict mode: never run."""

from typing_extensions import assert_type

from djsmartcache import (
    acache_get_or_set,
    cache_get,
    cache_invalidate,
    invalidate_tags,
    no_invalidation,
    smart_cached,
    smartcache_disabled,
)


@smart_cached
def bare(n: int) -> str:
    return str(n)


@smart_cached(key="user:{user_id}", ttl=60, tags=["users"], stale=30, lock=True)
def profile(user_id: int, *, full: bool = False) -> dict[str, int]:
    return {"id": user_id, "full": int(full)}


@smart_cached(ttl=None)
async def slow(n: int) -> float:
    return n / 2


class Shop:
    @smart_cached(ttl=5)
    def price(self, product: int) -> int:
        return product


assert_type(bare(1), str)
assert_type(profile(user_id=1, full=True), dict[str, int])
assert_type(Shop().price(3), int)
bare("1")  # type: ignore[arg-type]
smart_cached(tll=30)  # type: ignore[call-overload]


async def use() -> None:
    assert_type(await slow(3), float)
    await acache_get_or_set("key", lambda: 1, ttl=5)
    with smartcache_disabled(), no_invalidation():
        cache_get("key", default=None)
    cache_invalidate("key", "other")
    invalidate_tags("users")
