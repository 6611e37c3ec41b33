"""The session of a request, which notes what is read of it: item by item, or as a whole."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, cast

from .records import (
    ACTIVE,
    CLASSES,
    OF_ANOTHER_CLASS,
    Record,
    is_lazy,
    is_silent,
    note_in,
    subclass,
    unrecorded,
)


def watch_session(session: Any, active: list[Record]) -> type | None:
    """Exchange the class of a session; give the former, None where that cannot be done."""
    state = getattr(session, "__dict__", None)
    if session is None or state is None or is_lazy(session) or ACTIVE in state:
        return None
    plain = type(session)
    try:
        session.__class__ = _noting_session(plain)
    except TypeError:
        return None
    state[ACTIVE] = active
    return plain


# What tells nothing of the content, or changes it, which keeps a page from being stored.
_FREE_OF_SESSION: Final = frozenset(
    {"accessed", "modified", "set_expiry", "update", "TEST_COOKIE_NAME"}
)
_ITEMS: Final = ("get", "pop", "setdefault", "__getitem__", "__contains__", "has_key")
_AITEMS: Final = ("aget", "apop", "asetdefault", "ahas_key")


def _noting_session(cls: type) -> type:
    made = CLASSES.get(cls)
    if made is not None:
        return made
    body: dict[str, Any] = {}
    body |= {name: _item(getattr(cls, name)) for name in _ITEMS if hasattr(cls, name)}
    body |= {name: _aitem(getattr(cls, name)) for name in _AITEMS if hasattr(cls, name)}
    body |= {
        name: _quiet(getattr(cls, name)) for name in ("__setitem__", "update") if hasattr(cls, name)
    }
    for name in ("__iter__", "__len__"):
        if hasattr(cls, name):
            body[name] = _all(getattr(cls, name))

    body["__dir__"] = _quiet(cls.__dir__)  # as templates ask for what is not there
    known = cast("Callable[[Any, str], Any]", cls.__getattribute__)

    def __reduce_ex__(self: Any, _: Any) -> Any:  # noqa: N807
        # What is copied or pickled is the session as it was, and all of it.
        _note_session(self, "session")
        plain = cast("Any", cls).__new__(cls)
        state = object.__getattribute__(self, "__dict__")
        vars(plain).update({name: value for name, value in state.items() if name != ACTIVE})
        return plain.__reduce_ex__(OF_ANOTHER_CLASS)

    body["__reduce_ex__"] = __reduce_ex__

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807
        value = known(self, name)  # templates ask for items as attributes, in vain
        if name == "__dict__" or (
            name not in _FREE_OF_SESSION and name not in body and name[:2] != "__"
        ):
            _note_session(self, "session")
        return value

    return CLASSES.setdefault(cls, subclass(cls, {**body, "__getattribute__": __getattribute__}))


def _note_session(session: Any, what: str) -> None:
    if not is_silent():
        note_in(object.__getattribute__(session, "__dict__").get(ACTIVE) or [], what)


def _item(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        _note_session(self, f"session:{key}")
        with unrecorded():
            return method(self, key, *args, **kwargs)

    return call


def _aitem(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        _note_session(self, f"session:{key}")
        with unrecorded():
            return await method(self, key, *args, **kwargs)

    return call


def _quiet(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with unrecorded():
            return method(*args, **kwargs)

    return call


def _all(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _note_session(self, "session")
        with unrecorded():
            return method(self, *args, **kwargs)

    return call
