"""What a view reads of its request that is not part of the key: recorded while it runs.

The request's class, and its session's, are exchanged for subclasses that note reads, and put back
afterwards. Anything that is not known to be the same for all requests with one key counts,
attributes set by middleware among it; cookies, headers and the session count item by item. Lazy
objects (`request.user`, CSP nonces) count once they are evaluated, since context processors touch
them in every template. A request belongs to one thread or task at a time.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import MethodType
from typing import Any, Final, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.request import HttpHeaders
from django.utils.functional import LazyObject, cached_property, empty

_ACTIVE: Final = "_smartcache_records"

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
        "_cached_user", "_acached_user", "body_receive_timeout", _ACTIVE,
    }
)  # fmt: skip
# Read the host and the scheme, which are in the key of a page, out of headers.
_OF_HEADERS: Final = frozenset(
    {"build_absolute_uri", "get_host", "is_secure", "_get_scheme", "_get_raw_host", "scheme"}
)
_ACCEPT: Final = frozenset({"accepted_types", "accepted_types_by_precedence"})
_BODY: Final = frozenset({"body", "read", "readline", "readlines", "__iter__", "_body", "_stream"})
_META_OF_PAGES: Final = frozenset({"PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SCRIPT_NAME"})
_FREE_META: Final = frozenset({"SERVER_SOFTWARE", "CSRF_COOKIE_NEEDS_UPDATE"})


class Record:
    """What was read: "user", "session:cart", "cookie:theme", "header:accept", "request.tenant"."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.before = frozenset(state_of(request))
        self.of_pages: set[str] = set()
        """What was read that the key of a page has."""
        self._reads: set[str] = set()
        self._lazy: list[tuple[str, Any]] = []
        self._whole: list[tuple[str, _Dict]] = []

    def note(self, what: str, value: Any = None) -> None:
        """Note a read, of something that counts once it is evaluated if it is lazy."""
        if is_lazy(value):
            self._lazy.append((what, value))
        else:
            self._reads.add(what)

    def note_handed(self, what: str, given: _Dict) -> None:
        """Note a read of all of a mapping, unless it turns out to be asked for items."""
        self._whole.append((what, given))

    def reads(self) -> set[str]:
        """All that counts by now."""
        lazily = {what for what, value in self._lazy if evaluated(value)}
        return self._reads | lazily | {what for what, given in self._whole if not given.asked}


def covers(declared: Iterable[str], what: str) -> bool:
    """Whether a read is among the declared ones, or part of one that is a whole."""
    known = set(declared)
    kind = what.partition(":")[0]
    return what in known or {"cookie": "cookies", "session": "session"}.get(kind) in known


def is_lazy(value: Any) -> bool:
    return issubclass(type(value), LazyObject)


def evaluated(value: Any) -> bool:
    """Whether a value is there, or a lazy one has been looked at."""
    return not is_lazy(value) or object.__getattribute__(value, "__dict__")["_wrapped"] is not empty


def state_of(request: HttpRequest) -> dict[str, Any]:
    """`vars(request)`, which is no read."""
    state: dict[str, Any] = object.__getattribute__(request, "__dict__")
    return state


class _Active(list[Record]):
    """The records of a request, and what to put back after the last of them."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__()
        self.request = request
        self._plain = type(request)
        self._session = state_of(request).get("session")
        self._watched = _watch_session(self._session, self)
        request.__class__ = _noting(self._plain)

    def end(self) -> None:
        self.request.__class__ = self._plain
        state_of(self.request).pop(_ACTIVE, None)
        if self._watched is not None:
            self._session.__class__ = self._watched
            del self._session.__dict__[_ACTIVE]


@contextlib.contextmanager
def recording(request: HttpRequest) -> Iterator[Record]:
    """Note what the block reads of the request.

    Blocks may be nested, or overlap in tasks: each of them notes all that is read meanwhile.
    """
    state = state_of(request)
    record = Record(request)
    active: _Active = state.get(_ACTIVE) or _Active(request)
    state[_ACTIVE] = active
    active.append(record)
    _evaluate_silently(state.get("user"))
    try:
        yield record
    finally:
        if state.get(_ACTIVE) is not active:
            record.note("the request in another thread")  # which has ended the recording
        active.remove(record)
        if not active and state.get(_ACTIVE) is active:
            active.end()


_silent: ContextVar[bool] = ContextVar("smartcache_unrecorded", default=False)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Reads of the block are not noted: what they lead to is in the key, or noted as a whole."""
    before = _silent.get()
    _silent.set(True)
    try:
        yield
    finally:
        _silent.set(before)


