"""The way of a cached view: when a response may be stored or served.

What its keys are made of is in `page_keys`. A response that varies on headers is stored under a key
that has these as well; under the first key lies their list. One whose making read anything else of
the request is not stored (`recording`), and a request that came with such things already used is
neither answered from the cache nor stored. Of a function that takes a request and gives something
else than a response, all that it reads of the request counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    SuspiciousOperation,
)
from django.http import Http404
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from . import _core, computing, explicit, keys, process, responses
from .computing import Found, Job, Leading
from .page_keys import Bypass, PageKeys, Values, inside
from .page_privacy import Privacy, reads_of, refusals
from .recording import recording
from .records import Record, note_page, state_of, unrecorded

logger = logging.getLogger("djsmartcache")


class Kind:
    """What is known of a function that takes a request. Learned from what it gives."""

    def __init__(self) -> None:
        self.gives_data: bool | None = None
        self.told = False
        """Whether it has been logged that its results cannot be stored."""


class CachedView:
    """One call of a cached view.

    Args:
        request: Django's, or one around it.
        instance: Of a class-based view, else None.
        args: What the view was called with.
        job: The call; its key is that of the view and its arguments, without the request.
        vary: `"user"` and callables of the arguments.
        named: What the key names of the request, as `Record` notes it.
        cache_errors: Whether 404 and 410 are stored.
        kind: Of the function.
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
        cache_errors: bool,
        kind: Kind,
    ) -> None:
        self.given = request
        self.instance = instance
        self.view_job = job
        self.cache_errors = cache_errors
        self.kind = kind
        self.page_keys = PageKeys(request, instance, args, kwargs, job, vary=vary, named=named)
        self.request = self.page_keys.request
        self.privacy = Privacy(request, self.page_keys)

    # --- what the cache has no part in

    def _refusal_before(self) -> tuple[str, str]:
        """Cache-Status for a request that the cache has no part in: (fwd, detail)."""
        note_page(self.request)
        with unrecorded():
            if self.request.method not in ("GET", "HEAD"):
                return "fwd=method", ""
            try:
                self.page_keys.host = self.request.get_host()
            except DisallowedHost:
                return "fwd=bypass", "host"
        return "", ""

    def _is_safe(self) -> bool:
        """Whether the request asks for nothing to be done."""
        with unrecorded():
            return self.request.method in ("GET", "HEAD", None)

    def _prepared(self, values: Values) -> tuple[Job | None, str]:
        """The job under the first key; else None and why there is none."""
        if why := self.privacy.used_before():
            return None, why
        try:
            return self._job(*self.page_keys.base_key(values)), ""
        except Bypass as error:
            return None, str(error)

    def _job(self, key: bytes, identity: int) -> Job:
        recipe = dataclasses.replace(
            self.view_job.recipe,
            condition=_is_stored_form,
            cache_none=True,
            # Nobody waits for a page that will not be shared.
            lock=self.view_job.recipe.lock and key not in refusals,
        )
        return dataclasses.replace(self.view_job, key=key, identity=identity, recipe=recipe)

    # --- threads

    def respond(self) -> Any:
        """The response, from the cache or of the view."""
        if self.kind.gives_data:
            if not self._is_safe():
                return self._learn(self.view_job.compute())
            try:
                job = self.page_keys.data_job(self.page_keys.declared_values())
            except Bypass:
                return self._learn(self.view_job.compute())
            return self._give(job)
        fwd, why = self._refusal_before()
        base = None
        if not fwd:
            values = self.page_keys.declared_values()
            base, why = self._prepared(values)
            fwd = "" if base is not None else "fwd=bypass"
        if base is None:
            return self._past(self.view_job.compute(), fwd, why)
        for got in self._of_get(values):
            packed = explicit.read(got.key, None, got.identity)
            if responses.is_packed(packed):
                return self._served(packed)
        job = base
        for _ in range(3):
            found = computing.look(job, wait=base.key not in refusals)
            if not isinstance(found, Found):
                return self._compute(base, job, found, values)
            if (names := self._further(found.value)) is not None:
                job = self.page_keys.with_headers(base, names)
            elif self._is_servable(found.value):
                return self._served(found.value, found.source)
            else:  # somebody has put it there
                process.delete([job.key])
        return self._past(self.view_job.compute(), "fwd=bypass", "")

    def _compute(self, base: Job, job: Job, answer: _core.Answer | None, values: Values) -> Any:
        if answer is None:
            return self._past(self.view_job.compute(), "fwd=bypass", "")
        try:
            with Leading(job, answer) as leading:
                self._begin(leading, base, job, values)
                leading.declare()
                with self._watching() as record:
                    response = self._of_view(self.view_job.compute)
                    if self._renders_later(response):
                        return self._when_rendered(leading, base, answer, record, response)
                    response = self._rendered(response)
                return self._finished(leading, base, [record], response, values)
        except Exception as error:
            return self._stale(job, answer, error)

    def _of_view(self, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except Http404 as error:
            if not self.cache_errors:
                raise
            return error

    def _give(self, job: Job) -> Any:
        """The value of a function that gives something else than a response."""
        found = computing.look(job)
        if isinstance(found, Found):
            return found.value
        if found is None:
            return self._learn(self.view_job.compute())
        try:
            with Leading(job, found) as leading:
                leading.declare()
                with self._watching() as record:
                    value = computing.settle(self.view_job.compute())
                return self._kept(leading, record, value)
        except Exception as error:
            return computing.stale_instead(job, found, error)

    # --- tasks

    async def arespond(self) -> Any:
        """As `respond`, for a coroutine function."""
        if self.kind.gives_data:
            if not self._is_safe():
                return self._learn(await self.view_job.compute())
            try:
                job = self.page_keys.data_job(await self.page_keys.adeclared_values())
            except Bypass:
                return self._learn(await self.view_job.compute())
            return await self._agive(job)
        fwd, why = self._refusal_before()
        base = None
        if not fwd:
            values = await self.page_keys.adeclared_values()
            base, why = self._prepared(values)
            fwd = "" if base is not None else "fwd=bypass"
        if base is None:
            return self._past(await self.view_job.compute(), fwd, why)
        for got in self._of_get(values):
            packed = await process.run(explicit.read, got.key, None, got.identity)
            if responses.is_packed(packed):
                return self._served(packed)
        job = base
        for _ in range(3):
            found = await computing.alook(job, wait=base.key not in refusals)
            if not isinstance(found, Found):
                return await self._acompute(base, job, found, values)
            if (names := self._further(found.value)) is not None:
                job = self.page_keys.with_headers(base, names)
            elif self._is_servable(found.value):
                return self._served(found.value, found.source)
            else:
                await process.run(process.delete, [job.key])
        return self._past(await self.view_job.compute(), "fwd=bypass", "")

    async def _acompute(
        self, base: Job, job: Job, answer: _core.Answer | None, values: Values
    ) -> Any:
        if answer is None:
            return self._past(await self.view_job.compute(), "fwd=bypass", "")
        try:
            with Leading(job, answer, threaded=True) as leading:
                await process.run(self._begin, leading, base, job, values)
                await process.run(leading.declare)
                with self._watching() as record:
                    response = await self._aof_view(self.view_job.compute)
                    if self._renders_later(response):
                        return self._when_rendered(leading, base, answer, record, response)
                    if not isinstance(response, HttpResponseBase | Http404):
                        response = await computing.asettle(response)
                    response = await sync_to_async(self._rendered)(response)
                return await process.run(self._finished, leading, base, [record], response, values)
        except Exception as error:
            return await process.run(self._stale, job, answer, error)

    async def _aof_view(self, compute: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await compute()
        except Http404 as error:
            if not self.cache_errors:
                raise
            return error

    async def _agive(self, job: Job) -> Any:
        found = await computing.alook(job)
        if isinstance(found, Found):
            return found.value
        if found is None:
            return self._learn(await self.view_job.compute())
        try:
            with Leading(job, found, threaded=True) as leading:
                await process.run(leading.declare)
                with self._watching() as record:
                    value = await computing.asettle(await self.view_job.compute())
                return await process.run(self._kept, leading, record, value)
        except Exception as error:
            return computing.stale_instead(job, found, error)

    # --- both

    def _learn(self, result: Any) -> Any:
        if not isinstance(result, Http404):
            self.kind.gives_data = not isinstance(result, HttpResponseBase)
        return result

    def _past(self, response: Any, fwd: str, detail: str) -> Any:
        """Answer with what the view gave, which the cache has no part in."""
        responses.tell(self._learn(response), fwd, detail=detail)
        return response

    def _further(self, value: Any) -> frozenset[str] | None:
        """Names of the headers under which to look on; None: this is the end."""
        return None if self.page_keys.names else responses.marked(value)

    def _is_servable(self, value: Any) -> bool:
        return responses.is_packed(value) or responses.is_404(value)

    def _stale(self, job: Job, answer: _core.Answer, error: Exception) -> Any:
        """Serve the old page where making a new one failed, and not where it was refused."""
        refused_it = isinstance(
            error, Http404 | PermissionDenied | SuspiciousOperation | BadRequest
        )
        if refused_it or 400 <= getattr(error, "status_code", 500) < 500:
            raise error
        if (names := self._further(answer.value)) is not None:
            job = self.page_keys.with_headers(job, names)
            answer = process.cache().find(
                job.key, identity=job.identity, lock=False, wait=False, stale=True
            )
        if not self._is_servable(answer.value):
            raise error
        return self._served(computing.stale_instead(job, answer, error), "stale")

    def _of_get(self, values: Values) -> Iterator[Job]:
        """Where the answer to HEAD lies if the page was got: without headers, then with."""
        if self.request.method != "HEAD":
            return
        self.request.method = "GET"
        try:
            base = self._job(*self.page_keys.base_key(values))
        finally:
            self.request.method = "HEAD"
        yield base
        names = responses.marked(explicit.read(base.key, None, base.identity))
        if names is not None:
            yield self.page_keys.with_headers(base, names)
            self.page_keys.names = frozenset()

    def _begin(self, leading: Leading, base: Job, job: Job, values: Values) -> None:
        """Depend on the first key: dropping it drops what lies under the keys with headers."""
        if job is not base and job.key != base.key:
            leading.computation.take([_core.key_tag(base.key)])
        if self.kind.gives_data is None:
            leading.computation.take([_core.key_tag(self.page_keys.data_job(values).key)])

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Record]:
        with recording(self.request) as record:
            for name, value in self.page_keys.lazies:
                record.note(name, value)
            yield record

    def _renders_later(self, response: Any) -> bool:
        """Whether middleware has a say in what a response is rendered of."""
        return (
            isinstance(response, SimpleTemplateResponse)
            and not response.is_rendered
            and not hasattr(response, "accepted_renderer")
            and self.given is self.request
        )

    def _when_rendered(
        self, leading: Leading, base: Job, answer: _core.Answer, record: Record, response: Any
    ) -> Any:
        """Store the response once it is rendered, if it is what the view gave."""
        leading.pause()
        job, render = leading.job, response.render
        rest: list[tuple[Leading, Record]] = []
        meanwhile = contextlib.ExitStack()
        between = meanwhile.enter_context(recording(self.request))
        self._learn(response)

        def finish(rendered: Any) -> Any:
            if not rest:
                return None
            goes_on, again = rest[0]
            with unrecorded():
                return self._finished(goes_on, base, [record, between, again], rendered, [])

        @functools.wraps(render)
        def rendering() -> Any:
            del response.render
            meanwhile.close()
            changed = responses.look_of(response) != look
            try:
                with (
                    Leading(job, answer, after=leading) as goes_on,
                    self._watching() as again,
                ):
                    if changed:
                        goes_on.refuse()
                        responses.tell(
                            response, "fwd=miss", detail="changed between view and rendering"
                        )
                    else:
                        rest.append((goes_on, again))
                    return render()
            except Exception as error:
                return self._stale(job, answer, error)

        response.add_post_render_callback(finish)
        look = responses.look_of(response)
        response.render = rendering
        return response

    def _rendered(self, response: Any) -> Any:
        """Render what renders later, so that its reads and queries are seen."""
        if not isinstance(response, HttpResponseBase):
            return response
        if hasattr(response, "accepted_renderer") or not callable(
            getattr(response, "render", None)
        ):
            pass
        elif self.given is not self.request and hasattr(self.given, "accepted_renderer"):
            # REST framework does this after the handler has returned.
            response.accepted_renderer = self.given.accepted_renderer  # type: ignore[attr-defined]
            response.accepted_media_type = self.given.accepted_media_type  # type: ignore[attr-defined]
            response.renderer_context = (  # type: ignore[attr-defined]
                self.instance.get_renderer_context() if self.instance is not None else {}
            )
        if callable(getattr(response, "render", None)):
            response = response.render()  # type: ignore[attr-defined]
        return response

    def _finished(
        self,
        leading: Leading,
        base: Job,
        records: Sequence[Record],
        response: Any,
        values: Values,
    ) -> Any:
        """Store the response if it may be; gives what to answer with."""
        self._learn(response)
        if not isinstance(response, HttpResponseBase | Http404):
            return self._finished_data(leading, records, response, values)
        with unrecorded():
            names = frozenset[str]()
            if not isinstance(response, Http404):
                names = responses.varies_on(response) | _implied(records)
            why = self._why_not(records, response, names)
        condition = self.view_job.recipe.condition
        if not why and condition is not None and not isinstance(response, Http404):
            why = "" if condition(response) else "condition"
        if why:
            leading.refuse()
            refusals.add(base.key)
            if isinstance(response, Http404):
                raise response
            responses.tell(response, "fwd=miss", detail=why)
            return response
        refusals.discard(base.key)
        if isinstance(response, Http404):
            # That it is raised is stored, not the page: Django makes that for each request anew.
            leading.store(responses.pack_404(response))
            raise response
        leading.computation.limit(responses.max_age(response))
        packed = responses.pack(response)
        if names <= self.page_keys.names:
            stored = leading.store(packed)
        elif not self.page_keys.names:
            stored = self._store_apart(leading, base, names, packed)
        else:
            # The view varies on more than was known: the next request finds the longer list.
            leading.refuse()
            stored = False
            recipe = base.recipe
            ttl = computing.outliving(recipe.lifetime(), recipe.stale)
            explicit.write(base.key, responses.marker(names | self.page_keys.names), ttl)
        return self._answer(response, "fwd=miss", *(["stored"] if stored else []))

    def _finished_data(
        self, leading: Leading, records: Sequence[Record], value: Any, values: Values
    ) -> Any:
        """Store under the key of a plain function what turned out not to be a response."""
        computing.settle(value)
        job = self.page_keys.data_job(values)
        if self._may_keep(records):
            own = (_core.key_tag(leading.lead.key), leading.lead.key_token)
            answer = process.cache().find(job.key, identity=job.identity, lock=False, wait=False)
            if answer.lead is not None:
                leading.store(value, extra=[own], lead=answer.lead, job=job)
        leading.refuse()
        return value

    def _kept(self, leading: Leading, record: Record, value: Any) -> Any:
        """Store what a function of the request gave, if it read nothing but what its key has."""
        self._learn(value)
        if isinstance(value, HttpResponseBase) or not self._may_keep([record]):
            leading.refuse()
        else:
            leading.store(value)
        return value

    def _may_keep(self, records: Sequence[Record]) -> bool:
        private = self.privacy.used(records, as_page=False)
        if private and not self.kind.told:
            self.kind.told = True
            logger.warning(
                "%s is not cached: it read %s, which its key does not have. Name it in key= or "
                "vary=, or pass it as an argument instead of the request.",
                keys.name_of(cast("Any", self.view_job.compute).func),
                ", ".join(private),
            )
        return not private

    def _store_apart(
        self, leading: Leading, base: Job, names: frozenset[str], packed: responses.Packed
    ) -> bool:
        """Store the list of headers under the first key, the response under the one with them."""
        job = self.page_keys.with_headers(base, names)
        own = (_core.key_tag(base.key), leading.lead.key_token)
        answer = process.cache().find(job.key, identity=job.identity, lock=False, wait=False)
        stored = False
        if answer.lead is not None:
            stored = leading.store(packed, extra=[own], lead=answer.lead)
        return leading.store(responses.marker(names), outlive=True) and stored

    def _why_not(self, records: Sequence[Record], response: Any, names: frozenset[str]) -> str:
        if not isinstance(response, Http404):
            why = responses.refusal(response, cache_errors=self.cache_errors)
            if why:
                return why
        private = self.privacy.used(records, varies_on=names)
        return f"read {', '.join(private)}: not in the key" if private else ""

    def _served(self, packed: Any, source: str = "") -> Any:
        responses.raise_404(packed)
        self.kind.gives_data = False
        return self._answer(responses.unpack(packed), "hit", detail=source)

    def _answer(self, response: Any, *parts: str, detail: str = "") -> Any:
        """Tell where it came from; make it a 304 where it is what the client asked for."""
        responses.tell(response, *parts, detail=detail)
        if not self._is_what_was_asked_for():
            return response  # part of another page
        with unrecorded():
            return responses.conditional(self.request, response)

    def _is_what_was_asked_for(self) -> bool:
        """Whether this view is what the URL leads to, and not called by another."""
        match = state_of(self.request).get("resolver_match")
        own = cast("Any", self.view_job.compute).func
        for function in inside(getattr(match, "func", None)):
            cls = getattr(function, "view_class", None) or getattr(function, "cls", None)
            if function is own or (cls is not None and isinstance(self.instance, cls)):
                return True
        return False

    # --- handles

    def read(self, default: Any) -> Any:
        """What is cached for the call: a response, or what the function gives instead."""
        values = self.page_keys.declared_values()
        if not self.kind.gives_data:
            base = self._job(*self.page_keys.base_key(values))
            packed = explicit.read(base.key, None, base.identity)
            names = responses.marked(packed)
            if names is not None:
                job = self.page_keys.with_headers(base, names)
                packed = explicit.read(job.key, None, job.identity)
            if responses.is_packed(packed):
                return responses.unpack(packed)
            if self.kind.gives_data is False:
                return default
        data = self.page_keys.data_job(values)
        return explicit.read(data.key, default, data.identity)

    def write(self, value: Any, tags: Sequence[str]) -> bool:
        """Store a response, or what the function gives instead, for the call."""
        values = self.page_keys.declared_values()
        ttl = self.view_job.recipe.lifetime()
        if not isinstance(value, HttpResponseBase):
            if self.kind.gives_data is False:
                raise TypeError(f"value={value!r}: the view gives responses.")
            data = self.page_keys.data_job(values)
            return explicit.write(data.key, value, ttl, tags, identity=data.identity)
        response = self._rendered(value)
        why = responses.refusal(response, cache_errors=self.cache_errors)
        if why:
            raise ValueError(f"value={value!r} cannot be stored: {why}.")
        base = self._job(*self.page_keys.base_key(values))
        names = responses.varies_on(response)
        job = self.page_keys.with_headers(base, names) if names else base
        packed = responses.pack(response)
        if names:
            last = computing.outliving(ttl, 0.0)
            explicit.write(base.key, responses.marker(names), last, identity=base.identity)
        return explicit.write(job.key, packed, ttl, tags, identity=job.identity)

    def all_keys(self) -> list[bytes]:
        """Under which the call may lie: the first is the one to tell."""
        values = self.page_keys.declared_values()
        found = [self.page_keys.base_key(values)[0], self.page_keys.data_job(values).key]
        return found[::-1] if self.kind.gives_data else found


def _implied(records: Sequence[Record]) -> frozenset[str]:
    """Headers that a page varies on without saying so, as all of REST framework's do."""
    return frozenset({"accept"}) if "header:accept" in reads_of(records) else frozenset()


def _is_stored_form(value: Any) -> bool:
    return isinstance(value, tuple)
