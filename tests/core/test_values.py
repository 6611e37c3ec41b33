"""Values through L1 and through the store: equal, private, of the same types and shape."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import gc
import math
import sys
import tracemalloc
import uuid
import weakref
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from djsmartcache import _core
from tests.core.conftest import PICKLE, Unstorable

NATIVE = 1
Store = Callable[[Any], Callable[[], Any]]


class Pair(NamedTuple):
    left: Any
    right: Any


class Color(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


class Loud(str):
    pass


@dataclasses.dataclass
class Box:
    content: Any


zones = (
    st.none()
    | st.just(dt.timezone.utc)
    | st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
    | st.sampled_from([zoneinfo.ZoneInfo("Europe/Paris"), zoneinfo.ZoneInfo("Asia/Kolkata")])
)
surrogates = st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF) | st.characters())
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | surrogates
    | st.binary()
    | st.dates()
    | st.builds(
        lambda d, z, f: d.replace(tzinfo=z, fold=f), st.datetimes(), zones, st.integers(0, 1)
    )
    | st.builds(lambda t, z, f: t.replace(tzinfo=z, fold=f), st.times(), zones, st.integers(0, 1))
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
)
hashable = st.recursive(
    scalars.filter(lambda v: not (isinstance(v, decimal.Decimal) and v.is_snan())),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
rows = st.lists(st.sampled_from(["id", "name", "price", "at"]), unique=True).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries({n: scalars | st.lists(scalars, max_size=2) for n in names}),
        max_size=6,
    )
)
values = st.recursive(
    scalars | rows,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal, NaN and all, with types, zones and folds; containers in the same order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, decimal.Decimal):
        return str(left) == str(right)
    if isinstance(left, dt.datetime | dt.time):
        return repr(left) == repr(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    return bool(left == right)


def mutables(value: Any) -> set[int]:
    """The ids of everything in a value that somebody could change."""
    found: set[int] = set()
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | dict | set) or (
            hasattr(part, "__dict__") and not isinstance(part, type | enum.Enum)
        ):
            if id(part) in found:
                continue
            found.add(id(part))
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
    return found


@given(values)
@settings(max_examples=300)
def test_native_payloads_come_back_the_same(value: Any) -> None:
    payload, codec = _core.encode(value)
    assert codec == NATIVE
    assert same(_core.decode(payload, codec), value)


@given(values)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_l1_gives_equal_and_private_copies(through_l1: Store, value: Any) -> None:
    read = through_l1(value)
    first, second = read(), read()
    assert same(first, value)
    assert same(second, value)
    assert not mutables(first) & mutables(value)
    assert not mutables(first) & mutables(second)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_damaged_payloads_are_refused_quietly(payload: bytes) -> None:
    with contextlib.suppress(ValueError):
        _core.decode(b"\x01" + payload, NATIVE)


@given(values, st.data())
@settings(max_examples=200)
def test_mutated_payloads_never_crash(value: Any, data: Any) -> None:
    payload = bytearray(_core.encode(value)[0])
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        _core.decode(bytes(payload[: data.draw(st.integers(1, len(payload)))]), NATIVE)


@pytest.mark.parametrize(
    "value",
    [
        5,
        "text",
        None,
        True,
        1.5,
        b"bytes",
        10**30,
        (1, ("a", b"b")),
        frozenset([1, (2, 3)]),
        Color.RED,
        Level.LOW,
        decimal.Decimal("1.50"),
        uuid.UUID(int=5),
        dt.date(2020, 2, 29),
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
        dt.timedelta(days=-1, microseconds=5),
        Text("safe"),
        Pair(1, "x"),
        int,
        len,
        zoneinfo.ZoneInfo("UTC"),
        1j,
    ],
)
def test_immutable_values_are_shared_by_reference(through_l1: Store, value: Any) -> None:
    read = through_l1(value)
    assert read() is read()
    assert same(read(), value) or read() == value


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box([1]),
        lambda: Loud("x"),
        lambda: {"a": [Box({"b": 1})]},
        lambda: collections.OrderedDict(a=[1]),
        lambda: collections.defaultdict(list, a=[1]),
        lambda: collections.deque([[1]]),
        lambda: bytearray(b"x"),
        lambda: [dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "named"))],
    ],
)
def test_values_of_other_classes_come_back_by_the_serializer(
    through_l1: Store, make: Callable[[], Any]
) -> None:
    value = make()
    assert _core.encode(value)[1] == PICKLE
    read = through_l1(value)
    assert type(read()) is type(value)
    assert read() == value
    assert not mutables(read()) & mutables(value)


def test_named_tuples_are_rebuilt_by_their_class(through_l1: Store) -> None:
    value = [Pair([1], {"a": Pair([], 2)})]
    read = through_l1(value)
    assert read() == value
    assert type(read()[0]) is Pair
    read()[0].left.append(5)
    assert read() == [Pair([1], {"a": Pair([], 2)})]


@pytest.mark.parametrize("path", ["through_l1", "through_store"])
def test_what_stands_twice_in_a_value_stands_twice_in_each_copy(
    path: str, request: pytest.FixtureRequest
) -> None:
    shared: list[Any] = [1]
    value = {"a": shared, "b": (shared, {"c": shared}), "d": [[], shared]}
    read = request.getfixturevalue(path)(value)
    for copy in (read(), read()):
        assert copy == value
        assert copy["a"] is copy["b"][0] is copy["b"][1]["c"] is copy["d"][1]
        assert copy["a"] is not shared
    assert read()["a"] is not read()["a"]


@pytest.mark.parametrize("path", ["through_l1", "through_store"])
def test_cycles_come_back_as_cycles(path: str, request: pytest.FixtureRequest) -> None:
    ring: dict[str, Any] = {"list": []}
    ring["list"].append(ring)
    through_tuple: list[Any] = []
    through_tuple.append((through_tuple,))
    read = request.getfixturevalue(path)([ring, through_tuple])
    copy = read()
    assert copy[0]["list"][0] is copy[0]
    assert copy[1][0][0] is copy[1]
    assert copy[0] is not ring


@pytest.mark.parametrize("path", ["through_l1", "through_store"])
def test_deep_values_do_not_overflow(path: str, request: pytest.FixtureRequest) -> None:
    value: list[Any] = []
    for _ in range(150):
        value = [value]
    assert request.getfixturevalue(path)(value)() == value


def test_too_deep_values_raise_what_dumps_raises(cache: _core.Cache) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Unstorable):
        cache.put(b"k", value, ttl=None)
    while value:  # taking it apart by recursion would overflow, too
        value = value[0]


def test_unstorable_values_raise_and_leave_nothing(cache: _core.Cache) -> None:
    for value in ((x for x in ()), {"a": [lambda: 0]}, sys.stdout):
        with pytest.raises(Unstorable):
            cache.put(b"k", value, ttl=None)
    assert cache.get(b"k") is _core.MISS


def test_the_callers_own_value_is_not_the_template(through_l1: Store) -> None:
    value = {"a": [1, {"b": {2}}]}
    read = through_l1(value)
    value["a"].append("later")
    value["a"][1]["b"].add(3)
    assert read() == {"a": [1, {"b": {2}}]}


def test_large_ints_and_texts_in_columns() -> None:
    value = [
        {"n": 2**80 if i == 3 else i, "t": "x" * i, "d": decimal.Decimal(i) / 8} for i in range(50)
    ]
    payload, codec = _core.encode(value)
    assert same(_core.decode(payload, codec), value)


def test_columns_make_lists_of_dicts_small() -> None:
    value = [
        {"id": i, "name": "same", "at": dt.date(2020, 1, 1) + dt.timedelta(i)} for i in range(1000)
    ]
    assert len(_core.encode(value)[0]) < 6000


def test_copies_leave_no_references_behind(through_l1: Store) -> None:
    text = "some text that nobody interns"
    value = [text, {"k": text, "more": [text, (text, [text])]}]
    read = through_l1(value)
    read()
    before = sys.getrefcount(text)
    for _ in range(100):
        read()
    gc.collect()
    assert sys.getrefcount(text) == before


@pytest.mark.parametrize("path", ["through_l1", "through_store"])
def test_reading_again_and_again_keeps_no_memory(path: str, request: pytest.FixtureRequest) -> None:
    shared = [1]
    read = request.getfixturevalue(path)(
        [{"a": i, "b": [str(i)], "c": (i, {i}), "s": shared} for i in range(50)]
        + [Box(uuid.uuid4())]
    )
    for _ in range(20):
        read()
    gc.collect()
    tracemalloc.start()
    try:
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            read()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - first < 20_000
    finally:
        tracemalloc.stop()


def test_values_leave_with_their_entries(cache: _core.Cache) -> None:
    def referrers() -> int:
        return sys.getrefcount(Text)

    start = referrers()
    labels = [Text(i) for i in range(10)]
    cache.put(b"k", [labels], ttl=None)
    del labels
    gc.collect()
    assert cache.get(b"k")
    assert cache.peek(b"k") is not _core.MISS
    assert referrers() >= start + 10
    cache.clear()
    assert cache.peek(b"k") is _core.MISS  # drains what the core dropped
    assert referrers() <= start + 1


def test_the_collector_keeps_the_state_the_user_chose(through_l1: Store) -> None:
    read = through_l1([[i] for i in range(1000)])
    assert gc.isenabled()
    read()
    assert gc.isenabled()
    gc.disable()
    try:
        read()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_copies_are_collected_as_any_other_object(through_l1: Store) -> None:
    read = through_l1({"a": [1]})
    for extra in (1, [1]):
        copy = read()
        copy["self"] = copy
        copy["extra"] = extra

        class Canary:
            pass

        canary = Canary()
        copy["canary"] = canary
        gone = weakref.ref(canary)
        del copy, canary
        gc.collect()
        assert gone() is None


def test_a_class_that_dies_is_forgotten(through_l1: Store) -> None:
    kinds = []
    for _ in range(50):
        kind = collections.namedtuple("kind", "a")
        kinds.append(weakref.ref(kind))
        with contextlib.suppress(Unstorable):
            _core.encode([kind(1)])
        del kind
    gc.collect()
    assert not any(ref() for ref in kinds)


def test_a_value_changed_by_its_own_serializer(configure: Callable[..., _core.Cache]) -> None:
    """dumps may run anything, also what changes the containers that are being walked."""
    victim: list[Any] = []

    def dumps(value: Any) -> tuple[bytes, int]:
        victim.clear()
        return b"x", PICKLE

    cache = configure(dumps=dumps, loads=lambda data, codec: "loaded")
    victim.extend([1, {"a": Box(1)}, 2])
    assert cache.put(b"k", victim, ttl=None)
    assert cache.get(b"k") == "loaded"


def test_dumps_must_keep_its_contract(configure: Callable[..., _core.Cache]) -> None:
    for reply in (None, b"x", ("x", 2), (b"x", "2"), (b"x",)):
        cache = configure(dumps=functools.partial(lambda reply, value: reply, reply))
        with pytest.raises(TypeError):
            cache.put(b"k", Box(1), ttl=None)
