"""What `smart_cached` makes of a function, for type checkers.

R is a result of the function, C what a call gives: R too, or of a coroutine function a coroutine of
it. A keyword beside the arguments, `get(..., default=)` and `set(..., value=)`, is more than a
ParamSpec can say: there the arguments are not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
C_co = TypeVar("C_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
D = TypeVar("D")

Later = Coroutine[Any, Any, D]


class _Values(Protocol[R]):
    """Handles that do not depend on how the function is called."""

    __name__: str
    __qualname__: str

    def stats(self) -> dict[str, int]:
        """Count what happened to the calls of the function in this process."""
        ...

    @overload
    def get(self, *args: Any, default: D, **kwargs: Any) -> R | D: ...
    @overload
    def get(self, *args: Any, **kwargs: Any) -> R | None:
        """Read what is cached for a call, else `default=`. Computes nothing."""
        ...

    @overload
    def aget(self, *args: Any, default: D, **kwargs: Any) -> Later[R | D]: ...
    @overload
    def aget(self, *args: Any, **kwargs: Any) -> Later[R | None]:
        """Do as `get`, without blocking the event loop."""
        ...

    def set(self, *args: Any, value: R, **kwargs: Any) -> bool:
        """Store `value=` as the result of a call; tell whether it was stored."""
        ...

    def aset(self, *args: Any, value: R, **kwargs: Any) -> Later[bool]:
        """Do as `set`, without blocking the event loop."""
        ...


class Cached(_Values[R], Protocol[P, R, C_co]):
    """A cached function: called as the function itself, with handles that take its arguments."""

    @property
    def __wrapped__(self) -> Callable[P, C_co]: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C_co: ...

    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], R, C_co], instance: None, owner: type, /
    ) -> OnClass[P, Q, R, C_co]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], R, C_co], instance: S, owner: type | None = None, /
    ) -> Cached[Q, R, C_co]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[type[S], Q], R, C_co], instance: S, owner: type | None = None, /
    ) -> Cached[Q, R, C_co]: ...
    @overload
    def __get__(self, instance: Any, owner: type | None = None, /) -> Cached[P, R, C_co]: ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the result of a call, and what was made from it; tell whether there was one."""
        ...

    def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> Later[bool]:
        """Do as `invalidate`, without blocking the event loop."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> C_co:
        """Compute and store a result anew, even if what is cached is fresh; give it."""
        ...

    def arefresh(self, *args: P.args, **kwargs: P.kwargs) -> Later[R]:
        """Do as `refresh`, without blocking the event loop."""
        ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Give the key of a call, as `cache_get` and its kin take it."""
        ...

    def uncached(self, *args: P.args, **kwargs: P.kwargs) -> C_co:
        """Call the function itself: the cache is neither read nor stored to for this call."""
        ...


class _Either(Protocol[P, Q, T_co]):
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> T_co: ...


class OnClass(_Values[R], Protocol[P, Q, R, C_co]):
    """A cached method, class method or static method that was looked up on the class.

    Checkers take `@classmethod` and `@staticmethod` for marks of the function below them, so it
    does not show which of these it is: it is called with its first parameter or without.
    """

    @property
    def __wrapped__(self) -> Callable[P, C_co]: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C_co: ...
    @overload
    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> C_co: ...

    @property
    def invalidate(self) -> _Either[P, Q, bool]: ...
    @property
    def ainvalidate(self) -> _Either[P, Q, Later[bool]]: ...
    @property
    def refresh(self) -> _Either[P, Q, C_co]: ...
    @property
    def arefresh(self) -> _Either[P, Q, Later[R]]: ...
    @property
    def key(self) -> _Either[P, Q, str]: ...
    @property
    def uncached(self) -> _Either[P, Q, C_co]: ...


class InClass(Protocol[T_co]):
    """What `smart_cached` makes of a `classmethod` or `staticmethod`: T_co to all who use it."""

    def __get__(self, instance: Any, owner: type | None = None, /) -> T_co: ...
