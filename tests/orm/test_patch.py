"""Every place of Django that is patched is where it was; a new Django that moves one fails here."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar

import django
import pytest
from django.contrib.contenttypes.models import ContentType, ContentTypeManager
from django.contrib.sites.models import Site, SiteManager
from django.db import connection
from django.db import transaction as django_transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models.sql.compiler import (
    SQLAggregateCompiler,
    SQLCompiler,
    SQLDeleteCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from djsmartcache.orm import dependencies, patch
from tests.orm.conftest import read
from tests.testapp.models import Product

HOOKS: list[tuple[type, str, list[str]]] = [
    (SQLCompiler, "execute_sql", ["self", "result_type", "chunked_fetch", "chunk_size"]),
    (SQLInsertCompiler, "execute_sql", ["self", "returning_fields"]),
    (SQLUpdateCompiler, "execute_returning_sql", ["self", "returning_fields"]),
    (BaseDatabaseWrapper, "connect", ["self"]),
    (BaseDatabaseWrapper, "commit", ["self"]),
    (BaseDatabaseWrapper, "rollback", ["self"]),
    (BaseDatabaseWrapper, "close", ["self"]),
    (BaseDatabaseWrapper, "savepoint_rollback", ["self", "sid"]),
    (
        BaseDatabaseWrapper,
        "set_autocommit",
        ["self", "autocommit", "force_begin_transaction_with_broken_autocommit"],
    ),
    (django_transaction.Atomic, "__exit__", ["self", "exc_type", "exc_value", "traceback"]),
    (CursorWrapper, "callproc", ["self", "procname", "params", "kparams"]),
    (CursorWrapper, "__exit__", ["self", "type", "value", "traceback"]),
    (CursorWrapper, "__getattr__", ["self", "attr"]),
    (threading.Thread, "start", ["self"]),
    (ThreadPoolExecutor, "submit", ["self", "fn", "args", "kwargs"]),
    (BaseProcess, "start", ["self"]),
    (ProcessPoolExecutor, "submit", ["self", "fn", "args", "kwargs"]),
    (ContentTypeManager, "get_for_model", ["self", "model", "for_concrete_model"]),
    (ContentTypeManager, "get_for_models", ["self", "models", "for_concrete_models"]),
    (ContentTypeManager, "get_for_id", ["self", "id"]),
    (ContentTypeManager, "get_by_natural_key", ["self", "app_label", "model"]),
    (SiteManager, "_get_site_by_id", ["self", "site_id"]),
    (SiteManager, "_get_site_by_request", ["self", "request"]),
]


@pytest.mark.parametrize(("owner", "name", "parameters"), HOOKS)
def test_every_hook_is_where_it_was(owner: type, name: str, parameters: list[str]) -> None:
    if name == "execute_returning_sql" and django.VERSION < (6, 0):
        assert not hasattr(owner, name)
        return
    patched = owner.__dict__[name]
    original = getattr(patched, patch.MARK)
    assert list(inspect.signature(original).parameters) == parameters
    assert patched.__name__ == name


def test_there_are_no_other_patches_than_those_watched() -> None:
    watched = {(owner, name) for owner, name, _ in HOOKS}
    assert {(owner, name) for owner, name, _ in patch._PATCHES} <= watched


def test_installing_again_changes_nothing() -> None:
    before = [owner.__dict__.get(name) for owner, name, _ in HOOKS]
    patch.install()
    assert [owner.__dict__.get(name) for owner, name, _ in HOOKS] == before


BACKENDS = ["sqlite3", "postgresql", "mysql", "oracle"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_backend_has_compilers_that_go_their_own_way(backend: str) -> None:
    try:
        module = importlib.import_module(f"django.db.backends.{backend}.compiler")
    except ModuleNotFoundError:
        return
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, SQLCompiler) and found.__module__ == module.__name__:
            assert "execute_sql" not in vars(found)
            assert "execute_returning_sql" not in vars(found)


def test_compilers_inherit_as_they_did() -> None:
    for found in (SQLDeleteCompiler, SQLAggregateCompiler):
        assert "execute_sql" not in vars(found)
    source = inspect.getsource(getattr(vars(SQLCompiler)["execute_sql"], patch.MARK))
    assert source.count("cursor.execute(") == 1


@pytest.mark.parametrize("backend", ["sqlite3", "postgresql"])
def test_no_backend_ends_transactions_its_own_way(backend: str) -> None:
    wrapper = importlib.import_module(f"django.db.backends.{backend}.base").DatabaseWrapper
    own = {"commit", "rollback", "set_autocommit", "savepoint_rollback"} & set(vars(wrapper))
    assert not own
    if "close" in vars(wrapper):
        assert "BaseDatabaseWrapper.close(self)" in inspect.getsource(wrapper.close)


def test_a_commit_runs_the_hooks_when_autocommit_is_back() -> None:
    commit = inspect.getsource(getattr(BaseDatabaseWrapper.commit, patch.MARK))
    assert "run_commit_hooks_on_set_autocommit_on = True" in commit
    switched = inspect.getsource(getattr(BaseDatabaseWrapper.set_autocommit, patch.MARK))
    assert "run_and_clear_commit_hooks" in switched


def test_sites_are_remembered_in_a_global() -> None:
    for name in ("_get_site_by_id", "_get_site_by_request"):
        original = getattr(vars(SiteManager)[name], patch.MARK)
        assert "SITE_CACHE" in original.__code__.co_names
        assert not original.__closure__


def test_the_blocks_of_test_cases_can_be_told() -> None:
    assert "_from_testcase = True" in inspect.getsource(TestCase._enter_atomics)
    assert django_transaction.Atomic(None, True, False)._from_testcase is False  # type: ignore[attr-defined]


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
class TestWrappers:
    def test_statements_are_seen_before_the_users_wrappers(self) -> None:
        connection.ensure_connection()
        assert connection.execute_wrappers[0] is patch._statement

    def test_statements_of_the_users_wrappers_are_seen(self) -> None:
        product = Product.objects.create(name="lamp")

        def audit(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if "testapp_tag" in sql:
                return execute(sql, params, many, context)
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO testapp_tag (name) VALUES ('audit')")
            return execute(sql, params, many, context)

        from tests.testapp.models import Tag

        tags = read(lambda: list(Tag.objects.all()))
        other = read(lambda: list(Product.objects.exclude(name="lamp")))
        with connection.execute_wrapper(audit):
            Product.objects.get(pk=product.pk)
        assert not tags.fresh
        assert other.fresh

    def test_a_new_connection_is_watched_once(self) -> None:
        connection.close()
        connection.ensure_connection()
        connection.close()
        connection.ensure_connection()
        assert connection.execute_wrappers.count(patch._statement) == 1

    def test_debug_cursors_are_watched_too(self) -> None:
        product = Product.objects.create(name="lamp")
        found = read(lambda: Product.objects.get(pk=product.pk))
        connection.force_debug_cursor = True
        try:
            product.save()
        finally:
            connection.force_debug_cursor = False
        assert not found.fresh


class TestMemories:
    """What Django remembers may be older than any token."""

    def test_a_site_is_read_anew(self, shop: None, settings: Any) -> None:
        site = Site.objects.create(domain="old.example", name="old")
        settings.SITE_ID = site.pk
        try:
            assert Site.objects.get_current().domain == "old.example"
            with connection.cursor() as cursor:  # as another process does
                cursor.execute("UPDATE django_site SET domain = 'new.example' WHERE name = 'old'")
            assert Site.objects.get_current().domain == "old.example"
            found = read(lambda: Site.objects.get_current().domain)
            assert found.value == "new.example"
            assert found.fresh
            site.save()
            assert not found.fresh
        finally:
            site.delete()

    def test_a_site_is_found_by_its_host_anew(self, shop: None, rf: Any) -> None:
        site = Site.objects.create(domain="testserver", name="old")
        request = rf.get("/", headers={"host": "testserver:80"})
        try:
            assert Site.objects.get_current(request).name == "old"
            with connection.cursor() as cursor:
                cursor.execute("UPDATE django_site SET name = 'new' WHERE name = 'old'")
            found = read(lambda: Site.objects.get_current(request).name)
            assert found.value == "new"
        finally:
            site.delete()

    def test_a_content_type_is_read_anew_once(self, shop: None) -> None:
        made = ContentType.objects.create(app_label="gone", model="old")
        try:
            assert ContentType.objects.get_for_id(made.pk).model == "old"
            with connection.cursor() as cursor:
                cursor.execute("UPDATE django_content_type SET model = 'new' WHERE model = 'old'")

            def models() -> list[str]:
                return [ContentType.objects.get_for_id(made.pk).model for _ in range(3)]

            with CaptureQueriesContext(connection) as queries:
                found = read(models)
            assert found.value == ["new"] * 3
            assert len(queries) == 1
        finally:
            made.delete()
            ContentType.objects.clear_cache()


class TestThreads:
    """What threads read that a computation starts belongs to it."""

    WAYS: ClassVar[dict[str, Callable[[Callable[[], Any]], Any]]] = {
        "a thread": lambda work: run_in_thread(work),
        "a class of threads": lambda work: run_in_own_class(work),
        "a pool": lambda work: run_in_pool(work),
        "a map": lambda work: run_in_map(work),
        "an executor of the loop": lambda work: asyncio.run(run_in_loop(work)),
        "a thread of asyncio": lambda work: asyncio.run(asyncio.to_thread(work)),
    }

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("store", ["embedded"], indirect=True)
    def test_what_they_read_is_recorded(self, shop: None, way: str) -> None:
        product = Product.objects.create(name="lamp")

        def work() -> str:
            try:
                return Product.objects.get(pk=product.pk).name
            finally:
                connection.close()

        found = read(lambda: self.WAYS[way](work))
        assert found.value == "lamp"
        assert found.fresh
        product.save()
        assert not found.fresh

    @pytest.mark.parametrize("start", ["thread", "pool"])
    def test_nothing_is_stored_while_one_still_runs(self, start: str) -> None:
        go_on = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            if start == "pool":
                found = read(lambda: pool.submit(go_on.wait))
            else:
                found = read(lambda: threading.Thread(target=go_on.wait).start())
            go_on.set()
        assert found.computed.forbidden

    def test_work_that_never_ran_holds_nothing_up(self) -> None:
        go_on = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(go_on.wait)
            found = read(lambda: pool.submit(go_on.wait).cancel())
            go_on.set()
        assert found.value
        assert found.computed.forbidden is None

    def test_threads_of_a_pool_outlive_the_computation_that_made_them(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            found = read(lambda: pool.submit(int).result())
            assert found.computed.forbidden is None
            assert pool.submit(dependencies.current).result() is None

    def test_outer_computations_know_of_them_as_well(self) -> None:
        go_on = threading.Event()

        def outer() -> threading.Thread:
            thread = threading.Thread(target=go_on.wait)
            read(thread.start)
            return thread

        found = read(outer)
        go_on.set()
        found.value.join()
        assert found.computed.forbidden

    def test_a_thread_that_cannot_start_is_as_it_was(self) -> None:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError):
            read(thread.start)
        assert "run" not in vars(thread)


class TestProcesses:
    """What child processes read nobody here sees."""

    def test_nothing_is_stored_that_a_child_may_have_read(self) -> None:
        child = multiprocessing.get_context("spawn").Process(target=int)
        found = read(child.start)
        child.join()
        assert found.computed.forbidden
        assert child.exitcode == 0

    def test_nothing_is_stored_that_a_pool_may_have_read(self) -> None:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = read(lambda: pool.submit(int).result())
            assert found.value == 0
            assert found.computed.forbidden
            # Its processes have started before.
            found = read(lambda: list(pool.map(int, ["1"])))
            assert found.computed.forbidden
            assert pool.submit(int).result() == 0


def run_in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def run_in_own_class(work: Callable[[], Any]) -> Any:
    class Own(threading.Thread):
        def run(self) -> None:
            self.found = work()

    thread = Own()
    thread.start()
    thread.join()
    return thread.found


def run_in_pool(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def run_in_map(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(lambda _: work(), [0]))


async def run_in_loop(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)
