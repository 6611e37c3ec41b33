"""Bytes of the values that the core does not encode itself: pickle or the project's own, compressed
or not.

The core authenticates payloads before `loads` sees them. Values that are a connection, a stream or
a promise rather than data are refused by name, with the path to them inside the value.
"""

from __future__ import annotations

import enum
import functools
import importlib
import io
import json
import pickle
import threading
import traceback
import types
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from django.core.handlers.asgi import ASGIRequest
from django.db.models.query import RawQuerySet
from django.http import HttpRequest

from . import conf
from .exceptions import SettingError, UnstorableValue
from .logs import log_seldom

PICKLE: Final = 2
COMPRESSED: Final = 0x80
COMPRESS_FROM: Final = 1024  # bytes; below, the gain does not pay a call
_MAX_DEPTH: Final = 50
_INSTALL: Final = {"zstd": "zstandard", "lz4": "lz4"}


class Serializer(Protocol):
    def dumps(self, value: Any) -> bytes: ...
    def loads(self, data: bytes) -> Any: ...


class Pickle:
    """Pickle, protocol 5."""

    def dumps(self, value: Any) -> bytes:
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=5).dump(value)
        return buffer.getvalue()

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - authenticated by the core


class Json:
    """JSON, for stores without pickle; refuses what would not come back the same, of one type."""

    def dumps(self, value: Any) -> bytes:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if not _is_same(json.loads(text), value):
            raise TypeError(
                "JSON would change it: a tuple, a subclass, a key that is not text, NaN"
            )
        return text.encode("utf-8", "surrogatepass")

    def loads(self, data: bytes) -> Any:
        return json.loads(data.decode("utf-8", "surrogatepass"))


def _is_same(copy: Any, value: Any) -> bool:
    """Whether values, and all that is in them, are equal and of the same types."""
    if type(copy) is not type(value):
        return False
    if isinstance(copy, list):
        return len(copy) == len(value) and all(map(_is_same, copy, value))
    if isinstance(copy, dict):
        # In one order: who walks through it sees that too.
        return _is_same(list(copy), list(value)) and all(
            _is_same(part, value[name]) for name, part in copy.items()
        )
    return bool(copy == value)


class _Compressor(NamedTuple):
    mark: int
    """First byte of the payload: it tells how to expand it, whatever a reader's setting is."""
    compress: Callable[[bytes], bytes]


class _Codecs(NamedTuple):
    serializer: Serializer
    compressor: _Compressor | None


