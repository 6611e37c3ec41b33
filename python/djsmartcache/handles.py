"""What `smart_cached` makes of a function, for type checkers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class Cached(Protocol[P, R_co]):
    """A cached function: called as the function itself, with handles that take its arguments.

    The handles that also take a keyword of their own, `get(..., default=)` and `set(..., value=)`,
    cannot be typed more closely.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def __get__(self, instance: None, owner: type) -> Cached[P, R_co]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], R_co], instance: S, owner: type | None = None
    ) -> Cached[Q, R_co]: ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the result of a call, and what was made from it; tell whether there was one."""
        ...

    def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[bool]:
        """Do as `invalidate`, without blocking the event loop."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute and store a result anew, even if what is cached is fresh; give it."""
        ...

    def arefresh(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Any]:
        """Do as `refresh`, without blocking the event loop."""
        ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Give the key of a call, as `cache_get` and its kin take it."""
        ...

    def uncached(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function itself: the cache is neither read nor stored to for this call."""
        ...

    def stats(self) -> dict[str, int]:
        """Count what happened to the calls of the function in this process."""
        ...

    @property
    def get(self) -> Callable[..., Any]:
        """Read what is cached for a call, else `default=`. Computes nothing."""
        ...

    @property
    def aget(self) -> Callable[..., Awaitable[Any]]:
        """Do as `get`, without blocking the event loop."""
        ...

    @property
    def set(self) -> Callable[..., bool]:
        """Store `value=` as the result of a call; tell whether it was stored."""
        ...

    @property
    def aset(self) -> Callable[..., Awaitable[bool]]:
        """Do as `set`, without blocking the event loop."""
        ...
