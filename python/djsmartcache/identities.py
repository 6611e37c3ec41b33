"""What tells one value from another: its text in a key, and the fingerprint of what is loaded in
model instances, by which an old one never answers for a new one.

The core renders plain arguments; what it does not know comes to `identify` here. Texts are
injective and keep types apart.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import inspect
import ipaddress
import pathlib
import pickle
import secrets
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from types import MemberDescriptorType
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.http import HttpRequest, QueryDict
from django.utils.functional import LazyObject, Promise, cached_property, empty
from django.views import View

from . import _core, namesakes
from .exceptions import UnkeyableArgument
from .namesakes import full_name, reachable
from .orm import scopes
from .request_items import Items

REQUEST: Final = b"request<>"
VIEW: Final = b"view<>"
ANONYMOUS: Final = b"anonymous<>"


def identify(name: str | None, value: Any, *, function: str = "") -> tuple[bytes, int]:
    """Text and fingerprint of an argument of a type that the core does not know.

    Args:
        name: Of the argument. None: the key shows nothing of it, only the model instances in it
            count.

    Raises:
        UnkeyableArgument: It has no stable identity.
    """
    try:
        return (b"", account(value)) if name is None else _identified(name, value, function)
    except RecursionError:
        named = "an argument" if name is None else f"argument {name!r}"
        raise UnkeyableArgument(
            f"{function or 'the function'}: {named} contains itself, or is nested too deeply to be "
            "told from others."
        ) from None


def _identified(name: str, value: Any, function: str) -> tuple[bytes, int]:
    value = _unwrapped(value)
    if isinstance(value, models.Model):
        return _instance(name, value, function), fingerprint(value)
    if isinstance(value, HttpRequest) or is_wrapped_request(value):
        return REQUEST, 0
    if isinstance(value, View):
        return VIEW, 0
    try:
        if is_anonymous(value):
            return ANONYMOUS, _extras(value)
        return render(value), 0
    except Unkeyable as found:
        made = isinstance(found.value, type)
        part = (
            f"the class {full_name(found.value)}, which is not found under that name,"
            if made
            else f"a {full_name(type(found.value))}"
        )
        raise UnkeyableArgument(
            f"{function or 'the function'}: argument {name!r} has no stable identity, because of "
            f"{part} in it. Give smart_cached a key= without it, or "
            "one that names a part of it, such as key='x:{" + name + ".id}'."
        ) from None


class Unkeyable(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


def account(value: Any) -> int:
    """64-bit hash of the model instances and loaded rows in a value; 0: there are none."""
    marks = list(_marks(value, set()))
    if len(marks) < 2:
        return marks[0] if marks else 0
    return _number(hashlib.blake2b(b"".join(m.to_bytes(8, "little") for m in marks), digest_size=8))


def _marks(value: Any, seen: set[int]) -> Iterator[int]:
    if isinstance(value, LazyObject):
        if value._wrapped is empty:
            return  # what it will load is not old
        value = _unwrapped(value)
    if isinstance(value, models.Model):
        yield fingerprint(value)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, models.QuerySet):
        if value._result_cache is not None:
            digest = hashlib.blake2b(digest_size=8)
            _feed_attribute(digest, value, set())
            yield _number(digest)
    elif isinstance(value, set | frozenset):
        yield from sorted(mark for part in value for mark in _marks(part, seen))
    else:
        for part in _parts(value):
            yield from _marks(part, seen)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | collections.deque):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return ()


def is_wrapped_request(value: Any) -> bool:
    """Whether it is REST framework's request, which has Django's inside."""
    made = getattr(sys.modules.get("rest_framework.request"), "Request", None)
    return made is not None and issubclass(type(value), made)


def is_view_part(value: Any) -> bool:
    """Whether it is a request or a class-based view: keyable inside of a view's call alone."""
    return isinstance(value, HttpRequest | View) or is_wrapped_request(value)


def is_anonymous(value: Any) -> bool:
    """Whether it is Django's user of a visitor: no class of the project's, which may hold more."""
    cls = type(value)  # cannot be imported before the apps are ready
    return cls.__name__ == "AnonymousUser" and cls.__module__ == "django.contrib.auth.models"


def _extras(user: Any) -> int:
    """64-bit hash of what middleware has set on the user of a visitor; 0: nothing.

    It alone tells visitors apart, so what cannot be told by content is refused.
    """
    if not vars(user):
        return 0
    return _number(hashlib.blake2b(_items(vars(user).items()), digest_size=8))


