"""`@smart_cached`: what functions and views give is kept until something that they read changes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from types import MethodType
from typing import Any, Final, ParamSpec, Protocol, TypeAlias, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db.models import Model, QuerySet
from django.views import View

from . import (
    _core,
    computing,
    conf,
    explicit,
    identities,
    keys,
    namesakes,
    page_keys,
    prefixes,
    process,
    views,
)
from .computing import DEFAULT, Counters, Job, Recipe, Ttl
from .exceptions import KeyTemplateError, UnkeyableArgument
from .handles import Cached, InClass, Later

P = ParamSpec("P")
R = TypeVar("R")
_MISSING: Final = object()

_Method: TypeAlias = "classmethod[Any, P, R] | staticmethod[P, R]"
Names = Iterable[str] | Callable[..., Iterable[str]]
Vary = str | Callable[..., Any] | Iterable[str | Callable[..., Any]]

_counters: dict[str, Counters] = {}


class _Decorator(Protocol):
    """What `smart_cached` with options gives."""

    @overload
    def __call__(self, function: _Method[P, Later[R]]) -> InClass[Cached[P, R, Later[R]]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: _Method[P, R]) -> InClass[Cached[P, R, R]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Later[R]]) -> Cached[P, R, Later[R]]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Cached[P, R, R]: ...


@overload
def smart_cached(function: _Method[P, Later[R]], /) -> InClass[Cached[P, R, Later[R]]]: ...  # type: ignore[overload-overlap]
@overload
def smart_cached(function: _Method[P, R], /) -> InClass[Cached[P, R, R]]: ...  # type: ignore[overload-overlap]
@overload
def smart_cached(function: Callable[P, Later[R]], /) -> Cached[P, R, Later[R]]: ...
@overload
def smart_cached(function: Callable[P, R], /) -> Cached[P, R, R]: ...
@overload
def smart_cached(
    *,
    key: str | Callable[..., str] | None = None,
    ttl: Ttl = DEFAULT,
    tags: Names = (),
    depends_on: Any = (),
    stale: float = 0,
    lock: bool = True,
    condition: Callable[[Any], bool] | None = None,
    vary: Vary | None = None,
    cache_none: bool = True,
    cache_errors: bool = False,
) -> _Decorator: ...


def smart_cached(function: Any = None, /, **options: Any) -> Any:
    """Cache the results of a function, method, coroutine function or view.

    Args:
        function: What to cache; absent, the decorator is returned.
        key: A template of the key over the arguments, `"user:{user_id}:profile"`, or a callable of
            the arguments that gives the key. Absent: made of the function's name and all arguments.
        ttl: Seconds to keep a result, 0 or more, varied by SMARTCACHE_JITTER_PCT. None: until what
            it read changes. 0: not at all. Absent: SMARTCACHE_DEFAULT_TTL.
        tags: Names for `invalidate_tags`, or a callable of the arguments that gives them.
        depends_on: Models, querysets or instances whose change invalidates the result as well, or a
            callable of the arguments that gives them.
        stale: Seconds beyond `ttl`, 0 or more, in which an old result is served while one caller
            makes a new one, and when making it raises.
        lock: Whether other processes wait for the one that computes.
        condition: Called with a result: False keeps it from being stored.
        vary: What else a result differs by: a callable of the arguments, or several. Of a view it
            is called with the request, and declares the cookies, headers and items of the session
            that it reads; reading the user declares that, and makes it part of the key. `"user"`: a
            view's responses differ by user.
        cache_none: Whether None is stored.
        cache_errors: Whether a view's 404 and 410 are stored.

    Returns:
        A callable with the handles `invalidate`, `refresh`, `key`, `get`, `set`, `uncached` and
        `stats`; the first six take the arguments of the function, and each but `key`, `uncached`
        and `stats` has a form for tasks (`ainvalidate`).

    Raises:
        KeyTemplateError: `key` is malformed or names no argument.
        TypeError: `function` cannot be cached (a generator, a class, a property), or an option is
        unknown or of a wrong type.
        ValueError: `ttl` or `stale` is negative.
        InvalidKey: A tag is not text, is empty, or begins with NUL.

    *Consistency*: a hit that begins after a write to what was read has been committed contains that
    write, see docs/consistency.md. Results are private copies.
    *Cost*: a hit in the process' memory takes no I/O; another one trip to the store.
    """
    unknown = sorted(options.keys() - _Options.names())
    if unknown:
        raise TypeError(
            f"smart_cached has no option {unknown[0]!r}; it has: {', '.join(_Options.names())}."
        )
    made = _Options(**options)
    if function is None:
        return functools.partial(_decorate, made)
    if options:
        raise TypeError(
            "smart_cached takes its options before the function: smart_cached(ttl=60)(f)."
        )
    return _decorate(made, function)


class _Options:
    """The options of `smart_cached`, checked."""

    def __init__(
        self,
        *,
        key: str | Callable[..., str] | None = None,
        ttl: Ttl = DEFAULT,
        tags: Names = (),
        depends_on: Any = (),
        stale: float = 0,
        lock: bool = True,
        condition: Callable[[Any], bool] | None = None,
        vary: Vary | None = None,
        cache_none: bool = True,
        cache_errors: bool = False,
    ) -> None:
        if not (key is None or isinstance(key, str) or callable(key)):
            raise KeyTemplateError(
                f"key={key!r}: a template, a callable of the arguments, or None."
            )
        explicit.check_ttl(ttl)
        if isinstance(stale, bool) or not isinstance(stale, int | float):
            raise TypeError(f"stale={stale!r}: seconds, 0 or more.")
        if not conf.is_number(stale) or stale < 0:
            raise ValueError(f"stale={stale!r}: seconds, 0 or more.")
        switches = (("lock", lock), ("cache_none", cache_none), ("cache_errors", cache_errors))
        for name, value in switches:
            if not isinstance(value, bool):
                raise TypeError(f"{name}={value!r}: True or False.")
        if condition is not None and not callable(condition):
            raise TypeError(f"condition={condition!r}: a callable of the result, or None.")
        self.key = key
        self.kinds: dict[str, views.Kind] = {}
        self.plans: dict[Any, _core.KeyPlan] = {}
        """Of methods that method_decorator decorates anew at every request."""
        self.ttl = ttl
        self.stale = float(stale)
        self.lock = lock
        self.condition = condition
        self.cache_none = cache_none
        self.cache_errors = cache_errors
        self.tags: tuple[str, ...] | Callable[..., Any] = (
            tags if callable(tags) else explicit.check_tags(tags)
        )
        self.depends_on: tuple[Any, ...] | Callable[..., Any] = (
            depends_on if _gives_things(depends_on) else _as_tuple(depends_on)
        )
        if not callable(self.depends_on):
            _check_things(self.depends_on)
        if vary is None:
            self.vary: tuple[str | Callable[..., Any], ...] = ()
        elif isinstance(vary, Iterable) and not isinstance(vary, str):
            self.vary = tuple(vary)
        else:
            self.vary = (vary,)
        for each in self.vary:
            if each != "user" and not callable(each):
                raise TypeError(
                    f'vary={vary!r}: "user", a callable of the arguments, or several of these.'
                )

    @classmethod
    def names(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def recipe(self, name: str) -> Recipe:
        # Counted by name: method_decorator decorates anew at every request.
        counters = _counters.setdefault(name, Counters())
        return Recipe(self.ttl, self.stale, self.lock, self.cache_none, self.condition, counters)

    def tags_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
        if callable(self.tags):
            return explicit.check_tags(self.tags(*args, **kwargs))
        return self.tags

    def things_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if callable(self.depends_on):
            return _as_tuple(self.depends_on(*args, **kwargs))
        return self.depends_on


def _gives_things(value: Any) -> bool:
    # Model classes and managers are callable as well, and are what is depended on.
    return inspect.isroutine(value) or isinstance(value, functools.partial)


def _check_things(things: tuple[Any, ...]) -> None:
    for thing in things:
        named = isinstance(thing, Model | QuerySet)
        if not named and not (isinstance(thing, type) and issubclass(thing, Model)):
            raise TypeError(
                f"depends_on={thing!r}: models, instances and querysets, or a callable of the "
                "arguments that gives them."
            )


def _as_tuple(things: Any) -> tuple[Any, ...]:
    return tuple(things) if isinstance(things, list | tuple | set | frozenset) else (things,)


def _decorate(options: _Options, function: Any) -> Any:
    if isinstance(function, classmethod):
        return _CachedClassMethod(_decorate(options, function.__func__))
    if isinstance(function, staticmethod):
        return staticmethod(_decorate(options, function.__func__))
    _check_kind(function)
    return _Cached(options, function).callable


class _CachedClassMethod(classmethod):  # type: ignore[type-arg]
    """A classmethod whose handles know the class; since Python 3.13 the builtin's do not."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        cls = type(instance) if owner is None else owner
        return self.__func__.__get__(cls, type(cls))


