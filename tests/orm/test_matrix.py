"""No kind of write leaves a stale answer to any shape of query; `tests/matrix` has both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test import override_settings

from djsmartcache import process, smart_cached
from djsmartcache.orm import schemes
from djsmartcache.orm.state import internal
from tests.matrix import rows, shapes
from tests.matrix.running import Cell, Matrix
from tests.matrix.writes import WRITES, Write

_computed: list[Cell] = []


@smart_cached(ttl=None)
def answer(name: str, argument: Any) -> Any:
    _computed.append((name, argument))
    return shapes.answer(name, argument)


class SmartCells:
    """The cells as entries of djsmartcache."""

    def ask(self, cell: Cell) -> tuple[Any, bool]:
        before = len(_computed)
        value = answer(*cell)
        return value, len(_computed) > before

    def compute(self, cell: Cell) -> Any:
        return shapes.answer(*cell)

    def drop(self, cell: Cell) -> None:
        answer.invalidate(*cell)

    def unseen(self) -> Any:
        return internal(connections[DEFAULT_DB_ALIAS])


@pytest.fixture(scope="module")
def matrix(
    database: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[Matrix]:
    folder = str(tmp_path_factory.mktemp("store"))
    with (
        django_db_blocker.unblock(),
        override_settings(SMARTCACHE_REDIS_URL=None, SMARTCACHE_DIR=folder),
    ):
        schemes.forget()
        cells = SmartCells()
        yield Matrix(cells)
        rows.forget(cells.unseen)
        process.close()


def elsewhere(function: Callable[[], Any]) -> None:
    """Call over another connection."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@pytest.fixture(params=WRITES.values(), ids=WRITES)
def write(request: pytest.FixtureRequest, database: dict[str, Any]) -> Write:
    found: Write = request.param
    if connection.vendor not in found.vendors:
        pytest.skip("of other databases")
    return found


def test_no_cell_is_stale(matrix: Matrix, write: Write) -> None:
    assert matrix.autocommit(write).stale == set()
    if not write.commits:
        assert matrix.committed(write, elsewhere).stale == set()
        assert matrix.undone(write) == set()