def _unwrapped(value: Any) -> Any:
    if isinstance(value, LazyObject) or type(value).__name__ == "SimpleLazyObject":
        value.__class__  # noqa: B018 - evaluates it
        return value._wrapped
    return value


def user_text(user: Any) -> bytes:
    """Text of all that the user of a page carries, of whatever class: it tells one from another.

    Raises:
        UnkeyableArgument: Something of it cannot be told by content.
    """
    try:
        user = _unwrapped(user)
        if isinstance(user, models.Model):
            if not is_saved(user):
                raise Unkeyable(user)
            return _instance_text(user) + b"@%016x" % fingerprint(user, strict=True)
        with contextlib.suppress(Unkeyable):
            return render(user)
        if isinstance(user, _WITH_CONTENT) or not hasattr(user, "pk"):
            raise Unkeyable(user)
        held = {**getattr(user, "__dict__", {}), **_beside(user, object)}
        digest = hashlib.blake2b(digest_size=32)
        _feed_attribute(digest, dict(sorted(held.items())), set(), strict=True)
        return typed("user", _class_text(type(user)), render(str(user.pk)), digest.digest())
    except (Unkeyable, RecursionError):
        raise UnkeyableArgument(
            f"the user, a {full_name(type(user))}, has no stable identity"
        ) from None


def _instance(name: str, value: models.Model, function: str) -> bytes:
    if not is_saved(value):
        raise UnkeyableArgument(
            f"{function or 'the function'}: argument {name!r} is a {value._meta.label} that has "
            "not been saved: it has no primary key to be known by."
        )
    return _instance_text(value)


def _instance_text(value: models.Model) -> bytes:
    database = _database(value)
    of = typed("database", _core.encode_text(database)) if database else b""
    return f"{value._meta.label}#".encode() + render(value.pk) + of


def _database(value: models.Model) -> str:
    """The database that an instance is from; "" for the default one, under any alias, or none."""
    alias = value._state.db
    if alias is None or alias == DEFAULT_DB_ALIAS or alias not in connections.settings:
        return ""
    found = scopes.database(connections[alias])
    return "" if found == scopes.database(connections[DEFAULT_DB_ALIAS]) else found


def is_saved(value: models.Model) -> bool:
    """Whether an instance has a primary key to be known by."""
    key = value.pk
    return not (None in key if isinstance(key, tuple) else key is None)


def render(value: Any) -> bytes:
    """Typed, injective text of a value."""
    cls = type(value)
    if cls in _PLAIN:
        return _core.encode_text(value)
    made = _CONTAINERS.get(cls)
    if made is not None:
        return made(value)
    if isinstance(value, LazyObject):
        return render(_unwrapped(value))
    if isinstance(value, models.Model):
        if not is_saved(value):
            raise Unkeyable(value)
        # Inside another value: what it was loaded with is part of the text.
        return _instance_text(value) + b"@%016x" % fingerprint(value)
    if is_anonymous(value):
        return ANONYMOUS + (b"@%016x" % _extras(value) if vars(value) else b"")
    if isinstance(value, Promise):
        return render(str(value))
    if isinstance(value, enum.Enum):
        return typed("enum", _class_text(cls), _enum_name(value))
    if isinstance(value, type):
        if not reachable(value):
            raise Unkeyable(value)
        return typed("class", _core.encode_text(full_name(value)))
    for base, parts in _LEAVES:
        if isinstance(value, base):
            # A time zone is what its name says, however much of it has been loaded.
            shown = cls is base or base is datetime.tzinfo
            beside = {} if shown else _beside(value, base)
            return _of(cls, base, parts(value), beside)
    if dataclasses.is_dataclass(value):
        return _dataclass(value)
    named = _named_fields(cls)
    if named is not None:
        # One name for the rows of all queries: its fields tell what a value means.
        of = _core.encode_text(full_name(cls))
        return typed("named", of, render(named), render(tuple(tuple.__iter__(value))))
    for base, plain in _SUBCLASSED:
        if isinstance(value, base):
            if cls is not QueryDict and _beside(value, base):
                break  # it holds more than its base shows
            return typed("of", _class_text(cls), render(plain(value)), *_behaviour(value))
    raise Unkeyable(value)


def _dataclass(value: Any) -> bytes:
    cls = type(value)
    if not cls.__dataclass_params__.frozen or isinstance(value, _WITH_CONTENT):
        raise Unkeyable(value)
    names = [field.name for field in dataclasses.fields(value)]
    if not all(hasattr(value, name) for name in names):  # never set
        raise Unkeyable(value)
    shown = {name: getattr(value, name) for name in names}
    decorated = next(each for each in cls.__mro__ if "__dataclass_params__" in vars(each))
    if cls is not decorated:  # what it adds is neither a field nor frozen
        shown |= _beside(value, decorated)
    return typed("dataclass", _class_text(cls), _items(shown.items()))