def note(request: HttpRequest, *whats: str) -> None:
    """Note reads on behalf of whoever records the request by now, if anybody does."""
    for what in whats:
        _note(state_of(request).get(_ACTIVE) or [], what)


# --- the request

_classes: dict[type, type] = {}


def _noting(cls: type[HttpRequest]) -> type[HttpRequest]:
    made = _classes.get(cls)
    if made is not None:
        return made

    def __getattribute__(self: HttpRequest, name: str) -> Any:  # noqa: N807
        return _read(self, name, functools.partial(_get, cls, self, name))

    return _classes.setdefault(cls, _subclass(cls, {"__getattribute__": __getattribute__}))


def _subclass(cls: type, body: dict[str, Any]) -> type:
    # The name and module stay: templates and error pages show them.
    body |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), body)


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
    records: list[Record] = state.get(_ACTIVE) or []
    if not records or _silent.get() or name in _FREE:
        return get()
    if name == "__dict__":
        _note(records, "request.__dict__")
    if name.startswith("__") and name not in _BODY:
        return get()
    if name in _OF_PAGES or name in _OF_HEADERS:
        _note_of_page(records, f"request.{name}")
        return _silently(get)
    if name in ("META", "environ"):
        return _handed("META:*", _Dict(get(), request, _note_meta), records)
    if name == "COOKIES":
        return _handed("cookies", _Dict(_silently(get), request, _note_cookie), records)
    if name == "headers":
        return _Headers(_silently(get), request)
    if name in ("POST", "FILES"):
        value = _silently(get)
        if value:  # which it has no reason to be: somebody put it there
            _note(records, "body")
        return value
    if name in ("content_type", "content_params"):
        _note(records, "header:content-type")
    elif name in _ACCEPT:
        _note(records, "header:accept")
    elif name in _BODY:
        _note(records, "body")
    elif name == "auser":
        return _noting_auser(records, get())
    elif name == "user":
        value = get()
        _evaluate_silently(value)
        _note(records, name, value)
        return value
    elif name == "session":
        value = get()
        with unrecorded():
            watched = _ACTIVE in getattr(value, "__dict__", {})
        if not watched:
            _note(records, name, value)
        return value
    elif name in state:
        value = get()
        for record in records:
            if name in record.before:
                record.note(f"request.{name}", value)
        return value
    elif name[0] != "_" and not hasattr(type(request), name):
        # Middleware may set it for some requests and not for others.
        _note(records, f"request.{name}")
    return get()


def _note(records: list[Record], what: str, value: Any = None) -> None:
    for record in records:
        record.note(what, value)


def _note_of_page(records: list[Record], what: str) -> None:
    for record in records:
        record.of_pages.add(what)


def _handed(what: str, given: _Dict, records: list[Record]) -> _Dict:
    for record in records:
        record.note_handed(what, given)
    return given


def note_page(request: HttpRequest) -> None:
    """Note on behalf of an outer function that what it got depends on the key of a page."""
    _note_of_page(state_of(request).get(_ACTIVE) or [], "request.path and all that pages differ by")


def _note_of(request: HttpRequest, what: str) -> None:
    if not _silent.get():
        note(request, what)


def _silently(get: Callable[[], Any]) -> Any:
    with unrecorded():
        value = get()
    if not isinstance(value, MethodType):
        return value

    @functools.wraps(value)
    def call(*args: Any, **kwargs: Any) -> Any:
        with unrecorded():
            return value(*args, **kwargs)

    return call


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
        _note(noted, "user")
        with unrecorded():  # by what the user is found is no further read
            return await auser()

    return call


# --- META, cookies and headers


