"""What type checkers see of decorated functions; checked by mypy, not run."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from typing_extensions import assert_type

from djsmartcache import cache_get, smart_cached


@smart_cached
def bare(user_id: int, name: str = "") -> list[str]:
    return [name] * user_id


@smart_cached(key="x:{a}", ttl=60, tags=["t"], stale=5, vary=lambda a: a)
async def later(a: int) -> str:
    return str(a)


class Shop:
    @smart_cached
    def method(self, x: int) -> bytes:
        return bytes(x)

    @smart_cached(ttl=None)
    @classmethod
    def made(cls) -> Shop:
        return cls()


assert_type(bare(1), list[str])
assert_type(bare(user_id=1, name="a"), list[str])
assert_type(bare.invalidate(1), bool)
assert_type(bare.key(1), str)
assert_type(bare.refresh(1), list[str])
assert_type(bare.stats(), dict[str, int])
_ = assert_type(later(1), Coroutine[Any, Any, str])
assert_type(Shop().method(1), bytes)
assert_type(Shop().method.key(1), str)
assert_type(cache_get("k"), Any)
bare("1")  # type: ignore[arg-type]
Shop().method.invalidate("1")  # type: ignore[arg-type]
smart_cached(unknown=1)  # type: ignore[call-overload]
