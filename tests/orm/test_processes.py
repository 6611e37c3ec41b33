"""Several processes on one database and one store: no answer stays stale, whoever is slow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.children import Child
from tests.orm.conftest import environment
from tests.testapp.models import Product

PRODUCTS = 30
WORKERS = 3
SECONDS = 1.2  # of a race: each product has its turn
BOUND = 2.0  # seconds for which a process may trust its memory beside Redis


Start = Callable[..., list[Child]]


@pytest.fixture
def start(shop: None, database: dict[str, Any], store: dict[str, str]) -> Iterator[Start]:
    """Start so many workers, all of them ready."""
    made: list[Child] = []

    def start(number: int, **more: str) -> list[Child]:
        variables = {**environment(database, store), **more}
        workers = [Child("tests.orm.worker", variables) for _ in range(number)]
        made.extend(workers)
        assert [worker.hear() for worker in workers] == ["ready"] * number
        return workers

    Product.objects.bulk_create(Product(pk=pk, name=str(pk)) for pk in range(1, PRODUCTS + 1))
    yield start
    for worker in made:
        worker.close()


def test_a_write_is_seen_by_every_process(start: Start) -> None:
    first, second = start(2)
    assert first.ask("read", 1) == second.ask("read", 1) == "0"
    assert first.ask("save", 1, 7) == "saved"
    assert first.ask("read", 1) == "7"
    assert eventually(second, "read", 1, answer="7")
    Product.objects.filter(pk=1).update(stock=8)
    assert eventually(first, "read", 1, answer="8")
    assert eventually(second, "read", 1, answer="8")


def eventually(worker: Child, *words: object, answer: str) -> bool:
    """Ask until the answer is right: other processes hear of a bump a moment later."""
    return any(worker.ask(*words) == answer for _ in range(2_000))


def overtaken(start: Start, *, broken: bool) -> str:
    """Let a writer finish while a reader holds what it has read; give what is read afterwards."""
    reader, writer = start(2)
    # What Django asks a MySQL server of itself, once, is no part of an answer that can be kept.
    assert reader.ask("read", 2) == "0"
    if broken:
        assert reader.ask("late") == "late"
    assert reader.ask("hold", 1) == "queried"
    assert writer.ask("save", 1, 5) == "saved"
    assert reader.ask("go") == "0"
    eventually(reader, "read", 1, answer="5")
    return reader.ask("read", 1)


def test_a_slow_reader_does_not_store_over_a_write(start: Start) -> None:
    assert overtaken(start, broken=False) == "5"


def test_tokens_taken_after_the_query_leave_a_stale_entry(start: Start) -> None:
    assert overtaken(start, broken=True) == "0", "the test above proves nothing"


# --- at random


def race(workers: list[Child], *, late: bool, bound: float) -> tuple[list[str], int]:
    """Let all workers read, with delayed stores, and write; then let the writes end.

    Args:
        late: Take tokens after the query.
        bound: Seconds after an acknowledged write for which another process may not know of it.

    Returns:
        What was read although a newer write had been acknowledged before; and how many entries
        never recovered.
    """
    if late:
        assert {worker.ask("late") for worker in workers} == {"late"}
    begin = time.monotonic() + 0.1
    for worker in workers:
        worker.tell("race", begin, SECONDS)
    reports = [json.loads(worker.hear()) for worker in workers]
    wrong = []
    for reader, report in enumerate(reports):
        newest: dict[int, list[tuple[float, int]]] = {}
        for writer, other in enumerate(reports):
            for pk, stock, when in other["saved"]:
                known = when if writer == reader else when + bound
                newest.setdefault(pk, []).append((known, stock))
        for pk, stock, began in report["seen"]:
            known = max((s for when, s in newest.get(pk, []) if when <= began), default=0)
            if stock < known:
                wrong.append(f"worker {reader} read {stock} of product {pk}, not {known}")
    right = list(Product.objects.order_by("pk").values_list("stock", flat=True))
    assert sum(right) == sum(len(report["saved"]) for report in reports)
    end = time.monotonic() + bound + 1
    while stale := sum(
        a != b
        for worker in workers
        for a, b in zip(json.loads(worker.ask("stocks")), right, strict=True)
    ):
        if time.monotonic() > end:
            break
    return wrong, stale


def bound_of(store: dict[str, str]) -> float:
    return BOUND if "://" in store["SMARTCACHE_TEST_STORE"] else 0.0


ON_POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.mark.parametrize(
    ("database", "store"),
    [("sqlite", "embedded"), ("postgresql", "embedded"), ("postgresql", "redis")],
    indirect=True,
)
def test_delayed_stores_racing_writers_leave_nothing_stale(
    start: Start, store: dict[str, str]
) -> None:
    assert race(start(WORKERS), late=False, bound=bound_of(store)) == ([], 0)


@ON_POSTGRESQL
@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_without_a_listener_a_race_shows_every_acknowledged_write(start: Start) -> None:
    workers = start(WORKERS, SMARTCACHE_TEST_LISTENER="no")
    assert race(workers, late=False, bound=0.0) == ([], 0)


@ON_POSTGRESQL
def test_the_race_catches_tokens_taken_after_the_query(start: Start, store: dict[str, str]) -> None:
    wrong, stale = race(start(WORKERS), late=True, bound=bound_of(store))
    assert stale > 0, "the tests above prove nothing"
    assert wrong or bound_of(store), "an entry that stays stale was never read"