class _Dict(dict[str, Any]):
    """A dict of the request whose reads are noted; writes reach the request.

    It holds a copy for the sake of code in C that looks at it as at any dict; `asked` tells that
    somebody did not do so.
    """

    def __init__(
        self, real: dict[str, Any], request: HttpRequest, noting: Callable[[HttpRequest, str], None]
    ) -> None:
        super().__init__(real)
        self._real = real
        self._request = request
        self._noting = noting
        self.asked = False

    def _note(self, name: Any = "*") -> dict[str, Any]:
        self.asked = True
        self._noting(self._request, str(name))
        return self._real

    def _copy(self, real: dict[str, Any]) -> None:
        super().clear()
        super().update(real)

    def __getitem__(self, name: str) -> Any:
        return self._note(name)[name]

    def __contains__(self, name: object) -> bool:
        return name in self._note(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self._note(name).get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._note())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._note())

    def __len__(self) -> int:
        return len(self._note())

    def keys(self) -> Any:
        return self._note().keys()

    def values(self) -> Any:
        return self._note().values()

    def items(self) -> Any:
        return self._note().items()

    def __copy__(self) -> dict[str, Any]:
        return self._note().copy()

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return copy.deepcopy(self._note(), memo)

    def __reduce_ex__(self, _: Any) -> Any:
        return dict, (dict(self._note()),)

    def copy(self) -> dict[str, Any]:
        return self._note().copy()

    def __eq__(self, other: object) -> bool:
        return self._note() == other

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        return self._note() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._note()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(self._note())

    def __setitem__(self, name: str, value: Any) -> None:
        self.asked = True
        self._real[name] = value
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        del self._note(name)[name]
        super().pop(name, None)

    def pop(self, name: str, *default: Any) -> Any:
        super().pop(name, None)
        return self._note(name).pop(name, *default)

    def popitem(self) -> Any:
        made = self._note().popitem()
        super().pop(made[0], None)
        return made

    def setdefault(self, name: str, default: Any = None) -> Any:
        super().setdefault(name, default)
        return self._note(name).setdefault(name, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.asked = True
        self._real.update(*args, **kwargs)
        self._copy(self._real)

    def clear(self) -> None:
        self.asked = True
        self._real.clear()
        super().clear()


def _note_cookie(request: HttpRequest, name: str) -> None:
    _note_of(request, "cookies" if name == "*" else f"cookie:{name}")


def _note_meta(request: HttpRequest, name: str) -> None:
    if _silent.get() or name in _FREE_META:
        return
    # The host of the key may be another header's.
    if name in _META_OF_PAGES or (name == "HTTP_HOST" and not settings.USE_X_FORWARDED_HOST):
        _note_of_page(state_of(request).get(_ACTIVE) or [], f"META:{name}")
    else:
        note(request, meaning(name))


def meaning(name: str) -> str:
    """What reading this item of META is noted as."""
    if name == "CSRF_COOKIE":
        return "csrf token"
    if name == "HTTP_COOKIE":
        return "cookies"
    if name.startswith("HTTP_"):
        return f"header:{name[5:].replace('_', '-').lower()}"
    if name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return f"header:{name.replace('_', '-').lower()}"
    return f"META:{name}"


_OF_ANOTHER_CLASS: Final = 1
"""The last protocol by which pickle takes what stands for an object and is of another class."""


class _Headers(HttpHeaders):
    """`request.headers` whose reads are noted."""

    def __init__(self, headers: HttpHeaders, request: HttpRequest) -> None:
        self._real = headers
        self._request = request

    @property
    def _store(self) -> Any:  # type: ignore[override]
        _note_of(self._request, "header:*")
        return self._real._store

    def __getitem__(self, name: str) -> str:
        _note_meta(self._request, HttpHeaders.to_wsgi_name(name))
        return self._real[name]

    def __reduce_ex__(self, _: Any) -> Any:
        _note_of(self._request, "header:*")
        return self._real.__reduce_ex__(_OF_ANOTHER_CLASS)


# --- the session


def _watch_session(session: Any, active: list[Record]) -> type | None:
    """Exchange the class of a session; give the former, None where that cannot be done."""
    state = getattr(session, "__dict__", None)
    if session is None or state is None or is_lazy(session) or _ACTIVE in state:
        return None
    plain = type(session)
    try:
        session.__class__ = _noting_session(plain)
    except TypeError:
        return None
    state[_ACTIVE] = active
    return plain


# What tells nothing of the content, or changes it, which keeps a page from being stored.
_FREE_OF_SESSION: Final = frozenset(
    {"accessed", "modified", "set_expiry", "update", "TEST_COOKIE_NAME"}
)
_ITEMS: Final = ("get", "pop", "setdefault", "__getitem__", "__contains__", "has_key")
_AITEMS: Final = ("aget", "apop", "asetdefault", "ahas_key")


def _noting_session(cls: type) -> type:
    made = _classes.get(cls)
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
        vars(plain).update({name: value for name, value in state.items() if name != _ACTIVE})
        return plain.__reduce_ex__(_OF_ANOTHER_CLASS)

    body["__reduce_ex__"] = __reduce_ex__

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807
        value = known(self, name)  # templates ask for items as attributes, in vain
        if name == "__dict__" or (
            name not in _FREE_OF_SESSION and name not in body and name[:2] != "__"
        ):
            _note_session(self, "session")
        return value

    return _classes.setdefault(cls, _subclass(cls, {**body, "__getattribute__": __getattribute__}))


def _note_session(session: Any, what: str) -> None:
    if not _silent.get():
        _note(object.__getattribute__(session, "__dict__").get(_ACTIVE) or [], what)


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
