"""No kind of write leaves a stale answer to any shape of query; `tests/matrix` has both."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.db import OperationalError, connection, connections
from django.db import transaction as django_transaction
from django.db.models.functions import Now, Random
from django.db.models.signals import post_save
from django.test import override_settings

from djsmartcache import process, smart_cached
from djsmartcache.orm import catalog, schemes, tables, transaction, writes
from djsmartcache.orm.state import internal, state_of
from tests.matrix import rows, shapes
from tests.matrix.cells import SmartCells, answer
from tests.matrix.models import Book
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


# Milliseconds, and seconds, that a read waits for what locks its table.
PATIENCE = {"postgresql": "SET lock_timeout = 500", "mysql": "SET lock_wait_timeout = 1"}


def elsewhere(function: Callable[[], Any]) -> None:
    """Call over another connection; nothing is seen where the database lets nobody read."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            if connection.vendor in PATIENCE:
                # Told by hand, it would keep what is read from being stored.
                with internal(connection), connection.cursor() as cursor:
                    cursor.execute(PATIENCE[connection.vendor])
            function()
        except OperationalError as error:
            if not re.search("lock timeout|Lock wait timeout", str(error)):
                failed.append(error)
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


def _without(kind: str) -> Callable[[Any], Any]:
    """Break `Write.note`: leave out tags of a kind."""

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def note(connection: Any, tags: Any, tables: Any = None) -> None:
            left = set(tags)
            for table, (_, bulk, _) in (tables or {}).items():
                left -= {table} if kind == "table" else {bulk}
                tables = {} if kind == "conditions" else tables
            original(connection, left, tables)

        return note

    return patched


def _forgetting(original: Callable[..., int]) -> Callable[..., int]:
    def take_old(self: writes.Write) -> int:
        found = original(self)
        self.details = set()
        return found

    return take_old


BREAKS: dict[str, tuple[Any, str, Callable[[Any], Any], str]] = {
    "no table tag": (transaction, "note", _without("table"), "update_expression"),
    "no condition tags": (transaction, "note", _without("conditions"), "update_by_join"),
    "no bulk tag": (
        writes.Write,
        "note",
        lambda original: lambda self: (setattr(self, "rows", self.rows or set()), original(self)),
        "update_by_join",
    ),
    "no row tags": (
        writes.Write,
        "note",
        lambda original: lambda self: (setattr(self, "rows", set()), original(self)),
        "save",
    ),
    "no old images": (writes.Write, "take_old", _forgetting, "save_moving"),
    "no new images": (
        writes.Write,
        "by_key",
        lambda original: lambda self, **more: original(self, **more) if more else [],
        "save_moving",
    ),
    "no many-to-many tables": (
        writes.Write,
        "note",
        lambda original: lambda self: "_genres" in self.table or original(self),
        "many_to_many_add",
    ),
    "no cascades of the database": (
        catalog,
        "besides",
        lambda original: lambda *_, **__: frozenset(),
        "database_cascade",
    ),
    "no SQL by hand": (
        tables,
        "of_raw",
        lambda original: lambda sql, vendor: tables.Statement(),
        "sql_update",
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_the_matrix_can_fail(matrix: Matrix, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, make, write = BREAKS[broken]
    if broken == "no cascades of the database" and django.VERSION < (6, 1):
        pytest.skip("Django makes none")
    assert matrix.autocommit(WRITES[write]).stale == set()
    monkeypatch.setattr(owner, name, make(getattr(owner, name)))
    state_of(connections["default"]).kinds.clear()
    # A writer that does not know of all columns by which rows are looked up drops more, once.
    assert any(matrix.autocommit(WRITES[write]).stale for _ in range(3))


def test_a_bump_before_commit_is_found(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    note = transaction.note

    def early(connection: Any, *arguments: Any) -> None:
        note(connection, *arguments)
        transaction.settle(connection)

    matrix.autocommit(WRITES["save_moving"])
    monkeypatch.setattr(transaction, "note", early)
    assert matrix.committed(WRITES["save_moving"], elsewhere).stale


NEVER: dict[str, Callable[[], Any]] = {
    "select_for_update": lambda: list(Book.objects.select_for_update().filter(pk=1)),
    "order_by('?')": lambda: sorted(each.pk for each in Book.objects.order_by("?")),
    "Now": lambda: bool(Book.objects.annotate(now=Now()).first()),
    "Random": lambda: bool(Book.objects.annotate(chance=Random()).first()),
}


@pytest.mark.parametrize("what", NEVER)
def test_what_changes_by_itself_or_locks_is_never_stored(matrix: Matrix, what: str) -> None:
    calls: list[str] = []

    @smart_cached(key=f"never:{what}", ttl=None)
    def ask() -> Any:
        calls.append(what)
        with django_transaction.atomic():
            return NEVER[what]() and len(calls)

    assert [ask(), ask()] == [1, 2]


def test_post_save_finds_the_write_of_autocommit(matrix: Matrix) -> None:
    seen: list[Any] = []

    def receiver(instance: Book, **_: Any) -> None:
        seen.append(answer("by_rating", 4) == shapes.answer("by_rating", 4))
        seen.append(answer("by_pk", instance.pk) == shapes.answer("by_pk", instance.pk))

    post_save.connect(receiver, sender=Book)
    try:
        assert matrix.autocommit(WRITES["save_moving"]).stale == set()
    finally:
        post_save.disconnect(receiver, sender=Book)
    assert seen == [True, True]
