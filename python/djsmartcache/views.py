"""Cached views: what a response's key is, and when one may be stored or served.

The key has method, scheme, host, full path, language, time zone and the declared `vary`. A response
that varies on headers is stored under a key that has these as well; under the first key lies their
list. One whose making read anything else of the request is not stored (`recording`), and a request
that came with such things already used is neither answered from the cache nor stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    SuspiciousOperation,
)
from django.db.models import Model
from django.http import Http404, HttpRequest
from django.utils import timezone, translation

from . import _core, computing, explicit, keys, prefixes, process, responses
from .computing import Found, Job, Leading
from .recording import Record, evaluated, is_lazy, recording, unrecorded

_MASK = (1 << 64) - 1


def request_in(args: tuple[Any, ...]) -> Any:
    """The request of a view's arguments: the first, or the second of a method; else None."""
    for value in args[:2]:
        if isinstance(value, HttpRequest) or keys.is_wrapped_request(value):
            return value
    return None


class CachedView:
    """One call of a cached view.

    Args:
        request: Django's, or one around it.
        instance: Of a class-based view, else None.
        args: What the view was called with.
        job: The call; its key is that of the view and its arguments, without the request.
        vary: `"user"` and callables of the arguments.
        cache_errors: Whether 404 and 410 are stored.
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
        cache_errors: bool,
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
        self.cache_errors = cache_errors
        self._host = ""
        self.declared: set[str] = set()
        """What may be read because the key has it."""
        self.names: frozenset[str] = frozenset()
        """Headers that the key has."""

    # --- the key

    def base_key(self, values: Sequence[Any] | None = None) -> tuple[bytes, int]:
        """The key without headers, and the fingerprint of what it was made of."""
        if values is None:
            values = [self._declared_value(each) for each in self.vary]
        request = self.request
        drf = None if self.given is request else self.given
        renderer = getattr(drf, "accepted_renderer", None)
        parts = (
            request.method,
            request.scheme,
            self._host or request.get_host(),
            request.get_full_path(),
            translation.get_language(),
            timezone.get_current_timezone_name(),
            str(getattr(request, "urlconf", None)),
            str(getattr(request, "current_app", None)),
            None if self.instance is None else keys.full_name(type(self.instance)),
            (str(getattr(renderer, "media_type", "")), str(getattr(renderer, "format", ""))),
            str(getattr(drf, "version", None)),
        )
        text, fingerprint = keys.render(parts), 0
        for value in values:
            part, mark = keys.identify("vary", value, function="vary")
            text += b"|" + part
            fingerprint = (fingerprint * 31 + mark) & _MASK
        prefix = prefixes.prefix()
        plain = self.view_job.key.removeprefix(prefix)
        identity = (self.view_job.identity * 31 + fingerprint) & _MASK
        return prefix + keys.shorten(b"\0view:" + plain + b"|" + text, made=True), identity

    def _declared_value(self, vary: str | Callable[..., Any]) -> Any:
        """What the key has for one part of `vary`; notes what it covers."""
        with recording(self.request) as record:
            if callable(vary):
                value = vary(*self.args, **self.kwargs)
                if inspect.isawaitable(value):
                    cast("Any", value).close()
                    raise TypeError("vary= of a synchronous view is a synchronous callable.")
            else:
                self.declared.add("user")
                with unrecorded():
                    value = self._user_part(getattr(self.given, "user", None))
        self.declared |= record.reads()
        return value

    async def _adeclared_value(self, vary: str | Callable[..., Any]) -> Any:
        with recording(self.request) as record:
            if callable(vary):
                value = vary(*self.args, **self.kwargs)
                if inspect.isawaitable(value):
                    value = await value
            else:
                self.declared.add("user")
                with unrecorded():
                    auser = getattr(self.request, "auser", None)
                    if self.given is self.request and auser is not None:
                        user = await auser()
                    else:
                        user = await sync_to_async(
                            lambda: _evaluate(getattr(self.given, "user", None))
                        )()
                    value = self._user_part(user)
                    # Django finds it anew for each of `user` and `auser`.
                    for name in ("_cached_user", "_acached_user"):
                        self.request.__dict__.setdefault(name, _evaluate(user))
        self.declared |= record.reads()
        return value

    def _user_part(self, user: Any) -> Any:
        user = _evaluate(user)
        known = user if getattr(user, "is_authenticated", False) else None
        if known is not None and not isinstance(known, Model):
            # Of a token or another service: known by what stands for the primary key.
            known = (keys.full_name(type(known)), str(known.pk))
        # Two credentials of one user may allow different things.
        credentials = self.request.META.get("HTTP_AUTHORIZATION")
        return known, credentials and hashlib.sha256(credentials.encode()).hexdigest()

    def _private_already(self) -> str:
        """What of the request was used before the view, and is not in the key; "" for nothing."""
        request, state = self.request, self.request.__dict__
        if "user" not in self.declared:
            user = state.get("user")
            wrapped = self.given is not request
            known = user is not None and evaluated(user) and not wrapped
            # REST framework authenticates before the handler; without a way to, it sets a constant.
            if wrapped and getattr(self.given, "authenticators", None):
                known = True
            if known or "_cached_user" in state or "_acached_user" in state:
                return "the user was read before the view"
            if "HTTP_AUTHORIZATION" in request.META and "header:authorization" not in self.declared:
                return "Authorization"
            session = state.get("session")
            used = getattr(session, "accessed", False) or getattr(session, "modified", False)
            if used and "session" not in self.declared:
                return "the session was read before the view"
        if request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
            return "csrf token"
        if hasattr(state.get("_messages"), "_loaded_data"):
            return "messages were read before the view"
        return ""

    def _refusal_before(self) -> tuple[str, str]:
        """Cache-Status for a request that the cache has no part in: (fwd, detail)."""
        if self.request.method not in ("GET", "HEAD"):
            return "fwd=method", ""
        try:
            self._host = self.request.get_host()
        except DisallowedHost:
            return "fwd=bypass", "host"
        return "", ""

    def _job(self, key: bytes, identity: int) -> Job:
        recipe = dataclasses.replace(
            self.view_job.recipe, condition=_is_stored_form, cache_none=True
        )
        return dataclasses.replace(self.view_job, key=key, identity=identity, recipe=recipe)

    def _with_headers(self, base: Job, names: frozenset[str]) -> Job:
        """The job under the key that has the values of these headers."""
        self.names = names
        values = tuple((name, self.request.headers.get(name)) for name in sorted(names))
        prefix = prefixes.prefix()
        rest = base.key.removeprefix(prefix) + b"|" + keys.render(values)
        return dataclasses.replace(base, key=prefix + keys.shorten(rest, made=True))

    # --- threads

    def respond(self) -> Any:
        """The response, from the cache or of the view."""
        fwd, detail = self._refusal_before()
        if not fwd:
            values = [self._declared_value(each) for each in self.vary]
            fwd, detail = ("", "") if not (why := self._private_already()) else ("fwd=bypass", why)
        if fwd:
            response = self.view_job.compute()
            responses.tell(response, fwd, detail=detail)
            return response
        base = self._job(*self.base_key(values))
        for got in self._of_get(values):
            packed = explicit.read(got.key, None, got.identity)
            if responses.is_packed(packed):
                return self._served(packed)
        job = base
        while True:
            found = computing.look(job)
            if isinstance(found, Found):
                names = responses.marked(found.value)
                if names is not None and not self.names:
                    job = self._with_headers(base, names)
                    continue
                return self._served(found.value, found.source)
            return self._compute(base, job, found)

    def _compute(self, base: Job, job: Job, answer: _core.Answer | None) -> Any:
        if answer is None:
            response = self.view_job.compute()
            responses.tell(response, "fwd=bypass")
            return response
        try:
            with Leading(job, answer) as leading:
                self._begin(leading, base, job)
                leading.declare()
                with self._watching() as record:
                    response = self._rendered(self._of_view(self.view_job.compute))
                return self._finished(leading, base, job, record, response)
        except Exception as error:
            return self._stale(job, answer, error)

    def _of_view(self, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except Http404 as error:
            if not self.cache_errors:
                raise
            return error

    # --- tasks

    async def arespond(self) -> Any:
        """As `respond`, for a coroutine function."""
        fwd, detail = self._refusal_before()
        if not fwd:
            values = [await self._adeclared_value(each) for each in self.vary]
            fwd, detail = ("", "") if not (why := self._private_already()) else ("fwd=bypass", why)
        if fwd:
            response = await self.view_job.compute()
            responses.tell(response, fwd, detail=detail)
            return response
        base = self._job(*self.base_key(values))
        for got in self._of_get(values):
            packed = await process.run(explicit.read, got.key, None, got.identity)
            if responses.is_packed(packed):
                return self._served(packed)
        job = base
        while True:
            found = await computing.alook(job)
            if isinstance(found, Found):
                names = responses.marked(found.value)
                if names is not None and not self.names:
                    job = self._with_headers(base, names)
                    continue
                return self._served(found.value, found.source)
            return await self._acompute(base, job, found)

    async def _acompute(self, base: Job, job: Job, answer: _core.Answer | None) -> Any:
        if answer is None:
            response = await self.view_job.compute()
            responses.tell(response, "fwd=bypass")
            return response
        try:
            with Leading(job, answer, threaded=True) as leading:
                await process.run(self._begin, leading, base, job)
                await process.run(leading.declare)
                with self._watching() as record:
                    response = await self._aof_view(self.view_job.compute)
                    response = await sync_to_async(self._rendered)(response)
                return await process.run(self._finished, leading, base, job, record, response)
        except Exception as error:
            return self._stale(job, answer, error)

    async def _aof_view(self, compute: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await compute()
        except Http404 as error:
            if not self.cache_errors:
                raise
            return error

    # --- both

    def _stale(self, job: Job, answer: _core.Answer, error: Exception) -> Any:
        """Serve the old page where making a new one failed, and not where it was refused."""
        refused = isinstance(error, Http404 | PermissionDenied | SuspiciousOperation | BadRequest)
        if refused or 400 <= getattr(error, "status_code", 500) < 500:
            raise error
        return self._served(computing.stale_instead(job, answer, error), "stale")

    def _of_get(self, values: Sequence[Any]) -> Iterator[Job]:
        """Where the answer to HEAD lies if the page was got: without headers, then with."""
        if self.request.method != "HEAD":
            return
        self.request.method = "GET"
        try:
            base = self._job(*self.base_key(values))
        finally:
            self.request.method = "HEAD"
        yield base
        names = responses.marked(explicit.read(base.key, None, base.identity))
        if names is not None:
            yield self._with_headers(base, names)
            self.names = frozenset()

    def _begin(self, leading: Leading, base: Job, job: Job) -> None:
        """Depend on the first key: dropping it drops what lies under the keys with headers."""
        if job is not base:
            leading.computation.take([_core.key_tag(base.key)])

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Record]:
        session = self.request.__dict__.get("session")
        before = getattr(session, "accessed", False)
        with recording(self.request) as record:
            if session is not None and hasattr(session, "accessed"):
                session.accessed = False
            try:
                yield record
            finally:
                if session is not None and hasattr(session, "accessed"):
                    if session.accessed:
                        record.note("session")
                    session.accessed = session.accessed or before

    def _rendered(self, response: Any) -> Any:
        """Render what renders later, so that its reads and queries are seen."""
        if hasattr(response, "accepted_renderer") or not callable(
            getattr(response, "render", None)
        ):
            pass
        elif self.given is not self.request and hasattr(self.given, "accepted_renderer"):
            # REST framework does this after the handler has returned.
            response.accepted_renderer = self.given.accepted_renderer
            response.accepted_media_type = self.given.accepted_media_type
            response.renderer_context = (
                self.instance.get_renderer_context() if self.instance is not None else {}
            )
        if callable(getattr(response, "render", None)):
            response = response.render()
        return response

    def _finished(
        self, leading: Leading, base: Job, job: Job, record: Record, response: Any
    ) -> Any:
        """Store the response if it may be; gives what to answer with."""
        why = self._why_not(record, response)
        condition = self.view_job.recipe.condition
        if isinstance(response, Http404):
            # That it is raised is stored, not the page: Django makes that for each request anew.
            if why:
                leading.refuse()
            else:
                leading.store(responses.pack_404(response))
            raise response
        if not why and condition is not None and not condition(response):
            why = "condition"
        if why:
            leading.refuse()
            responses.tell(response, "fwd=miss", detail=why)
            return response
        packed = responses.pack(response)
        names = responses.varies_on(response)
        if names <= self.names:
            stored = leading.store(packed)
        elif job is base:
            stored = self._store_apart(leading, base, names, packed)
        else:
            # The view varies on more than was known: the next request finds the longer list.
            leading.refuse()
            stored = False
            explicit.write(base.key, responses.marker(names | self.names), base.recipe.lifetime())
        responses.tell(response, "fwd=miss", *(["stored"] if stored else []))
        return responses.conditional(self.request, response)

    def _store_apart(
        self, leading: Leading, base: Job, names: frozenset[str], packed: responses.Packed
    ) -> bool:
        """Store the list of headers under the first key, the response under the one with them."""
        job = self._with_headers(base, names)
        own = (_core.key_tag(base.key), leading.lead.key_token)
        answer = process.cache().find(job.key, identity=job.identity, lock=False, wait=False)
        stored = False
        if answer.lead is not None:
            stored = leading.store(packed, extra=[own], lead=answer.lead)
        return leading.store(responses.marker(names)) and stored

    def _why_not(self, record: Record, response: Any) -> str:
        varies: frozenset[str] = frozenset()
        if not isinstance(response, Http404):
            why = responses.refusal(response, cache_errors=self.cache_errors)
            if why:
                return why
            varies = responses.varies_on(response)
        allowed = {*self.declared, *(f"header:{name}" for name in varies)}
        if "cookie" in varies:
            allowed.add("cookies")
        private = sorted(record.reads() - allowed)
        state = self.request.__dict__
        if (
            not private
            and "user" not in self.declared
            and _newly(record, "_cached_user", "_acached_user")
        ):
            private = ["user"]
        if not private and self.request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
            private = ["csrf token"]
        if not private and getattr(state.get("session"), "modified", False):
            private = ["session, changed"]
        messages = state.get("_messages")
        if not private and (
            getattr(messages, "added_new", False) or getattr(messages, "used", False)
        ):
            private = ["messages"]
        return f"read {', '.join(private)}: not in the key" if private else ""

    def _served(self, packed: Any, source: str = "") -> Any:
        responses.raise_404(packed)
        response = responses.unpack(packed)
        responses.tell(response, "hit", detail=source)
        return responses.conditional(self.request, response)


def _newly(record: Record, *names: str) -> bool:
    return any(n in record.request.__dict__ and n not in record.before for n in names)


def _evaluate(user: Any) -> Any:
    if is_lazy(user):
        user.__class__  # noqa: B018 - evaluates it
        return object.__getattribute__(user, "__dict__")["_wrapped"]
    return user


def _is_stored_form(value: Any) -> bool:
    return isinstance(value, tuple)
