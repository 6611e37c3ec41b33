"""The way of a call that L1 did not answer: find, compute once, store. For threads and for tasks.

The core says who computes; nothing here holds a lock while user code runs. What one computation
reads is recorded by `orm.dependencies`, and handed to the core with the value.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http.response import HttpResponseBase

from . import _core, conf, levels, process, waiting
from .logs import LOG_EVERY, log_seldom
from .orm import dependencies, switches, transaction

MAX_VAIN_WAITS: Final = 2  # as in the core: how often to wait for what then is not shared
_random: Final = random.SystemRandom()  # not the same in forks, and no project's seed
_DEPTH: Final = 6  # of containers searched for querysets that have not been evaluated


class Default:
    """A TTL that was not given: SMARTCACHE_DEFAULT_TTL as of the call."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default()
Ttl = float | None | Default


@dataclasses.dataclass(slots=True)
class Counters:
    """What happened to the calls of one function. Not exact under threads: no lock for a number."""

    hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    bypasses: int = 0
    errors: int = 0
    stored: int = 0
    not_stored: int = 0


@dataclasses.dataclass(slots=True)
class Recipe:
    """How the values of one function are kept."""

    ttl: Ttl = DEFAULT
    stale: float = 0.0
    lock: bool = True
    cache_none: bool = True
    condition: Callable[[Any], bool] | None = None
    counters: Counters = dataclasses.field(default_factory=Counters)

    def lifetime(self) -> float | None:
        """The TTL in seconds; None: no expiry."""
        return conf.current().default_ttl if isinstance(self.ttl, Default) else self.ttl

    def wants(self, value: Any) -> bool:
        """Whether this value is to be kept at all."""
        if isinstance(value, HttpResponseBase):
            return False  # of a page, which is `views`' to store, in a form of its own
        if self._never() or (value is None and not self.cache_none):
            return False
        return self.condition is None or bool(self.condition(value))

    def bound(self, computation: dependencies.Computation) -> None:
        """Let what is made of a value outlive it no more than if it had been stored."""
        if self._never():
            computation.forbid("it is made of a value of ttl=0")
        else:
            computation.limit(self.lifetime())

    def _never(self) -> bool:
        ttl = self.lifetime()
        return ttl is not None and ttl <= 0


