"""Several processes on one database and one store: no answer stays stale, whoever is slow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.orm.conftest import environment
from tests.testapp.models import Product

PRODUCTS = 4
ROUNDS = 60


class Worker:
    """A child process that runs `tests.orm.worker`."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.orm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
            cwd=Path(__file__).parents[2],
        )

    def tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


Start = Callable[[int], list[Worker]]


@pytest.fixture
def start(shop: None, database: dict[str, Any], store: dict[str, str]) -> Iterator[Start]:
    """Start so many workers, all of them ready."""
    made: list[Worker] = []

    def start(number: int) -> list[Worker]:
        variables = environment(database, store)
        workers = [Worker(variables) for _ in range(number)]
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


def eventually(worker: Worker, *words: object, answer: str) -> bool:
    """Ask until the answer is right: other processes hear of a bump a moment later."""
    return any(worker.ask(*words) == answer for _ in range(2_000))


def overtaken(start: Start, *, broken: bool) -> str:
    """Let a writer finish while a reader holds what it has read; give what is read afterwards."""
    reader, writer = start(2)
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


def test_readers_and_writers_racing_leave_nothing_stale(start: Start) -> None:
    readers, writers = start(2), start(2)
    for worker in readers:
        worker.tell("race", "read", ROUNDS * 10)
    for worker in writers:
        worker.tell("race", "save", ROUNDS)
    for worker in readers + writers:
        assert worker.hear() == "raced"
    stocks = dict(Product.objects.values_list("pk", "stock"))
    for worker in readers + writers:
        for pk, stock in stocks.items():
            assert eventually(worker, "read", pk, answer=str(stock)), (pk, connection.vendor)
