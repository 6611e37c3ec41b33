"""What the core does not encode itself: round trips, compression, and what is refused by name."""

from __future__ import annotations

import enum
import io
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from djsmartcache import UnstorableValue, conf, logs, serializers, smart_cached
from tests.core.test_values import same
from tests.stores import store
from tests.testapp.models import Product

__all__ = ["store"]


class Free:
    """Something that only pickle knows."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Free) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


class Upper:
    """A serializer of the project's own."""

    def dumps(self, value: str) -> bytes:
        return value.upper().encode()

    def loads(self, data: bytes) -> str:
        return data.decode()


values = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(), lambda v: st.lists(v) | st.builds(Free, v)
)


@given(values)
def test_values_come_back(value: Any) -> None:
    assert serializers.loads(*serializers.dumps(value)) == value


@pytest.mark.parametrize("compressor", ["zlib"])
def test_large_values_are_compressed_and_read_under_any_setting(compressor: str) -> None:
    value = Free("x" * 10_000)
    with override_settings(SMARTCACHE_COMPRESSOR=compressor):
        data, codec = serializers.dumps(value)
        assert codec == serializers.PICKLE | serializers.COMPRESSED
        assert len(data) < 500
        assert serializers.dumps(Free("x"))[1] == serializers.PICKLE
    assert serializers.loads(data, codec) == value


def test_what_compression_does_not_shrink_stays_as_it_is() -> None:
    noise = b"".join(bytes([(i * i * 31 + i) % 251]) for i in range(50)) * 1
    with override_settings(SMARTCACHE_COMPRESSOR="zlib"):
        assert serializers.dumps(noise)[1] == serializers.PICKLE


@override_settings(SMARTCACHE_SERIALIZER="tests.test_serializers.Upper")
def test_a_serializer_of_the_project() -> None:
    assert serializers.loads(*serializers.dumps("abc")) == "ABC"


class Text(str):
    __slots__ = ()


class Number(enum.IntEnum):
    ONE = 1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda value: st.lists(value) | st.dictionaries(st.text(), value),
)


@given(json_values)
@override_settings(SMARTCACHE_SERIALIZER="json")
def test_json_gives_back_what_it_takes(value: Any) -> None:
    assert same(serializers.loads(*serializers.dumps(value)), value)


@pytest.mark.parametrize(
    "changed",
    [
        (1, 2),
        {1: 2},
        {None: 1},
        {True: 1, "a": 2},
        {Text("a"): 1},
        Text("a"),
        Number.ONE,
        OrderedDict(a=1),
        defaultdict(list, a=[1]),
        type("List", (list,), {})([1]),
        type("Float", (float,), {})(1.5),
        float("nan"),
        Free(1),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("around", [lambda v: v, lambda v: [v], lambda v: {"a": [{"b": v}]}])
@override_settings(SMARTCACHE_SERIALIZER="json")
def test_json_refuses_what_it_would_change(changed: Any, around: Callable[[Any], Any]) -> None:
    with pytest.raises(UnstorableValue):
        serializers.dumps(around(changed))


@override_settings(SMARTCACHE_SERIALIZER="json")
def test_what_json_would_change_is_named_with_its_path() -> None:
    with pytest.raises(UnstorableValue, match=r'^result\["rows"\]\[1\] cannot .*Number'):
        serializers.dumps({"rows": [1, Number.ONE]})


@pytest.mark.parametrize(
    "forbidden",
    [
        threading.Lock(),
        (x for x in ()),
        io.BytesIO(),
        HttpRequest(),
        Product.objects.raw("SELECT 1"),
        lambda: 1,
    ],
)
def test_what_is_no_data_is_named_with_its_path(forbidden: Any) -> None:
    value = {"rows": [1, Free((0, {"deep": forbidden}))]}
    with pytest.raises(
        UnstorableValue, match=r'^result\["rows"\]\[1\]\.value\[1\]\["deep"\] cannot'
    ):
        serializers.dumps(value)


def test_an_open_file_is_no_data() -> None:
    with Path(__file__).open() as file, pytest.raises(UnstorableValue, match="TextIOWrapper"):
        serializers.dumps([file])


@pytest.mark.parametrize("compressor", ["zstd", "lz4"])
def test_a_compressor_whose_package_is_missing_is_a_setting_s_error(
    compressor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(serializers.importlib, "import_module", missing)
    with override_settings(SMARTCACHE_COMPRESSOR=compressor), pytest.raises(conf.SettingError):
        serializers.codecs()
    serializers.forget()


@pytest.mark.parametrize(("data", "codec"), [(b"", 2), (b"x", 7), (b"q123", 0x82), (b"z123", 0x82)])
def test_damaged_bytes_raise_for_the_core_to_count(data: bytes, codec: int) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - any; the core turns it into a miss
        serializers.loads(data, codec)


class Unreadable:
    """Pickles without complaint, and cannot be made again."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise RuntimeError("the service that it asks is not there")


class Demanding(Exception):
    """As exceptions with arguments of their own are."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize("local", [True, False], ids=["kept in the process", "read from the store"])
@pytest.mark.parametrize(
    ("made", "culprit"),
    [(Unreadable, "Unreadable.__setstate__"), (lambda n: Demanding(n, n), "serializers")],
    ids=["setstate", "init"],
)
def test_what_cannot_be_made_again_is_computed_each_time_and_told_once(
    made: Callable[[int], Any],
    culprit: str,
    local: bool,
    store: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(logs, "_logged", {})
    if not local:
        settings.SMARTCACHE_LOCAL_MAX_BYTES = 0
    calls: list[int] = []

    @smart_cached(key=f"unreadable-{local}", ttl=60)
    def f() -> Any:
        calls.append(1)
        return made(len(calls))

    for number in (1, 2, 3):
        assert type(f()) is type(made(0))
        assert len(calls) == number
    (line,) = [record.getMessage() for record in caplog.records]
    assert culprit.rpartition(".")[2] in line
    assert "cannot be read" in line
