"""No kind of write leaves a stale answer to any shape of query; `tests/matrix` has both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from djsmartcache import process
from djsmartcache.orm import schemes
from tests.matrix import rows
from tests.matrix.cells import SmartCells
from tests.matrix.running import Matrix
from tests.matrix.writes import WRITES, Write


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
