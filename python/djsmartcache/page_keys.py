"""What the key of a page is made of.

It has method, scheme, host, path, query, language, time zone, the state of a class-based view and
the declared `vary`; a page that varies on headers has a second key with these as well. A function
that takes a request and gives something else than a response has the key of a plain function.
Whether a page may be stored or served is for `views` to say.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.http import HttpRequest, QueryDict
from django.http.request import HttpHeaders
from django.template.context import BaseContext
from django.utils import timezone, translation
from django.views import View

from . import identities, keys, namesakes, prefixes
from .computing import Job
from .exceptions import UnkeyableArgument
from .recording import recording
from .records import evaluated, is_lazy, note, state_of, unrecorded
from .request_items import meaning

_MASK = (1 << 64) - 1
_SECRET: Final = frozenset({"request.auth", "cookies", "session"})  # not spelled out in a key
_DEPTH: Final = 3  # of containers searched for a request
_NOT_STATE: Final = frozenset({"request", "args", "kwargs", "head"})
# Which REST framework makes of the view's class and of the request's headers that it has read.
_NOT_STATE_OF_REST: Final = frozenset({"_negotiator", "_paginator", "_metadata", "response"})
# What its requests have: in the key, recorded where it is read, or the same for all of a view.
_OF_REST_REQUEST: Final = frozenset(
    {
        "_request", "parsers", "authenticators", "negotiator", "parser_context", "_data", "_files",
        "_full_data", "_content_type", "_stream", "_user", "_auth", "_authenticator",
        "accepted_renderer", "accepted_media_type", "version", "versioning_scheme",
        "csrf_processing_done", "_read_started", "_messages", "_parsed_accept_list",
    }
)  # fmt: skip


def request_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The request among the arguments of a call, or inside of one of them; else None."""
    for value in (*args, *kwargs.values()):
        if _is_request(value):
            return value
    for value in (*args, *kwargs.values()):
        found = _request_inside(value, _DEPTH)
        if found is not None:
            return found
    return None


def _is_request(value: Any) -> bool:
    return isinstance(value, HttpRequest) or identities.is_wrapped_request(value)


def _request_inside(value: Any, depth: int) -> Any:
    parts: Any
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif isinstance(value, BaseContext):
        parts = (getattr(value, "request", None), *getattr(value, "dicts", ()))
    else:
        return None
    for part in parts:
        if _is_request(part):
            return part
        found = _request_inside(part, depth - 1) if depth else None
        if found is not None:
            return found
    return None


def named(steps: Sequence[keys.Step]) -> str:
    """As what a field of a key template, such as `request.user.pk`, is noted."""
    name = str(steps[0][1])
    item = str(steps[1][1]) if len(steps) > 1 else ""
    if name == "user":
        return name
    if not item:
        return f"request.{name}"
    made = {
        "COOKIES": f"cookie:{item}",
        "session": f"session:{item}",
        "headers": f"header:{item.replace('_', '-').lower()}",
        "META": meaning(item),
    }
    return made.get(name, f"request.{name}.{item}")


class Bypass(UnkeyableArgument):
    """What visitors bring has no stable identity: their requests go past the cache."""


class _Unknown:
    """In place of a user whom no key can show; making one of it is refused."""


Values = Sequence[tuple[str, Any]]
"""What a key has besides the arguments, by name."""