def _beside(value: Any, base: type) -> dict[str, Any]:
    """What an instance of a subclass holds that its base does not show."""
    cls = type(value)
    if _is_standard(cls):
        return {}
    state: dict[str, Any] = getattr(value, "__dict__", None) or {}
    held = {name: part for name, part in state.items() if not _is_cached(base, name)}
    for each in cls.__mro__:
        if each in base.__mro__ or _is_standard(each):
            continue
        for name, slot in vars(each).items():
            if isinstance(slot, MemberDescriptorType) and hasattr(value, name):
                held[name] = getattr(value, name)
    return held


def _is_standard(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _is_cached(cls: type, name: str) -> bool:
    found = inspect.getattr_static(cls, name, None)
    return isinstance(found, cached_property | functools.cached_property)


def _behaviour(value: Any) -> list[bytes]:
    """What else a container does by, as its items do not show."""
    if isinstance(value, collections.deque) and value.maxlen is not None:
        return [render(value.maxlen)]
    if isinstance(value, collections.defaultdict):
        made: Any = value.default_factory
        if made is not None and not (hasattr(made, "__qualname__") and reachable(made)):
            raise Unkeyable(value)
        return [render(made and full_name(made))]
    return []


def _class_text(cls: type) -> bytes:
    """The name of a class beside what an instance holds."""
    if not namesakes.is_own_class(cls):
        raise Unkeyable(cls)
    return _core.encode_text(full_name(cls))


def typed(kind: str, *parts: bytes) -> bytes:
    return kind.encode() + b"<" + b",".join(parts) + b">"


def _named_fields(cls: type) -> tuple[str, ...] | None:
    """The fields of a named tuple."""
    fields = getattr(cls, "_fields", None)
    if cls.__bases__ != (tuple,) or not isinstance(fields, tuple):
        return None
    if not namesakes.is_own(f"{full_name(cls)}{fields!r}", cls.__module__, cls):
        raise Unkeyable(cls)
    return fields


def _of(cls: type, base: type, parts: tuple[Any, ...], beside: dict[str, Any]) -> bytes:
    # The class beside a well-known base: a subclass may behave differently.
    name = [] if cls is base else [_class_text(cls)]
    more = [_items(beside.items())] if beside else []
    return typed(base.__name__, *name, *(render(part) for part in parts), *more)


def _enum_name(value: enum.Enum) -> bytes:
    # A combination of flags may have no name.
    return render(value.name) if value.name is not None else render(value.value)


def _items(pairs: Iterable[tuple[Any, Any]]) -> bytes:
    return b"{" + b",".join(sorted(render(k) + b"=" + render(v) for k, v in pairs)) + b"}"


def _offset(value: datetime.datetime | datetime.time) -> tuple[Any, ...]:
    # One zone of pytz has many offsets, of which a time holds one.
    return _zone(value.tzinfo), value.utcoffset()


def _zone(tz: datetime.tzinfo | None) -> Any:
    if tz is None:
        return None
    if isinstance(tz, datetime.timezone):
        return repr(tz)
    if isinstance(tz, zoneinfo.ZoneInfo) and tz.key is not None:
        return tz.key
    named = getattr(tz, "zone", None)  # pytz
    if isinstance(named, str):
        return named
    raise Unkeyable(tz)


_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS: Final[dict[type, Callable[[Any], bytes]]] = {
    tuple: lambda v: b"(" + b",".join(map(render, v)) + b")",
    list: lambda v: b"[" + b",".join(map(render, v)) + b"]",
    dict: lambda v: _items(v.items()),
    set: lambda v: b"{|" + b",".join(sorted(map(render, v))) + b"|}",
    frozenset: lambda v: b"f{|" + b",".join(sorted(map(render, v))) + b"|}",
    Items: lambda v: _items(v.items()),
}
_Address = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)
# datetime before date, of which it is a subclass. Leading zeros, scale and zone are kept: they
# show.
_LEAVES: Final[tuple[tuple[type, Callable[[Any], tuple[Any, ...]]], ...]] = (
    (datetime.datetime, lambda v: (v.replace(tzinfo=None).isoformat(), v.fold, *_offset(v))),
    (datetime.date, lambda v: (v.isoformat(),)),
    (datetime.time, lambda v: (v.replace(tzinfo=None).isoformat(), v.fold, *_offset(v))),
    (datetime.timedelta, lambda v: (v.days, v.seconds, v.microseconds)),
    (datetime.tzinfo, lambda v: (_zone(v),)),
    (decimal.Decimal, lambda v: (str(v),)),
    (fractions.Fraction, lambda v: (v.numerator, v.denominator)),
    (uuid.UUID, lambda v: (v.hex,)),
    (pathlib.PurePath, lambda v: (str(v),)),
    (range, lambda v: (v.start, v.stop, v.step)),
    (complex, lambda v: (v.real, v.imag)),
    (bytearray, lambda v: (bytes(v),)),
    (memoryview, lambda v: (v.tobytes(), v.format, v.shape)),
    *((address, lambda v: (str(v), getattr(v, "scope_id", None))) for address in _Address),
)
# The plain value inside an instance of a subclass, around whatever the subclass overrides.
_SUBCLASSED: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda v: b"".join((v,))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (list, lambda v: list(list.__iter__(v))),
    (collections.OrderedDict, lambda v: list(v.items())),
    (dict, lambda v: dict(dict.items(v))),
    (frozenset, lambda v: set(frozenset.__iter__(v))),
    (set, lambda v: set(set.__iter__(v))),
    (collections.deque, list),
)
_WITH_CONTENT: Final = tuple(base for base, _ in _SUBCLASSED)