@dataclasses.dataclass(slots=True)
class Job:
    """One call: its key, how to compute it, and what it depends on by declaration."""

    key: bytes
    identity: int
    compute: Callable[[], Any]
    recipe: Recipe
    tags: Sequence[str] = ()
    depends_on: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A value out of the cache."""

    value: Any
    source: str
    """Where it was: "local", "store", or "stale" for one that another caller is refreshing."""


def look(
    job: Job, answer: _core.Answer | None = None, *, wait: bool = True
) -> Found | _core.Answer | None:
    """Look a call up: what is there, else the lead to compute it, else None: compute and store
    nothing.

    Blocks while another caller computes it; not on the thread of an event loop, where that other
    may be a task of the same loop.

    Args:
        job: The call.
        answer: What the store said, if the core has asked it. It has not waited for others.
        wait: Whether another's computation is waited for, rather than done alongside: None.
    """
    with levels.reading():
        return _look(job, answer, wait)


def _look(job: Job, answer: _core.Answer | None, wait: bool) -> Found | _core.Answer | None:
    found: Found | None = None
    if answer is None or answer.kind == _core.WAIT:
        found, ask = _without_store(job)
        # On a loop's thread other processes may be waiting for what this one holds up, too.
        wait = wait and not _on_loop()
        answer = _find(job, caller(), wait=wait, linger=wait) if ask else None
    if answer is not None:
        if answer.kind == _core.LEAD:
            return answer
        found = _taken(job, answer)
    if found is None:
        _bypass(job)
    return found


async def alook(job: Job, *, wait: bool = True) -> Found | _core.Answer | None:
    """As `look`, for a task: the event loop never waits for the store."""
    with levels.reading():
        if levels.waits():
            await process.run(levels.fenced)
        return await _alook(job, wait)


async def _alook(job: Job, wait: bool) -> Found | _core.Answer | None:
    found, ask = _without_store(job)
    for _ in range(MAX_VAIN_WAITS + 1 if ask else 0):
        answer = None
        if process.cache().peek(job.key, job.identity) is not _core.MISS:
            answer = _ask(job, caller(), wait=False)  # in L1: answered without waiting
        if answer is None or _unlinked(job, answer):
            answer = await process.run(_find, job, caller(), wait=False, linger=False)
        may_wait = wait and not transaction.holds_locks()
        if answer.kind == _core.WAIT and answer.elsewhere and may_wait:
            answer = await _linger(job)
        if answer is None or (answer.kind == _core.WAIT and not may_wait):
            break
        if answer.kind == _core.LEAD:
            return answer
        if answer.kind != _core.WAIT:
            found = _taken(job, answer)
            break
        before = waiting.unshared.now()
        if not await waiting.ended(answer, _limit()) or waiting.unshared.since(job.key, before):
            break
    if found is None and dependencies.current() is None:
        _bypass(job)  # asks nothing of the store
    elif found is None:
        await process.run(_bypass, job)
    return found


async def _linger(job: Job) -> _core.Answer | None:
    """Look a call up that another process is computing: the answer once it ended; None: go without
    it."""

    def start(patience: Callable[[], bool]) -> asyncio.Future[Any]:
        return process.run_waiting(_find, job, caller(), wait=False, linger=True, patience=patience)

    try:
        return await asyncio.wait_for(waiting.lingered(start), _limit())
    except asyncio.TimeoutError:
        return None


def obtain(job: Job, answer: _core.Answer | None = None) -> Any:
    """The value of a call, from the cache or computed. Blocks while another caller computes it."""
    found = look(job, answer)
    if isinstance(found, Found):
        return found.value
    return job.compute() if found is None else compute(job, found)


def compute(job: Job, answer: _core.Answer) -> Any:
    """Compute under the lead in `answer`; serve its stale value if that raises."""
    try:
        return _lead(job, answer, Leading.store)
    except Exception as error:
        return stale_instead(job, answer, error)


def lead_anew(job: Job) -> _core.Answer | None:
    """The lead to compute a value although there is one, which is served meanwhile; None: another
    computes it, or this caller must not."""
    if _barred(job) or transaction.inside() or transaction.snapshot():
        return None
    other = job.identity ^ 1  # which the entry does not have, so it is a miss
    answer = process.cache().find(job.key, identity=other, owner=caller(), lock=False, wait=False)
    return answer if answer.kind == _core.LEAD else None


def renew(job: Job, answer: _core.Answer) -> Any:
    """Compute under a lead of `lead_anew`; what is there stays if that raises."""
    return _lead(job, answer, Leading.replace)


async def arenew(job: Job, answer: _core.Answer) -> Any:
    """As `renew`, for a task; `job.compute` gives an awaitable."""
    return await _alead(job, answer, Leading.replace)


def _lead(job: Job, answer: _core.Answer, keep: Callable[[Leading, Any], object]) -> Any:
    with Leading(job, answer) as leading:
        leading.declare()
        value = settle(job.compute())
        keep(leading, value)
        return value


async def _alead(job: Job, answer: _core.Answer, keep: Callable[[Leading, Any], object]) -> Any:
    with Leading(job, answer, threaded=True) as leading:
        if job.tags or job.depends_on:
            await process.run(leading.declare)
        value = await asettle(await job.compute())
        await process.run(keep, leading, value)
        return value


async def aobtain(job: Job) -> Any:
    """As `obtain`, for a task; `job.compute` gives an awaitable."""
    found = await alook(job)
    if isinstance(found, Found):
        return found.value
    return await (job.compute() if found is None else acompute(job, found))


async def acompute(job: Job, answer: _core.Answer) -> Any:
    """As `compute`, for a task. A cancelled one lets go of its lead, and a waiter takes over."""
    try:
        return await _alead(job, answer, Leading.store)
    except Exception as error:
        return stale_instead(job, answer, error)


def _without_store(job: Job) -> tuple[Found | None, bool]:
    """What to do without asking the store: a hit in L1, or nothing (None). True: do ask it."""
    if _barred(job):
        return None, False
    cache = process.cache()
    if transaction.writing():
        # It must see its own writes, and what it computes is not committed yet.
        answer = None if transaction.snapshot() else cache.get_answer(job.key, job.identity)
        if answer is not None and transaction.changed().isdisjoint(tag for tag, _ in answer.tags):
            return _taken(job, answer), False
        return None, False
    if transaction.snapshot():
        return None, False
    if dependencies.current() is None:
        value = cache.peek(job.key, job.identity)
        if value is not _core.MISS:
            job.recipe.counters.hits += 1
            return Found(value, "local"), False
    return None, True


def _barred(job: Job) -> bool:
    return switches.disabled() or not conf.current().enabled or dependencies.computes(job.key)


def _find(
    job: Job,
    owner: int,
    *,
    wait: bool,
    linger: bool,
    patience: Callable[[], bool] = waiting.patient,
) -> _core.Answer:
    ask = functools.partial(_ask, job, owner, wait=wait, linger=linger, patience=patience)
    answer = ask()
    outer = dependencies.current()
    if outer is not None and _unlinked(job, answer):
        outer.take([_core.key_tag(job.key)])  # before the read that counts (I2)
        answer = ask()
    return answer


def _unlinked(job: Job, answer: _core.Answer) -> bool:
    """Whether it came from an entry stored explicitly, which does not carry its key's token, and is
    for a computation, which needs that."""
    if answer.kind not in (_core.HIT, _core.STALE) or dependencies.current() is None:
        return False
    own = _core.key_tag(job.key)
    return all(tag != own for tag, _ in answer.tags)


def _ask(
    job: Job,
    owner: int,
    *,
    wait: bool,
    linger: bool = False,
    patience: Callable[[], bool] | None = None,
) -> _core.Answer:
    recipe = job.recipe
    free = not transaction.holds_locks()
    return process.cache().find(
        job.key,
        identity=job.identity,
        owner=owner,
        lock=recipe.lock and free,
        wait=wait and free,
        linger=linger,
        nested=_bounded_wait(),
        stale=recipe.stale > 0,
        patience=patience,
    )


def _limit() -> float | None:
    """Seconds to wait for another's flight; None: until it ends."""
    return conf.current().lock_timeout if _bounded_wait() else None


