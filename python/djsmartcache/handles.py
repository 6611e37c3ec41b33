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

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...
    def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[bool]: ...
    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    def arefresh(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Any]: ...
    def key(self, *args: P.args, **kwargs: P.kwargs) -> str: ...
    def uncached(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    def stats(self) -> dict[str, int]: ...

    @property
    def get(self) -> Callable[..., Any]: ...
    @property
    def aget(self) -> Callable[..., Awaitable[Any]]: ...
    @property
    def set(self) -> Callable[..., bool]: ...
    @property
    def aset(self) -> Callable[..., Awaitable[bool]]: ...
