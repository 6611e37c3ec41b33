"""What a view reads of its request that is not part of the key: recorded while it runs.

The request's class is exchanged for a subclass that notes reads, and put back afterwards. Anything
that is not known to be the same for all requests with one key counts, attributes set by middleware
among it. Lazy objects (`request.user`, CSP nonces) count once they are evaluated, since context
processors touch them in every template. A request belongs to one thread or task at a time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

_ACTIVE: Final = "_smartcache_records"

# In the key, the same for all, or Django's own bookkeeping whose content is noted where it is read.
_FREE: Final = frozenset(
    {
        "GET", "LANGUAGE_CODE", "POST", "_body", "_current_scheme_host", "_encoding", "_files",
        "_messages", "_post", "_post_parse_error", "_read_started", "_stream", "_upload_handlers",
        "content_params", "content_type", "csrf_processing_done", "_dont_enforce_csrf_checks",
        "_cached_user", "_acached_user", "body_receive_timeout", "current_app", "method", "path",
        "path_info", "resolver_match", "script_name", "urlconf", _ACTIVE,
    }
)  # fmt: skip
# Read the host and the scheme, which are in the key, out of headers.
_OF_THE_KEY: Final = frozenset(
    {"build_absolute_uri", "get_host", "is_secure", "_get_scheme", "_get_raw_host", "scheme"}
)
_ACCEPT: Final = frozenset({"accepted_types", "accepted_types_by_precedence"})
_BODY: Final = frozenset({"body", "read", "readline", "readlines", "__iter__"})
_FREE_META: Final = frozenset(
    {
        "HTTP_HOST", "PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SCRIPT_NAME", "SERVER_NAME",
        "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "wsgi.url_scheme",
        "CSRF_COOKIE_NEEDS_UPDATE",
    }
)  # fmt: skip


class Record:
    """What was read: "user", "session", "cookies", "header:accept", "request.tenant" and so on."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.before = frozenset(request.__dict__)
        self._reads: set[str] = set()
        self._lazy: list[tuple[str, Any]] = []

    def note(self, what: str, value: Any = None) -> None:
        """Note a read, of something that counts once it is evaluated if it is lazy."""
        if is_lazy(value):
            self._lazy.append((what, value))
        else:
            self._reads.add(what)

    def reads(self) -> set[str]:
        """All that counts by now."""
        return self._reads | {what for what, value in self._lazy if evaluated(value)}


def is_lazy(value: Any) -> bool:
    return issubclass(type(value), LazyObject)


def evaluated(value: Any) -> bool:
    """Whether a value is there, or a lazy one has been looked at."""
    return not is_lazy(value) or object.__getattribute__(value, "__dict__")["_wrapped"] is not empty


@contextlib.contextmanager
def recording(request: HttpRequest) -> Iterator[Record]:
    """Note what the block reads of the request. Blocks may be nested: then all of them note it."""
    plain = type(request)
    record = Record(request)
    active: list[Record] | None = request.__dict__.get(_ACTIVE)
    if active is not None:
        active.append(record)
        try:
            yield record
        finally:
            active.remove(record)
        return
    request.__dict__[_ACTIVE] = [record]
    request.__class__ = _noting(plain)
    try:
        yield record
    finally:
        request.__class__ = plain
        del request.__dict__[_ACTIVE]


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


_classes: dict[type[HttpRequest], type[HttpRequest]] = {}


def _noting(cls: type[HttpRequest]) -> type[HttpRequest]:
    made = _classes.get(cls)
    if made is not None:
        return made

    def __getattribute__(self: HttpRequest, name: str) -> Any:  # noqa: N807
        return _read(self, name, functools.partial(cls.__getattribute__, self, name))

    # The name and module stay: templates and error pages show them.
    body = {
        "__getattribute__": __getattribute__,
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
    }
    return _classes.setdefault(cls, type(cls.__name__, (cls,), body))


def _read(request: HttpRequest, name: str, get: Callable[[], Any]) -> Any:
    state: dict[str, Any] = object.__getattribute__(request, "__dict__")
    records: list[Record] = state.get(_ACTIVE) or []
    if (
        not records
        or _silent.get()
        or name in _FREE
        or (name.startswith("__") and name not in _BODY)
    ):
        return get()
    if name in _OF_THE_KEY:
        return _silently(get)
    if name in ("META", "environ"):
        return _Meta(get(), request)
    if name == "headers":
        return _Headers(_silently(get), request)
    if name in ("COOKIES", "get_signed_cookie"):
        _note(records, "cookies")
    elif name in _ACCEPT:
        _note(records, "header:accept")
    elif name in _BODY:
        _note(records, "body")
    elif name == "auser":
        return _noting_auser(records, get())
    elif name in ("user", "session"):
        value = get()
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


def _note_of(request: HttpRequest, what: str) -> None:
    if not _silent.get():
        _note(request.__dict__.get(_ACTIVE) or [], what)


def _silently(get: Callable[[], Any]) -> Any:
    with unrecorded():
        value = get()
    if not callable(value):
        return value

    @functools.wraps(value)
    def call(*args: Any, **kwargs: Any) -> Any:
        with unrecorded():
            return value(*args, **kwargs)

    return call


def _noting_auser(records: list[Record], auser: Callable[[], Any]) -> Callable[[], Any]:
    noted = list(records)

    @functools.wraps(auser)
    async def call() -> Any:
        _note(noted, "user")
        with unrecorded():  # by what the user is found is no further read
            return await auser()

    return call


class _Meta(MutableMapping[str, Any]):
    """`request.META` whose reads are noted; writes reach the request."""

    def __init__(self, meta: dict[str, Any], request: HttpRequest) -> None:
        self._meta = meta
        self._request = request

    def _note(self, key: str) -> None:
        if key not in _FREE_META:
            _note_of(self._request, _meaning(key))

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return self._meta[key]

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return key in self._meta

    def __setitem__(self, key: str, value: Any) -> None:
        self._meta[key] = value

    def __delitem__(self, key: str) -> None:
        del self._meta[key]

    def __iter__(self) -> Iterator[str]:
        self._note("*")
        return iter(self._meta)

    def __len__(self) -> int:
        self._note("*")
        return len(self._meta)

    def copy(self) -> dict[str, Any]:
        self._note("*")
        return dict(self._meta)


def _meaning(key: str) -> str:
    if key == "CSRF_COOKIE":
        return "csrf token"
    if key == "HTTP_COOKIE":
        return "cookies"
    if key.startswith("HTTP_"):
        return f"header:{key[5:].replace('_', '-').lower()}"
    if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return f"header:{key.replace('_', '-').lower()}"
    return f"META:{key}"


class _Headers(MutableMapping[str, Any]):
    """`request.headers` whose reads are noted."""

    def __init__(self, headers: Any, request: HttpRequest) -> None:
        self._headers = headers
        self._request = request

    def _note(self, name: str) -> None:
        lower = name.replace("_", "-").lower()
        if lower != "host":
            what = "cookies" if lower == "cookie" else f"header:{lower}"
            _note_of(self._request, what)

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return self._headers[name]

    def __contains__(self, name: object) -> bool:
        self._note(str(name))
        return name in self._headers

    def __setitem__(self, name: str, value: Any) -> None:
        raise TypeError("request headers cannot be set")

    def __delitem__(self, name: str) -> None:
        raise TypeError("request headers cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        self._note("*")
        return iter(self._headers)

    def __len__(self) -> int:
        self._note("*")
        return len(self._headers)
