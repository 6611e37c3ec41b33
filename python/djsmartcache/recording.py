"""What a view reads of its request that is not part of the key: recorded while it runs.

The request's class, and its session's, are exchanged for subclasses that note reads, and put back
afterwards. Anything that is not known to be the same for all requests with one key counts,
attributes set by middleware among it; cookies, headers and the session count item by item. Lazy
objects (`request.user`, CSP nonces) count once they are evaluated, since context processors touch
them in every template. A request belongs to one thread or task at a time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.http import HttpRequest
from django.utils.functional import cached_property

from .records import (
    ACTIVE,
    CLASSES,
    Record,
    evaluated,
    is_lazy,
    is_silent,
    note_in,
    note_of_page_in,
    silently,
    state_of,
    subclass,
    unrecorded,
)
from .request_items import Headers, Items, note_cookie, note_meta
from .request_session import watch_session

# In the key of a page, which is all that a function of the request has not.
_OF_PAGES: Final = frozenset(
    {
        "GET", "LANGUAGE_CODE", "current_app", "encoding", "get_full_path", "get_full_path_info",
        "method", "path", "path_info", "resolver_match", "script_name", "urlconf",
    }
)  # fmt: skip
# Django's own bookkeeping, whose content is noted where it is read.
_FREE: Final = frozenset(
    {
        "_current_scheme_host", "_encoding", "_files", "_messages", "_post", "_post_parse_error",
        "_read_started", "_upload_handlers", "csrf_processing_done", "_dont_enforce_csrf_checks",
        "_cached_user", "_acached_user", "body_receive_timeout", ACTIVE,
    }
)  # fmt: skip
# What Django and REST framework ask every request for, mostly in vain, or have on its class.
_OF_DJANGO: Final = frozenset(
    {
        "_auth", "_authenticator", "_cache_update_cache", "_content_type", "_csp_nonce", "_data",
        "_force_auth_token", "_force_auth_user", "_full_data", "_multipart_parser_class",
        "_parsed_accept_list", "_request", "_user", "non_picklable_attrs",
    }
)  # fmt: skip
# Read the host and the scheme, which are in the key of a page, out of headers.
_OF_HEADERS: Final = frozenset(
    {"build_absolute_uri", "get_host", "is_secure", "_get_scheme", "_get_raw_host", "scheme"}
)
_ACCEPT: Final = frozenset({"accepted_types", "accepted_types_by_precedence"})
_WHOLES: Final = frozenset({"user", "session"})
_BODY: Final = frozenset({"body", "read", "readline", "readlines", "__iter__", "_body", "_stream"})


class _Active(list[Record]):
    """The records of a request, and what to put back after the last of them."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__()
        self.request = request
        self._plain = type(request)
        self._session = state_of(request).get("session")
        self._watched = watch_session(self._session, self)
        request.__class__ = _noting(self._plain)

    def end(self) -> None:
        self.request.__class__ = self._plain
        state_of(self.request).pop(ACTIVE, None)
        if self._watched is not None:
            self._session.__class__ = self._watched
            del self._session.__dict__[ACTIVE]


@contextlib.contextmanager
def recording(request: HttpRequest) -> Iterator[Record]:
    """Note what the block reads of the request.

    Blocks may be nested, or overlap in tasks: each of them notes all that is read meanwhile.
    """
    state = state_of(request)
    record = Record(request)
    active: _Active = state.get(ACTIVE) or _Active(request)
    state[ACTIVE] = active
    active.append(record)
    _evaluate_silently(state.get("user"))
    for name, value in list(state.items()):
        if not evaluated(value) and name not in _FREE:
            # It counts by whatever way it is reached: middleware may have kept it elsewhere too.
            record.note(name if name in _WHOLES else f"request.{name}", value)
    try:
        yield record
    finally:
        if state.get(ACTIVE) is not active:
            record.note("the request in another thread")  # which has ended the recording
        active.remove(record)
        if not active and state.get(ACTIVE) is active:
            active.end()


# --- the request