def _check_kind(function: Any) -> None:
    inner = keys.innermost(function)
    if inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner):
        raise TypeError(
            f"{inner!r} is a generator: it can be read once. Cache a function that returns a list."
        )
    if isinstance(function, property | functools.cached_property) or hasattr(function, "fget"):
        raise TypeError(
            "Put smart_cached on the function below the property: @property, then @smart_cached."
        )
    if inspect.isclass(function):
        raise TypeError(
            f"{function!r} is a class: cache a function, or use method_decorator for a view."
        )
    if not callable(function):
        raise TypeError(f"{function!r} cannot be called: smart_cached caches the results of calls.")


class _Cached:
    """A decorated function: how its calls become jobs, and the handles."""

    def __init__(self, options: _Options, function: Callable[..., Any]) -> None:
        self.options = options
        self.function = function
        self.name = keys.name_of(function)
        self.recipe = options.recipe(self.name)
        self.is_async = iscoroutinefunction(function) or iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
        )
        self.by_callable = callable(options.key)
        self.method = namesakes.of_view(function)
        self.plan = self._plan()
        self.kind = options.kinds.setdefault(self.name, views.Kind())
        self.parameters = [p.name for p in keys.parameters(function)]
        template = options.key if isinstance(options.key, str) else None
        self.fields = [f for f in keys.parse(template) if isinstance(f, tuple)] if template else []
        self.callable = self._make_callable()

    def _plan(self) -> _core.KeyPlan:
        """The compiled key; where a callable makes it, of the arguments' instances alone."""
        template = "instances" if callable(self.options.key) else self.options.key
        if self.method is None:
            return keys.plan(self.function, template)
        # A view's instance is no part of its plan.
        of = self.method.__func__
        if of not in self.options.plans:
            self.options.plans[of] = keys.plan(self.function, template)
        return self.options.plans[of]

    def _make_callable(self) -> Any:
        slow = self._aslow if self.is_async else self._slow
        made: Any
        if (
            not self.by_callable
            and not any(map(callable, self.options.vary))
            # Pages have keys of their own, under which alone they are looked for.
            and "request" not in self.parameters
        ):
            made = _core.CachedFunction(
                self.plan,
                slow,
                prefix=None,
                coroutine=self.is_async,
                lock=self.recipe.lock,
                stale=self.recipe.stale > 0,
            )
            self._full_key = functools.partial(_core.CachedFunction.key, made)
        else:
            made = _KeyedByCallable(self._called_key, slow)
            self._full_key = made.full_key
        functools.update_wrapper(made, self.function)
        if self.is_async:
            markcoroutinefunction(made)
        for name in ("invalidate", "refresh", "key", "get", "set", "uncached", "stats"):
            made.__dict__[name] = getattr(self, name)
        for name in ("ainvalidate", "arefresh", "aget", "aset"):
            made.__dict__[name] = getattr(self, name)
        return made

    def _called_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, int]:
        """The key where Python has a say in it: `key=` or `vary=` is a callable."""
        varying = [vary for vary in self.options.vary if callable(vary)]
        key, identity = self.plan.key(args, kwargs)
        if self.by_callable:
            made = cast("Callable[..., str]", self.options.key)(*args, **kwargs)
            raw = keys.check_text(made, f"the key of {self.name}").encode("utf-8", "surrogatepass")
            key = keys.shorten(raw)
        if varying and page_keys.request_in(args, kwargs) is None:
            values = tuple(vary(*args, **kwargs) for vary in varying)
            text, mark = identities.identify("vary", values, function=self.name)
            key, identity = keys.shorten(key + b"|" + text, made=True), identity ^ mark
        return prefixes.prefix() + key, identity

    # --- calls

    def _slow(
        self,
        key: bytes,
        identity: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: _core.Answer | None = None,
    ) -> Any:
        request = page_keys.request_in(args, kwargs)
        if request is not None:
            self.callable.asks_store = False  # pages have keys of their own
            view = self._view(request, key, identity, args, kwargs)
            # The dispatch of a class with coroutine handlers is a function that gives a coroutine.
            in_task = getattr(type(view.instance), "view_is_async", False)
            return view.arespond() if in_task else view.respond()
        job = self._job(key, identity, args, kwargs)
        if answer is None:
            self.callable.asks_store = True
        return computing.obtain(job, answer)

    async def _aslow(
        self, key: bytes, identity: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = page_keys.request_in(args, kwargs)
        if request is not None:
            return await self._view(request, key, identity, args, kwargs).arespond()
        return await computing.aobtain(self._job(key, identity, args, kwargs))

    def _job(self, key: bytes, identity: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        self._refuse_placeholders(args, kwargs)
        if "user" in self.options.vary:
            raise TypeError(
                f'{self.name}: vary="user" is for views; give a callable of the arguments.'
            )
        return Job(
            key,
            identity,
            functools.partial(self.function, *args, **kwargs),
            self.recipe,
            self.options.tags_of(args, kwargs),
            self.options.things_of(args, kwargs),
        )

    def _view(
        self, request: Any, key: bytes, identity: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> views.CachedView:
        job = Job(
            key,
            identity,
            functools.partial(self.function, *args, **kwargs),
            self.recipe,
            self.options.tags_of(args, kwargs),
            self.options.things_of(args, kwargs),
        )
        first = args[0] if args and isinstance(args[0], View) else None
        bound = keys.innermost(self.function) if self.method is None else self.method
        return views.CachedView(
            request,
            getattr(bound, "__self__", first),
            args,
            kwargs,
            job,
            vary=self.options.vary,
            named=self._named(request, args, kwargs),
            cache_errors=self.options.cache_errors,
            kind=self.kind,
        )

    def _argument(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call has for a parameter; None if it is left to its default."""
        place = self.parameters.index(name)
        return kwargs.get(name, args[place] if place < len(args) else None)

    def _named(self, request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """What the key template names of the request."""
        return [
            page_keys.named(steps)
            for name, steps in self.fields
            if steps and self._argument(name, args, kwargs) is request
        ]

    def _refuse_placeholders(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse what a key has a placeholder for, outside of the calls of views."""
        if self.options.key is None:
            values = [*args, *kwargs.values()]
        else:
            values = [
                keys.follow(self._argument(name, args, kwargs), steps)
                for name, steps in self.fields
            ]
        for value in values:
            if identities.is_view_part(value):
                raise UnkeyableArgument(
                    f"{self.name}: a {type(value).__qualname__} has no stable identity, except the "
                    "request that a view or function is called with. Give smart_cached a key= that "
                    "leaves it out."
                )

    def _of_request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call as that of a view; None if it has no request."""
        request = page_keys.request_in(args, kwargs)
        if request is None:
            return None
        return self._view(request, *self._full_key(args, kwargs), args, kwargs)

    def _keys_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[bytes]:
        view = self._of_request(args, kwargs)
        return [self._key_of(args, kwargs)[0]] if view is None else view.all_keys()

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, int]:
        key = self._full_key(args, kwargs)
        self._refuse_placeholders(args, kwargs)
        return key

    # --- handles

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Give the key of a call, as `cache_get` and its kin take it.

        Args:
            args: The arguments of the call.
            kwargs: As args.

        Returns:
            Text; the same for every call that shares the result.

        Raises:
            TypeError: The function does not take these arguments.
            UnkeyableArgument: One of them has no stable identity.

        *Cost*: no I/O.
        """
        key = self._keys_of(args, kwargs)[0]
        return keys.Key(key[len(prefixes.prefix()) :].decode("utf-8", "surrogatepass"))

    def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Drop the result of a call, and what was made from it, at once.

        Args:
            args: The arguments of the call.
            kwargs: As args.

        Returns:
            Whether there was one; False as well where the store is down, which is told later.

        Raises:
            TypeError: The function does not take these arguments.

        *Consistency*: no call that begins afterwards gets the dropped result, in any process.
        *Cost*: one round trip. Blocks.
        """
        return explicit.drop(self._keys_of(args, kwargs)) > 0

    async def ainvalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Do as `invalidate`, in Django's thread, whose transaction it belongs to."""
        return await sync_to_async(self.invalidate)(*args, **kwargs)

    def get(self, *args: Any, default: Any = None, **kwargs: Any) -> Any:
        """Read what is cached for a call. Computes nothing.

        Args:
            args: The arguments of the call.
            default: What to return for a miss.
            kwargs: As args.

        Returns:
            A private copy of the result. `default` for a miss: none was stored, it has expired or
            was invalidated, the store is down, or the block is `smartcache_disabled`.

        Raises:
            TypeError: The function does not take these arguments.

        *Consistency*: as of a call.
        *Cost*: none in the process' memory, else one round trip, for which it blocks.
        """
        view = self._of_request(args, kwargs)
        if view is not None:
            return view.read(default)
        key, identity = self._key_of(args, kwargs)
        return explicit.read(key, default, identity)

    async def aget(self, *args: Any, default: Any = None, **kwargs: Any) -> Any:
        """Do as `get`, without blocking the event loop."""
        return await process.run(self.get, *args, default=default, **kwargs)

    def set(self, *args: Any, value: Any = _MISSING, **kwargs: Any) -> bool:
        """Store a value as the result of a call. It depends on the declared tags alone.

        Args:
            args: The arguments of the call.
            value: What to store. It stays the caller's: what is stored is a copy.
            kwargs: As args.

        Returns:
            Whether it was stored. False: the TTL of the function is 0, the store is down, the value
            is too large, or the block is `smartcache_disabled`.

        Raises:
            TypeError: `value` is missing, or the function does not take these arguments.
            UnstorableValue: The value cannot be encoded.

        *Consistency*: a call in any process that begins afterwards gets it, or what is later.
        *Cost*: one round trip, one more with tags. Blocks.
        """
        if value is _MISSING:
            raise TypeError("set(..., value=) needs the value.")
        tags = self.options.tags_of(args, kwargs)
        view = self._of_request(args, kwargs)
        if view is not None:
            return bool(view.write(value, tags))
        key, identity = self._key_of(args, kwargs)
        return explicit.write(key, value, self.recipe.lifetime(), tags, identity=identity)

    async def aset(self, *args: Any, value: Any = _MISSING, **kwargs: Any) -> bool:
        """Do as `set`, without blocking the event loop."""
        if value is not _MISSING:
            value = await computing.asettle(value)
        return await process.run(self.set, *args, value=value, **kwargs)

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Compute and store a result anew, even if what is cached is fresh.

        Args:
            args: The arguments of the call.
            kwargs: As args.

        Returns:
            The new result; of a coroutine function, an awaitable of it.

        Raises:
            Exception: Whatever the function raises. The old result stays then; a view's is dropped.

        *Consistency*: calls of a function that begin meanwhile get the old result, those of a view
        wait for the new one. If the result is invalidated meanwhile, nothing is stored.
        *Cost*: one round trip, and that of a miss. Blocks.
        """
        if self.is_async:
            return self.arefresh(*args, **kwargs)
        if page_keys.request_in(args, kwargs) is None:
            job = self._job(*self._full_key(args, kwargs), args, kwargs)
            lead = computing.lead_anew(job)
            if lead is not None:
                return computing.renew(job, lead)
        self.invalidate(*args, **kwargs)
        return self.callable(*args, **kwargs)

    async def arefresh(self, *args: Any, **kwargs: Any) -> Any:
        """Do as `refresh`, without blocking the event loop."""
        if not self.is_async:
            return await sync_to_async(self.refresh)(*args, **kwargs)
        if page_keys.request_in(args, kwargs) is None:
            job = self._job(*self._full_key(args, kwargs), args, kwargs)
            lead = await process.run(computing.lead_anew, job)
            if lead is not None:
                return await computing.arenew(job, lead)
        await self.ainvalidate(*args, **kwargs)
        return await cast("Awaitable[Any]", self.callable(*args, **kwargs))

    def uncached(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself: the cache is neither read nor stored to for this call.

        Args:
            args: The arguments of the call.
            kwargs: As args.

        Returns:
            What the function returns.

        Raises:
            Exception: Whatever the function raises.
        """
        return self.function(*args, **kwargs)

    def stats(self, *_: Any) -> dict[str, int]:
        """Count what happened to the calls of the function in this process, approximately.

        Returns:
            Numbers by name: `hits`, `stale_hits`, `misses`, `bypasses` (computed without the
            cache), `errors`, `stored` and `not_stored`.

        *Cost*: no I/O.
        """
        counters = self.recipe.counters
        counted = {name: getattr(counters, name) for name in counters.__slots__}
        counted["hits"] += int(getattr(self.callable, "hits", 0))
        return counted


class _KeyedByCallable:
    """As the core's CachedFunction, where Python makes the key."""

    def __init__(
        self,
        full_key: Callable[[tuple[Any, ...], dict[str, Any]], tuple[bytes, int]],
        slow: Callable[..., Any],
    ) -> None:
        self.full_key = full_key
        self.slow = slow

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        key, identity = self.full_key(args, kwargs)
        return self.slow(key, identity, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else _BoundToInstance(self, instance)


class _BoundToInstance:
    """A method: the handles have the instance bound as well."""

    def __init__(self, function: _KeyedByCallable, instance: Any) -> None:
        self.__func__ = function
        self.__self__ = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__func__, name)
        if isinstance(found, MethodType) and isinstance(found.__self__, _Cached):
            return functools.partial(found, self.__self__)
        return found