class PageKeys:
    """The keys of one call of a cached view.

    Args:
        request: Django's, or one around it.
        instance: Of a class-based view, else None.
        args: What the view was called with.
        job: The call; its key is that of the view and its arguments, without the request.
        vary: `"user"` and callables of the arguments.
        named: What the key names of the request, as `Record` notes it.
    """

    def __init__(
        self,
        request: Any,
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        job: Job,
        *,
        vary: Sequence[str | Callable[..., Any]],
        named: Sequence[str],
    ) -> None:
        self.given = request
        self.instance = instance
        self.request: HttpRequest = (
            request if isinstance(request, HttpRequest) else request._request
        )
        self.args = args
        self.kwargs = kwargs
        self.view_job = job
        self.vary = vary
        self.host = ""
        """Once it is known to be allowed; until then the request is asked."""
        self.declared: set[str] = set(named)
        """What may be read because the key has it."""
        note(self.request, *named)  # which is how an outer view reads it
        self.names: frozenset[str] = frozenset()
        """Headers that the key has."""
        self.lazies: list[tuple[str, Any]] = []
        """Lazy objects found in the view's state, which count once they are evaluated."""

    # --- the key

    def base_key(self, values: Values) -> tuple[bytes, int]:
        """The key without headers, and the fingerprint of what it was made of.

        Raises:
            UnkeyableArgument: Something in it has no stable identity.
        """
        request = self.request
        with unrecorded():
            state, meta = state_of(request), request.META
            drf = None if self.given is request else self.given
            renderer = getattr(drf, "accepted_renderer", None)
            parts = (
                request.method,
                request.scheme,
                self.host or request.get_host(),
                request.path,
                request.path_info,
                str(meta.get("SCRIPT_NAME", "")),
                str(getattr(request, "script_name", "")),
                meta.get("QUERY_STRING", ""),
                str(meta.get("PATH_INFO", "")),
                # HEAD is answered from the page that was got.
                sent
                if (sent := meta.get("REQUEST_METHOD")) not in (request.method, "HEAD")
                else "",
                request.encoding,
                translation.get_language(),
                str(state.get("LANGUAGE_CODE")),
                str(getattr(request, "urlconf", None)),
                str(getattr(request, "current_app", None)),
                (str(getattr(renderer, "media_type", "")), str(getattr(renderer, "format", ""))),
                str(getattr(drf, "accepted_media_type", None)),
                str(getattr(drf, "version", None)),
            )
            query = self._replaced_query()
        text = identities.render(parts)
        values = [*values, ("the time zone", timezone.get_current_timezone())]
        if query is not None:
            values.append(("request.GET", query))
        more, fingerprint = self._identified(values)
        plain = self.view_job.key.removeprefix(prefixes.prefix())
        identity = (self.view_job.identity * 31 + fingerprint) & _MASK
        made = keys.shorten(b"\0view:" + plain + b"|" + text + more, made=True)
        return prefixes.prefix() + made, identity

    def data_job(self, values: Values) -> Job:
        """The call of a function that gives something else than a response."""
        more, fingerprint = self._identified(values)
        if not more:
            return self.view_job
        plain = self.view_job.key.removeprefix(prefixes.prefix())
        key = prefixes.prefix() + keys.shorten(plain + b"|" + more, made=True)
        identity = (self.view_job.identity * 31 + fingerprint) & _MASK
        return dataclasses.replace(self.view_job, key=key, identity=identity)

    def _identified(self, values: Values) -> tuple[bytes, int]:
        """Text and fingerprint of the state of the view and of what varies."""
        text, fingerprint = b"", 0
        of_view = self.instance is not None
        if of_view:
            cls = type(self.instance)
            if not namesakes.is_own_class(cls):
                raise Bypass(f"two classes are called {namesakes.full_name(cls)}")
            text += b"|" + identities.render(namesakes.full_name(cls))
        for name, value in (*self._state(), *values):
            try:
                part, mark = identities.identify(name, value)
            except UnkeyableArgument:
                if name == "vary":
                    raise
                raise Bypass(f"{name} has no stable identity") from None
            if name in _SECRET:
                part = hashlib.sha256(part).hexdigest().encode()
            text += b"|" + identities.render(name) + part
            fingerprint = (fingerprint * 31 + mark) & _MASK
        return text, fingerprint

    def _state(self) -> list[tuple[str, Any]]:
        """What has been put on a class-based view before: by `setup`, `dispatch` and mixins."""
        found: list[tuple[str, Any]] = []
        self.lazies = []
        if self.given is not self.request:
            for name, value in vars(self.given).items():
                if name not in _OF_REST_REQUEST:
                    self._add_state(found, f"request.{name}", value)
        if not isinstance(self.instance, View):
            return found
        skipped = _NOT_STATE if self.given is self.request else _NOT_STATE | _NOT_STATE_OF_REST
        constant = self._of_the_route()
        for name, value in vars(self.instance).items():
            if value is self.given or value is self.request or constant.get(name, self) is value:
                continue
            if name in skipped and not (name == "kwargs" and value != self.kwargs):
                continue
            self._add_state(found, f"self.{name}", value)
        return found

    def _add_state(self, found: list[tuple[str, Any]], name: str, value: Any) -> None:
        is_user = value is state_of(self.request).get("user")
        if is_lazy(value) and (is_user or not evaluated(value)):
            self.lazies.append(("user" if is_user else name, value))
            return
        if callable(value) and getattr(value, "__self__", None) is self.instance is not None:
            # A view set has them by their routes.
            value = getattr(value, "__qualname__", getattr(value, "__name__", None))
        found.append((name, value))

    def _of_the_route(self) -> dict[str, Any]:
        """What `as_view` was given: the same for all requests of this path."""
        match = state_of(self.request).get("resolver_match")
        for function in inside(getattr(match, "func", None)):
            known = getattr(function, "view_initkwargs", None) or getattr(
                function, "initkwargs", None
            )
            if isinstance(known, dict):
                return known
        return {}

    def _replaced_query(self) -> Any:
        """`request.GET` if it is not what the URL says: middleware may have put it there."""
        request, given = self.request, state_of(self.request).get("GET")
        if given is None:
            return None
        raw = request.META.get("QUERY_STRING", "")
        if hasattr(request, "environ"):
            raw = raw.encode("latin-1", "replace")
            own = QueryDict(raw, encoding=request.encoding)
        else:
            own = QueryDict(raw)
        if type(given) is QueryDict and list(given.lists()) == list(own.lists()):
            return None
        return list(given.lists()) if type(given) is QueryDict else given

    # --- what it varies by

    def declared_values(self) -> list[tuple[str, Any]]:
        """What the key has for `vary`, by name; notes what that covers."""
        values = [("vary", self._declared_value(each)) for each in self.vary if callable(each)]
        values += self._whole_cookies()
        if "session" in self.declared:
            values.append(("session", self._whole_session()))
        if "user" in self.vary or "user" in self.declared:
            self.declared.add("user")
            note(self.request, "user")
            with unrecorded():
                values += self._of_user(getattr(self.given, "user", None))
        return values

    def _declared_value(self, vary: Callable[..., Any]) -> Any:
        with recording(self.request) as record:
            value = vary(*self._of_vary(), **self.kwargs)
            if inspect.isawaitable(value):
                cast("Any", value).close()
                raise TypeError("vary= of a synchronous view is a synchronous callable.")
            self.declared |= record.reads() | record.of_pages
        return value

    async def adeclared_values(self) -> list[tuple[str, Any]]:
        values = [
            ("vary", await self._adeclared_value(each)) for each in self.vary if callable(each)
        ]
        values += self._whole_cookies()
        if "session" in self.declared:
            values.append(("session", await sync_to_async(self._whole_session)()))
        if "user" in self.vary or "user" in self.declared:
            self.declared.add("user")
            note(self.request, "user")
            with unrecorded():
                auser = getattr(self.request, "auser", None)
                if self.given is self.request and auser is not None:
                    user = await auser()
                else:
                    user = await sync_to_async(
                        lambda: _evaluate(getattr(self.given, "user", None))
                    )()
                values += self._of_user(user)
                # Django finds it anew for each of `user` and `auser`.
                for name in ("_cached_user", "_acached_user"):
                    state_of(self.request).setdefault(name, _evaluate(user))
        return values

    async def _adeclared_value(self, vary: Callable[..., Any]) -> Any:
        with recording(self.request) as record:
            value = vary(*self._of_vary(), **self.kwargs)
            if inspect.isawaitable(value):
                value = await value
            self.declared |= record.reads() | record.of_pages
        return value

    def _whole_cookies(self) -> list[tuple[str, Any]]:
        """What is looked at as a whole, be it to see that it is empty, is in the key as a whole."""
        if "cookies" not in self.declared:
            return []
        with unrecorded():
            return [("cookies", self._header("cookie"))]

    def _whole_session(self) -> Any:
        session: Any = state_of(self.request).get("session")
        if session is None:
            return None
        with unrecorded():
            return session.session_key, dict(session.items())

    def _of_vary(self) -> tuple[Any, ...]:
        """The arguments as a view function has them: without the instance."""
        of_instance = self.args and self.args[0] is self.instance
        return self.args[1:] if of_instance and isinstance(self.instance, View) else self.args

    def _of_user(self, user: Any) -> list[tuple[str, Any]]:
        known: Any = _Unknown()
        with contextlib.suppress(UnkeyableArgument):
            known = identities.user_text(_evaluate(user))
        # Two credentials of one user may allow different things.
        credentials = self.request.META.get("HTTP_AUTHORIZATION")
        hashed = credentials and hashlib.sha256(credentials.encode()).hexdigest()
        values = [("user", (known, hashed))]
        auth = None if self.given is self.request else getattr(self.given, "auth", None)
        return values if auth is None else [*values, ("request.auth", auth)]

    def with_headers(self, base: Job, names: frozenset[str]) -> Job:
        """The job under the key that has the values of these headers."""
        self.names = names
        note(self.request, *(f"header:{name}" if name != "cookie" else "cookies" for name in names))
        prefix = prefixes.prefix()
        with unrecorded():
            values = tuple((name, *self._header(name)) for name in sorted(names))
        rest = base.key.removeprefix(prefix) + b"|" + identities.render(values)
        return dataclasses.replace(base, key=prefix + keys.shorten(rest, made=True))

    def _header(self, name: str) -> tuple[Any, ...]:
        request = self.request
        both = (request.headers.get(name), request.META.get(HttpHeaders.to_wsgi_name(name)))
        if name == "cookie":  # which middleware may have added to
            return *both, tuple(sorted((k, str(v)) for k, v in request.COOKIES.items()))
        return both


def inside(function: Any) -> Iterator[Any]:
    """A function and what decorators have wrapped in it."""
    while function is not None:
        yield function
        inner = getattr(function, "__wrapped__", None)
        function = inner if inner is not None else getattr(function, "func", None)


def _evaluate(user: Any) -> Any:
    if is_lazy(user):
        user.__class__  # noqa: B018 - evaluates it
        return object.__getattribute__(user, "__dict__")["_wrapped"]
    return user