def fingerprint(instance: models.Model, *, strict: bool = False) -> int:
    """64-bit hash of all that is loaded in an instance: its fields, annotations and loaded
    relations.

    What has been loaded will be used without asking the database again, so it tells old from new.
    `strict`: what is set on it and cannot be told by content (a request, a lock) raises, and is not
    left out.
    """
    digest = hashlib.blake2b(digest_size=8)
    _feed(digest, instance, set(), strict=strict)
    return _number(digest)


def _number(digest: hashlib.blake2b) -> int:
    return int.from_bytes(digest.digest(), "little") or 1


def _feed(
    digest: hashlib.blake2b, instance: models.Model, seen: set[int], *, strict: bool = False
) -> None:
    if id(instance) in seen:
        digest.update(b"^")
        return
    seen.add(id(instance))
    digest.update(_database(instance).encode())
    state = instance.__dict__
    fields = {f.attname for f in instance._meta.concrete_fields}
    for name, value in state.items():
        if name == "_state":
            continue
        if name in fields:
            digest.update(name.encode() + b"=" + _field_content(value) + b";")
        else:
            digest.update(name.encode() + b":")
            _feed_attribute(digest, value, seen, strict=strict)
    for name, value in instance._state.fields_cache.items():
        digest.update(b">" + name.encode())
        _feed_attribute(digest, value, seen, strict=strict)


def _feed_attribute(
    digest: hashlib.blake2b, value: Any, seen: set[int], *, strict: bool = False
) -> None:
    """Feed what is no field: annotations, loaded relations, what the project sets. What cannot be
    told by content does not count, unless it is `strict`."""
    if isinstance(value, models.Model):
        _feed(digest, value, seen, strict=strict)
    elif isinstance(value, models.QuerySet | list | tuple | dict | set | frozenset):
        if id(value) in seen:
            digest.update(b"^")
            return
        seen.add(id(value))
        parts: Any = value
        if isinstance(value, models.QuerySet):
            # Not loaded, it will be asked then; what it asks for tells it from another.
            parts = value._result_cache
            if parts is None:
                parts = [_query_text(value)]
        elif isinstance(value, dict):
            parts = [part for pair in value.items() for part in pair]
        elif isinstance(value, set | frozenset):
            parts = sorted(_attribute_content(part, strict) for part in value)
        digest.update(b"[")
        for part in parts:
            _feed_attribute(digest, part, seen, strict=strict)
        digest.update(b"]")
    else:
        digest.update(_attribute_content(value, strict) + b";")


def _query_text(queryset: models.QuerySet[Any]) -> str:
    try:
        return str(queryset.query)
    except EmptyResultSet:
        return ""


def _field_content(value: Any) -> bytes:
    try:
        return _content(value)
    except Unkeyable:
        return secrets.token_bytes(16)  # as nothing tells whether it is another's: equal to none


def _attribute_content(value: Any, strict: bool) -> bytes:
    try:
        return _content(value)
    except Unkeyable:
        if strict:
            raise
        return b""


def _content(value: Any) -> bytes:
    """Bytes that differ where values differ."""
    try:
        return render(value)
    except Unkeyable:
        pass
    named = getattr(value, "name", None)  # a FieldFile drags its instance and storage along
    if hasattr(value, "storage") and (named is None or isinstance(named, str)):
        return render(named)
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:
        raise Unkeyable(value) from None
