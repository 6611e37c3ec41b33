"""A core cache of the test's own, apart from the package's, on the embedded store."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps

from djsmartcache import _core, process

PICKLE = 2


class Unstorable(TypeError):
    """What this suite's dumps raises."""


def dumps(value: Any) -> tuple[bytes, int]:
    try:
        return pickle.dumps(value, protocol=5), PICKLE
    except Exception as error:
        raise Unstorable(type(value).__name__) from error


def loads(data: bytes, codec: int) -> Any:
    assert codec == PICKLE
    return pickle.loads(data)


def settings(directory: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of configure."""
    return {
        "url": None,
        "directory": str(directory),
        "prefix": "test",
        "secret": bytes(range(32)),
        "local_max_bytes": 16 << 20,
        "max_payload_bytes": 4 << 20,
        "use_lock": True,
        "lock_timeout": 5.0,
        "channel": "test:updates",
        "start_listener": True,
        "redis_timeout": 5.0,
        "embedded_max_bytes": 64 << 20,
        "mark_lease": 10.0,
        "dumps": dumps,
        "loads": loads,
        "model_of": apps.get_model,
        "label_of": process.label_of,
        **changes,
    }


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Callable[..., _core.Cache]]:
    """Make a cache with changed settings; the package makes its own again afterwards."""
    yield lambda **changes: _core.configure(**settings(tmp_path, **changes))
    _core.enable(True)
    _core.close()


@pytest.fixture
def cache(configure: Callable[..., _core.Cache]) -> _core.Cache:
    return configure()


@pytest.fixture
def storeless(configure: Callable[..., _core.Cache]) -> _core.Cache:
    """Every read comes from the store: L1 is off."""
    return configure(local_max_bytes=0)


def identify(name: str, value: Any) -> tuple[bytes, int]:
    raise TypeError(f"{name} has no identity")


def plan(function: Callable[..., Any], template: Any = None, **changes: Any) -> _core.KeyPlan:
    """The plan of a function, from its code alone."""
    code = function.__code__
    names = code.co_varnames
    either = names[: code.co_argcount]
    keyword_only = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    rest = list(names[code.co_argcount + code.co_kwonlyargcount :])
    varargs = rest.pop(0) if code.co_flags & 0x04 else None
    varkw = rest.pop(0) if code.co_flags & 0x08 else None
    given = function.__defaults__ or ()
    defaults = dict(zip(either[len(either) - len(given) :], given, strict=True))
    return _core.KeyPlan(
        either,
        **{
            "positional": code.co_posonlyargcount,
            "keyword_only": keyword_only,
            "varargs": varargs,
            "varkw": varkw,
            "defaults": {**defaults, **(function.__kwdefaults__ or {})},
            "literal": f"{function.__module__}.{function.__qualname__}",
            "template": template,
            "identify": identify,
            **changes,
        },
    )


class Recorder:
    """A `slow` that computes, stores in the present cache and counts."""

    def __init__(self, function: Callable[..., Any], ttl: float | None = None) -> None:
        self.function = function
        self.ttl = ttl
        self.calls: list[tuple[bytes, int]] = []

    def __call__(
        self, key: bytes, identity: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.calls.append((key, identity))
        cache = _core.current()
        answer = cache.find(key, identity=identity) if cache else None
        if answer is not None and answer.kind == _core.HIT:
            return answer.value
        value = self.function(*args, **kwargs)
        if answer is not None and answer.lead:
            answer.lead.fill(value, tags=[], ttl=self.ttl, identity=identity)
        return value


def cached(function: Callable[..., Any], template: Any = None, **options: Any) -> Any:
    """Cache a function; its recorder is its `slow` attribute."""
    recorder = Recorder(function)
    made = _core.CachedFunction(plan(function, template), recorder, **options)
    made.__dict__.update(slow=recorder, __wrapped__=function)
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(made, name, getattr(function, name))
    return made


@pytest.fixture
def through_l1(cache: _core.Cache) -> Callable[[Any], Callable[[], Any]]:
    """Store a value; what comes back reads a copy out of L1."""

    def store(value: Any) -> Callable[[], Any]:
        key = b"value:%d" % id(value)
        assert cache.put(key, value, ttl=None)

        def read() -> Any:
            found = cache.peek(key)
            if found is _core.MISS:  # an explicit write is not kept; the first read admits it
                found = cache.get(key)
                assert cache.peek(key) is not _core.MISS
            return found

        return read

    return store


@pytest.fixture
def through_store(storeless: _core.Cache) -> Callable[[Any], Callable[[], Any]]:
    def store(value: Any) -> Callable[[], Any]:
        assert storeless.put(b"value", value, ttl=None)
        return lambda: storeless.get(b"value")

    return store