class _Pickler(pickle.Pickler):
    """Refuses what pickles without complaint and yet is no data."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _FORBIDDEN):
            raise TypeError(f"{_FORBIDDEN_WHY}: {type(obj).__qualname__}")
        return NotImplemented


_FORBIDDEN: Final = (
    HttpRequest,
    ASGIRequest,
    RawQuerySet,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    io.IOBase,
    type(threading.Lock()),
    type(threading.RLock()),
)
_WITHOUT_PARTS: Final = (*_FORBIDDEN, type, types.ModuleType, types.FunctionType, enum.Enum)
_FORBIDDEN_WHY: Final = "a request, file, lock, generator or raw queryset is of one process"


@functools.lru_cache(maxsize=1)
def codecs() -> _Codecs:
    """The serializer and compressor of the settings.

    Raises:
        SettingError: One cannot be imported or made.
    """
    settings = conf.current()
    return _Codecs(_serializer(settings.serializer), _compressor(settings.compressor))


def forget(**_: object) -> None:
    """Look at the settings again at the next use; receiver of `setting_changed`."""
    codecs.cache_clear()


def _serializer(choice: str | type) -> Serializer:
    if choice == "pickle":
        return Pickle()
    if choice == "json":
        return Json()
    found = conf.load(choice) if isinstance(choice, str) else choice
    try:
        made: Serializer = found()
    except Exception as error:
        raise SettingError(
            f"SMARTCACHE_SERIALIZER: {choice!r} cannot be called without arguments: {error}"
        ) from error
    for method in ("dumps", "loads"):
        if not callable(getattr(made, method, None)):
            raise SettingError(f"SMARTCACHE_SERIALIZER: {choice!r} has no method {method}.")
    return made


def _compressor(name: str | None) -> _Compressor | None:
    if name is None:
        return None
    if name == "zlib":
        return _Compressor(ord("z"), functools.partial(zlib.compress, level=1))
    if name == "zstd":
        zstd = _module("zstd")  # its objects are not for several threads at once
        return _Compressor(ord("s"), lambda data: zstd.ZstdCompressor().compress(data))
    return _Compressor(ord("4"), _module("lz4").compress)


def _module(name: str) -> Any:
    package = _INSTALL[name]
    try:
        return importlib.import_module("lz4.frame" if name == "lz4" else package)
    except ImportError:
        raise SettingError(
            f"SMARTCACHE_COMPRESSOR: {name!r} needs the package {package}: pip install {package}."
        ) from None


def _expand(data: bytes) -> bytes:
    mark, body = data[0], memoryview(data)[1:]
    if mark == ord("z"):
        return zlib.decompress(body)
    if mark == ord("s"):
        return _module("zstd").ZstdDecompressor().decompress(body)  # type: ignore[no-any-return]
    if mark == ord("4"):
        return _module("lz4").decompress(body)  # type: ignore[no-any-return]
    raise ValueError(f"unknown compressor mark {mark}")


def dumps(value: Any) -> tuple[bytes, int]:
    """Encode a value for the core: (bytes, codec).

    Raises:
        UnstorableValue: Some part cannot be encoded; names the path to it.
    """
    chosen = codecs()
    try:
        data = chosen.serializer.dumps(value)
    except Exception as error:
        raise explain(value, chosen.serializer, error) from error
    if chosen.compressor and len(data) >= COMPRESS_FROM:
        packed = chosen.compressor.compress(data)
        if len(packed) + 1 < len(data):
            return bytes((chosen.compressor.mark,)) + packed, PICKLE | COMPRESSED
    return data, PICKLE


def loads(data: bytes, codec: int) -> Any:
    """The inverse of `dumps`. Whatever it raises, the core counts as a damaged entry, a miss."""
    try:
        if codec & COMPRESSED:
            data = _expand(data)
        if codec & ~COMPRESSED != PICKLE:
            raise ValueError(f"unknown codec {codec}")
        return codecs().serializer.loads(data)
    except Exception as error:
        # Not damaged, for it was authenticated: each read of it, and of what is stored next, fails.
        log_seldom(
            _failing(error),
            "%s failed, so that what is stored cannot be read and is computed each time: %r",
            error,
            error=error,
        )
        raise


def _failing(error: Exception) -> str:
    """The function that raised, which tells best whose value it was."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # since Python 3.11
    return f"{frame.f_globals.get('__name__')}.{name}"


def explain(value: Any, serializer: Serializer, error: Exception) -> UnstorableValue:
    """The error for a value that `serializer` refused, with the path to the innermost reason."""
    path, part = _culprit(value, serializer)
    return UnstorableValue(
        f"result{path} cannot be stored: "
        f"{type(part).__module__}.{type(part).__qualname__} ({error})"
    )


def _culprit(value: Any, serializer: Serializer) -> tuple[str, Any]:
    path = ""
    for _ in range(_MAX_DEPTH):
        for step, part in _parts(value):
            if not _storable(part, serializer):
                path, value = path + step, part
                break
        else:
            break
    return path, value


def _storable(value: Any, serializer: Serializer) -> bool:
    try:
        serializer.dumps(value)
    except Exception:
        return False
    return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            shown = json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)
            yield f"[{shown}]", part
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, set | frozenset):
        for part in value:
            yield "{...}", part
    elif not isinstance(value, _WITHOUT_PARTS):
        state = getattr(value, "__dict__", None)
        if isinstance(state, dict):
            for name, part in state.items():
                yield f".{name}", part