def _noting(cls: type[HttpRequest]) -> type[HttpRequest]:
    made = CLASSES.get(cls)
    if made is not None:
        return made

    def __getattribute__(self: HttpRequest, name: str) -> Any:  # noqa: N807
        return _read(self, name, functools.partial(_get, cls, self, name))

    return CLASSES.setdefault(cls, subclass(cls, {"__getattribute__": __getattribute__}))


def _get(cls: type[HttpRequest], request: HttpRequest, name: str) -> Any:
    state = state_of(request)
    if name not in state:
        found = getattr(cls, name, None) if name[:2] != "__" else None
        if isinstance(found, cached_property | functools.cached_property):
            # It would ask for the `__dict__`, as those do who are after what is in it.
            value = state[name] = found.func(request)
            return value
    return cls.__getattribute__(request, name)


def _read(request: HttpRequest, name: str, get: Callable[[], Any]) -> Any:
    state = state_of(request)
    records: list[Record] = state.get(ACTIVE) or []
    if not records or is_silent() or name in _FREE:
        return get()
    if name == "__dict__":
        note_in(records, "request.__dict__")
    if name.startswith("__") and name not in _BODY:
        return get()
    if name in _OF_PAGES or name in _OF_HEADERS:
        note_of_page_in(records, f"request.{name}")
        return silently(get)
    if name in ("META", "environ"):
        return _handed("META:*", Items(get(), request, note_meta), records)
    if name == "COOKIES":
        return _handed("cookies", Items(silently(get), request, note_cookie), records)
    if name == "headers":
        return Headers(silently(get), request)
    if name in ("POST", "FILES"):
        value = silently(get)
        if value:  # which it has no reason to be: somebody put it there
            note_in(records, "body")
        return value
    if name in ("content_type", "content_params"):
        note_in(records, "header:content-type")
    elif name in _ACCEPT:
        note_in(records, "header:accept")
    elif name in _BODY:
        note_in(records, "body")
    elif name == "auser":
        return _noting_auser(records, get())
    elif name in _WHOLES and name not in state:
        note_in(records, name)  # which middleware may set for some requests
    elif name == "user":
        value = get()
        _evaluate_silently(value)
        note_in(records, name, value)
        return value
    elif name == "session":
        value = get()
        with unrecorded():
            # By this request: one session may be of two, and is watched for the first alone.
            watched = getattr(value, "__dict__", {}).get(ACTIVE, ()) is records
        if not watched:
            note_in(records, name, value)
        return value
    elif name in state:
        value = get()
        for record in records:
            if name in record.before:
                record.note(f"request.{name}", value)
        return value
    elif name not in _OF_DJANGO and not _is_defined(type(request), name):
        # Middleware may set it for some requests and not for others.
        note_in(records, f"request.{name}")
    return get()


def _is_defined(cls: type, name: str) -> bool:
    """Whether a class says what it is, by a method or property: more than a default."""
    for each in cls.__mro__:
        if name in vars(each):
            return hasattr(type(vars(each)[name]), "__get__")
    return False


def _handed(what: str, given: Items, records: list[Record]) -> Items:
    for record in records:
        record.note_handed(what, given)
    return given


def _evaluate_silently(user: Any) -> None:
    """See to it that finding the user is not taken for reads of the session."""
    if not is_lazy(user) or evaluated(user):
        return
    state = object.__getattribute__(user, "__dict__")
    find = state.get("_setupfunc")
    if find is None or isinstance(find, _Silent):
        return
    state["_setupfunc"] = _Silent(find)


class _Silent:
    def __init__(self, find: Callable[[], Any]) -> None:
        self.find = find

    def __call__(self) -> Any:
        with unrecorded():
            return self.find()


def _noting_auser(records: list[Record], auser: Callable[[], Any]) -> Callable[[], Any]:
    noted = list(records)

    @functools.wraps(auser)
    async def call() -> Any:
        note_in(noted, "user")
        with unrecorded():  # by what the user is found is no further read
            return await auser()

    return call