def _bounded_wait() -> bool:
    """Whether others may be waiting for this caller in turn: for its lead, or its transaction."""
    return dependencies.current() is not None or transaction.inside()


def caller() -> int:
    """A number for who asks: the running task, else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return (id(task) << 1 | 1 if task else threading.get_ident() << 1) & 0xFFFF_FFFF_FFFF_FFFF


def _taken(job: Job, answer: _core.Answer) -> Found | None:
    counters = job.recipe.counters
    if answer.kind not in (_core.HIT, _core.STALE):
        log_failure()
        return None
    if answer.kind == _core.HIT:
        counters.hits += 1
    else:
        counters.stale_hits += 1
    outer = dependencies.current()
    if outer is not None:
        outer.inherit(answer.tags, answer.remaining)
    return Found(answer.value, answer.source if answer.kind == _core.HIT else "stale")


def _bypass(job: Job) -> None:
    """Let a computation that this call runs inside of depend on what its entry would depend on."""
    job.recipe.counters.bypasses += 1
    outer = dependencies.current()
    if outer is not None:
        outer.take([_core.key_tag(job.key)])
        _declare(outer, job)
        job.recipe.bound(outer)


def _declare(computation: dependencies.Computation, job: Job) -> None:
    if job.tags:
        computation.user_tags(job.tags)
    if job.depends_on:
        computation.depends_on(job.depends_on)


def stale_instead(job: Job, answer: _core.Answer, error: Exception) -> Any:
    job.recipe.counters.errors += 1
    if answer.value is _core.MISS or job.recipe.stale <= 0:
        raise error
    log_seldom(_name(job.key), "computing %r failed; a stale value is served", error=error)
    job.recipe.counters.stale_hits += 1
    outer = dependencies.current()
    if outer is not None:
        outer.forbid("a stale value was served because computing it failed")
    return answer.value


class Leading:
    """A block that computes under a lead. Leaving it ends the lead: stored, not to be shared, or
    failed.

    Args:
        threaded: The block runs on an event loop, which ending a lead must not hold up.
        after: The block of the same lead that computed the first part, and was left by `pause`.
    """

    def __init__(
        self,
        job: Job,
        answer: _core.Answer,
        *,
        threaded: bool = False,
        after: Leading | None = None,
    ) -> None:
        self.job = job
        self._after = after
        self._lifetime: tuple[float | None, float] | None = None
        self.lead = cast("_core.Lead", answer.lead)
        self._threaded = threaded
        self._ended = False
        self._blocks = contextlib.ExitStack()
        self._started: float = time.monotonic() if after is None else after._started

    def __enter__(self) -> Leading:
        key = self.job.key
        after = self._after
        self.job.recipe.counters.misses += after is None
        with contextlib.ExitStack() as blocks:
            self.computation = blocks.enter_context(
                dependencies.computation(key, self.lead.key_token)
            )
            if after is not None:
                self.computation.inherit(after.computation.tags(), after.computation.remaining)
                if after.computation.forbidden is not None:
                    self.computation.forbid(after.computation.forbidden)
            self._blocks = blocks.pop_all()
        return self

    def declare(self) -> None:
        """Take the tokens of declared tags before anything is read: none is newer than the data."""
        _declare(self.computation, self.job)

    def pause(self) -> None:
        """Let the block be left without ending the lead, which another block goes on with."""
        self._ended = True

    def store(
        self,
        value: Any,
        *,
        extra: Sequence[tuple[int, int]] = (),
        lead: _core.Lead | None = None,
        job: Job | None = None,
        outlive: bool = False,
        encoded: tuple[bytes, int] | None = None,
    ) -> bool:
        """Hand the value to the core, if it may be kept.

        Args:
            value: It stays the caller's; what is stored is a copy.
            extra: Tokens, taken before the computation, that the value depends on besides what it
                read.
            lead: Of another key to store under; the block's own lead goes on.
            job: The call of that key.
            outlive: Keep it longer than what else is stored of this computation.
            encoded: What `encode` gave for it.

        Raises:
            UnstorableValue: It cannot be encoded.
        """
        job = job or self.job
        recipe = job.recipe
        made = self.computation
        if encoded is None:
            encoded = self.encode(value, job)
        if encoded is None or made.forbidden is not None or transaction.writing():
            return self.refuse() if lead is None else False
        if self._lifetime is None:  # once: what is stored limits what is made of it
            self._lifetime = _bounded(_varied(recipe.lifetime()), recipe.stale, made.remaining)
        ttl, stale = self._lifetime
        made.limit(ttl)  # what is made of this entry ends no later
        if outlive:
            ttl = outliving(ttl, stale)
            stale = (ttl or 0.0) if stale else 0.0
        tags = made.tags()
        if lead is None:
            self._ended = True
        kept = (lead or self.lead).fill(
            value,
            tags=[*tags, *extra],
            ttl=ttl,
            stale=stale,
            cost=time.monotonic() - self._started,
            identity=job.identity,
            encoded=encoded,
        )
        if kept:
            recipe.counters.stored += 1
        else:
            recipe.counters.not_stored += 1
            waiting.unshared.add((lead or self.lead).key)
        return kept

    def replace(self, value: Any) -> None:
        """Store the value in place of the entry that is there, which ends with all made of it;
        neither if somebody dropped it meanwhile: the value may be older."""
        key = self.job.key
        encoded = self.encode(value, self.job)  # while the entry is still there
        if process.cache().fresh([(_core.key_tag(key), self.lead.key_token)]):
            process.delete([key])
            self.end(retry=True)
            answer = process.cache().find(key, identity=self.job.identity, lock=False, wait=False)
            if answer.lead is not None and encoded is not None:
                self.store(value, lead=answer.lead, encoded=encoded)

    def encode(self, value: Any, job: Job) -> tuple[bytes, int] | None:
        """Encode before anything is decided: it may ask the database, through a queryset that a
        paginator or an object of the project's own holds. None: it is not to be kept.

        Raises:
            UnstorableValue: It cannot be encoded; the lead has been ended.
        """
        made = self.computation
        made.forbid_stragglers()
        if made.forbidden is not None or not job.recipe.wants(value):
            return None
        try:
            return _core.encode(value)
        except BaseException:
            self.end(retry=False)
            raise

    def refuse(self) -> bool:
        """Share nothing: whoever waits computes for itself."""
        self.job.recipe.counters.not_stored += 1
        self.job.recipe.bound(self.computation)
        self.end(retry=False)
        return False

    def end(self, *, retry: bool) -> None:
        if self._ended:
            return
        self._ended = True
        if not retry:
            waiting.unshared.add(self.job.key)
        if self._threaded and _on_loop():
            process.executor().submit(self.lead.abandon, retry=retry)
        else:
            self.lead.abandon(retry=retry)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.end(retry=error is not None)
        self._blocks.close()


def _varied(ttl: float | None) -> float | None:
    """A TTL made longer or shorter at random, so that what was stored together does not end
    together."""
    jitter = conf.current().jitter_pct
    if ttl is None or not jitter:
        return ttl
    return ttl * (1 + _random.uniform(-jitter, jitter))


def _bounded(
    ttl: float | None, stale: float, remaining: float | None
) -> tuple[float | None, float]:
    """TTL and stale time of what is made of entries that end in `remaining` seconds."""
    if remaining is None:
        return ttl, stale
    if ttl is None or remaining < ttl:
        return remaining, 0.0
    return ttl, min(stale, remaining - ttl)


def outliving(ttl: float | None, stale: float) -> float | None:
    """A TTL that ends, whatever the jitter, after entries with these."""
    jitter = conf.current().jitter_pct
    return None if ttl is None else (ttl + stale) * (1 + jitter) / (1 - jitter)


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# --- results that still have to ask the database


def settle(value: Any) -> Any:
    """Evaluate the querysets in a result while what they read is recorded; give `value` back."""
    for queryset in _unevaluated(value, _DEPTH):
        len(queryset)
    return value


async def asettle(value: Any) -> Any:
    """As `settle`, for a task."""
    for queryset in list(_unevaluated(value, _DEPTH)):
        await sync_to_async(len)(queryset)
    return value


def _unevaluated(value: Any, depth: int) -> Iterator[QuerySet[Any]]:
    if isinstance(value, QuerySet):
        if value._result_cache is None:
            yield value
    elif depth and isinstance(value, dict):
        for part in value.values():
            yield from _unevaluated(part, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for part in value:
            # Rows of one kind make most of long lists: what cannot hold a queryset is not entered.
            if isinstance(part, dict | list | tuple | QuerySet):
                yield from _unevaluated(part, depth - 1)


# --- logging


def log_failure() -> None:
    """Log why the store could not be asked, if it was a moment ago. For whoever went without it."""
    failure = process.cache().last_failure()
    if failure is not None and failure[1] < LOG_EVERY:
        log_seldom("the store", "%s could not be asked, so calls compute: %s", failure[0])


def _name(key: bytes) -> str:
    return key.partition(b"(")[0][:80].decode(errors="replace")
