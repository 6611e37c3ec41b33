"""Entries in a real store: values come back as they were, and changed bytes are never believed."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from djsmartcache import (
    _core,
    cache_get,
    cache_get_many,
    cache_get_or_set,
    cache_set,
    conf,
    keys,
    process,
)
from tests.core.test_values import same, values
from tests.servers import RedisServer
from tests.stores import store

__all__ = ["store"]

MAGIC = b"\xdc\x01"
MISSING = object()
examples = hypothesis_settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
numbers = itertools.count(10_000)


class InRedis:
    """The stored bytes of a key, to look at and to change."""

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client()

    def read(self, key: str) -> bytes:
        return bytes(self._client.get(self._name(key)))

    def change(self, key: str, new: bytes) -> bytes:
        """Put `new` in their place; give what is there now."""
        self._client.set(self._name(key), new, keepttl=True)
        return new

    def _name(self, key: str) -> Any:
        (name,) = self._client.keys(f"*:e:*{key}")
        return name


class InLmdb:
    """The same in the file of the embedded store: every copy that its pages hold, at its length.

    A node of a page: size of the data (4 bytes), flags (2), size of the key (2), the key (16), and
    the data: deadline and time of the store (16), the envelope.
    """

    def __init__(self, folder: Path) -> None:
        (self._file,) = folder.parent.glob(f"{folder.name}*/**/data/entries")

    def read(self, key: str) -> bytes:
        copies = self._copies(key)
        assume(copies)  # a large one is in pages of its own
        return copies[0][1]

    def change(self, key: str, new: bytes) -> bytes:
        with self._file.open("r+b", buffering=0) as file:
            for place, old in self._copies(key):
                new = new[: len(old)].ljust(len(old), b"\0")  # a longer one would hit its neighbour
                os.pwrite(file.fileno(), new, place)
        return new

    def _copies(self, key: str) -> list[tuple[int, bytes]]:
        whole = self._file.read_bytes()
        found = []
        for match in re.finditer(re.escape(MAGIC), whole):
            place = match.start()
            size = int.from_bytes(whole[place - 40 : place - 36], "little") - 16
            envelope = whole[place : place + size]
            if _core.decode_entry(conf.secret(), keys.encode(key), envelope):
                found.append((place, envelope))
        return found


Stored = InRedis | InLmdb


@pytest.fixture
def stored(store: str, settings: Any, request: pytest.FixtureRequest) -> Iterator[Stored]:
    """Bytes in the store, which is asked at every read: nothing is kept in memory."""
    settings.SMARTCACHE_LOCAL_MAX_BYTES = 0
    cache_set("first", 1)  # makes the files
    if "://" in store:
        yield InRedis(request.getfixturevalue("redis_server"))
    else:
        yield InLmdb(Path(store))


Mutation = Callable[[bytes], bytes]


def flip(where: float, bit: int) -> Mutation:
    def mutate(old: bytes) -> bytes:
        at = int(where * len(old))
        return old[:at] + bytes([old[at] ^ 1 << bit]) + old[at + 1 :]

    return mutate


fractions = st.floats(0, 1, exclude_max=True)
mutations: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(flip, fractions, st.integers(0, 7)),
    fractions.map(lambda part: lambda old: old[: int(part * len(old))]),
    st.binary(min_size=1, max_size=40).map(lambda more: lambda old: old + more),
    st.tuples(fractions, st.binary(min_size=1, max_size=40)).map(
        lambda new: lambda old: (at := int(new[0] * len(old)), old[:at] + new[1] + old[at:])[1]
    ),
    st.binary(max_size=60).map(lambda new: lambda old: new),
)


def new_key() -> str:
    return f"key-{next(numbers)}"


def misses() -> int:
    return process.cache().stats()["misses_corrupt"]


@examples
@given(value=values)
def test_values_come_back_out_of_a_store_as_they_were(stored: Stored, value: Any) -> None:
    key = new_key()
    assert cache_set(key, value)
    assert same(cache_get(key, MISSING), value)
    assert same(cache_get(key, MISSING), value)


@examples
@given(value=values, mutate=mutations)
@example(value="a", mutate=lambda old: b"")
@example(value=b"a" * 100, mutate=lambda old: old[:-1])
@example(value=b"a" * 100, mutate=lambda old: old + b"\0")
def test_changed_bytes_are_a_miss_and_are_computed_anew(
    stored: Stored, value: Any, mutate: Mutation
) -> None:
    key = new_key()
    assert cache_set(key, value)
    before = stored.read(key)
    assert before.startswith(MAGIC)
    if stored.change(key, mutate(before)) == before:
        assert same(cache_get(key, MISSING), value)
        return
    known = misses()
    assert cache_get(key, MISSING) is MISSING
    assert misses() > known
    assert cache_get_many([key]) == {}
    assert cache_get_or_set(key, lambda: "anew") == "anew"
    assert cache_get(key, MISSING) == "anew"


@examples
@given(value=values)
def test_an_entry_under_another_key_is_a_miss(stored: Stored, value: Any) -> None:
    one, other = new_key(), new_key()
    assert cache_set(one, value)
    assert cache_set(other, value)
    of_one, of_other = stored.read(one), stored.read(other)
    assert len(of_one) == len(of_other)
    stored.change(one, of_other)
    known = misses()
    assert cache_get(one, MISSING) is MISSING
    assert misses() > known
    assert same(cache_get(other, MISSING), value)
    assert cache_get_or_set(one, lambda: "anew") == "anew"


def test_an_entry_of_another_secret_is_a_miss(stored: Stored, settings: Any) -> None:
    assert cache_set("key-of-one", "value")
    settings.SMARTCACHE_SECRET = "another one, long enough"
    assert cache_get("key-of-one", MISSING) is MISSING
    assert cache_set("key-of-one", "value")
    assert cache_get("key-of-one") == "value"
