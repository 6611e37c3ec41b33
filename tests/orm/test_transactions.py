"""Bumps follow COMMIT and precede on_commit hooks; what a transaction may read and store."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, DataError, connection, connections
from django.db import transaction as django_transaction
from django.db.models.signals import post_save
from django.test import TestCase

from djsmartcache import _core, cache_get, cache_set, invalidate_tags, smart_cached
from djsmartcache.orm import transaction
from djsmartcache.orm.state import state_of
from djsmartcache.orm.switches import no_invalidation, smartcache_disabled
from tests.orm.conftest import Recorded, read
from tests.testapp.models import Product, Restaurant, Tag

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture
def lamp(shop: None) -> Product:
    return Product.objects.create(name="lamp")


def of(product: Product) -> Recorded:
    return read(lambda: Product.objects.filter(pk=product.pk).first())


class BoomError(Exception):
    pass


class TestCommit:
    def test_nothing_is_dropped_before_commit(self, lamp: Product) -> None:
        found = of(lamp)
        with django_transaction.atomic():
            lamp.save()
            assert found.fresh
        assert not found.fresh

    def test_only_the_outermost_block_commits(self, lamp: Product) -> None:
        found = of(lamp)
        with django_transaction.atomic(durable=True):
            with django_transaction.atomic():
                lamp.save()
            assert found.fresh
        assert not found.fresh

    def test_on_commit_hooks_run_after_the_bump(self, lamp: Product) -> None:
        found = of(lamp)
        seen: list[bool] = []
        with django_transaction.atomic():
            django_transaction.on_commit(lambda: seen.append(found.fresh))
            lamp.save()
        assert seen == [False]

    def test_in_autocommit_the_bump_precedes_post_save(self, lamp: Product) -> None:
        found = of(lamp)
        seen: list[bool] = []

        def receiver(**_: Any) -> None:
            seen.append(found.fresh)

        post_save.connect(receiver, sender=Product)
        try:
            lamp.save()
        finally:
            post_save.disconnect(receiver, sender=Product)
        assert seen == [False]

    def test_several_writes_are_one_bump(self, lamp: Product, monkeypatch: Any) -> None:
        bumps: list[int] = []
        bump = transaction.bump
        monkeypatch.setattr(
            transaction, "bump", lambda *args: (bumps.append(len(args[0])), bump(*args))
        )
        with django_transaction.atomic():
            lamp.save()
            Tag.objects.create(name="a")
            Restaurant.objects.create(name="Oak")
        assert len(bumps) == 1

    def test_commit_by_hand(self, lamp: Product) -> None:
        found = of(lamp)
        django_transaction.set_autocommit(False)
        try:
            lamp.save()
            assert found.fresh
            django_transaction.commit()
            assert not found.fresh
            found = of(lamp)
            assert found.computed.forbidden or found.fresh
        finally:
            django_transaction.rollback()
            django_transaction.set_autocommit(True)

    def test_autocommit_switched_on_commits_what_is_open(self, lamp: Product) -> None:
        if connection.vendor == "postgresql":
            pytest.skip("psycopg refuses to switch inside of a transaction")
        found = of(lamp)
        django_transaction.set_autocommit(False)
        lamp.save()
        django_transaction.set_autocommit(True)
        assert not found.fresh

    def test_begin_and_commit_as_sql(self, lamp: Product) -> None:
        found = of(lamp)
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            Product.objects.filter(pk=lamp.pk).update(stock=3)
            assert found.fresh
            cursor.execute("COMMIT")
        assert not found.fresh
        assert not transaction.writing()

    @pytest.mark.parametrize("end", ["ABORT", "ROLLBACK", "COMMIT", "END"])
    def test_after_a_transaction_as_sql_writes_are_bumped_at_once(
        self, lamp: Product, end: str
    ) -> None:
        if end == "ABORT" and connection.vendor != "postgresql":
            pytest.skip("PostgreSQL's word")
        if end == "END" and connection.vendor == "mysql":
            pytest.skip("no word of MySQL's")
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1")
            found = of(lamp)
            cursor.execute(end)
        assert connection.vendor == "sqlite" or found.fresh
        found = of(lamp)
        lamp.save()
        assert not found.fresh

    def test_a_chained_transaction_is_the_next_one(self, lamp: Product) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("it has no chains")
        found = of(lamp)
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            Product.objects.filter(pk=lamp.pk).update(stock=3)
            cursor.execute("COMMIT AND CHAIN")
            assert not found.fresh
            found = other_thread(lambda: of(lamp))
            cursor.execute("UPDATE testapp_product SET stock = 4")
            assert found.fresh
            cursor.execute("COMMIT")
        assert not found.fresh

    def test_a_savepoint_as_sql_begins_a_transaction_in_sqlite(self, lamp: Product) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("others refuse it")
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT s")
            cursor.execute("UPDATE testapp_product SET stock = 5")
            found = other_thread(lambda: of(lamp))
            cursor.execute("RELEASE s")
        assert not found.fresh

    def test_one_call_that_begins_and_writes(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("its driver takes several statements")
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; UPDATE testapp_product SET stock = 5")
            found = other_thread(lambda: of(lamp))
            cursor.execute("COMMIT")
        assert not found.fresh

    def test_a_prepared_transaction_is_bumped_when_it_is_committed(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("PostgreSQL's form of two phases")
        found = of(lamp)
        # Another connection wrote in it, which nothing is known of here.
        with connection.cursor() as cursor, contextlib.suppress(DatabaseError):
            cursor.execute("COMMIT PREPARED 'x'")
        assert not found.fresh

    def test_a_copy_is_marked_when_it_begins(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("PostgreSQL's way")
        with connection.cursor() as cursor:
            block = cursor.copy("COPY testapp_tag (name) FROM STDIN")
            assert state_of(connections["default"]).mark is None
            with block as copy:
                assert state_of(connections["default"]).mark is not None
                copy.write_row(["red"])
        assert state_of(connections["default"]).mark is None

    def test_a_refused_commit_drops_nothing(self, lamp: Product) -> None:
        found = of(lamp)
        with django_transaction.atomic():
            lamp.save()
            with pytest.raises(django_transaction.TransactionManagementError):
                django_transaction.commit()
            assert found.fresh
        assert not found.fresh

    def test_a_store_that_fails_is_not_the_writers_problem(
        self, lamp: Product, monkeypatch: Any
    ) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("the store is broken")

        monkeypatch.setattr(transaction.process, "cache", fail)
        lamp.stock = 4
        lamp.save()
        monkeypatch.undo()
        assert Product.objects.get(pk=lamp.pk).stock == 4


class TestRollback:
    def test_a_rolled_back_save_keeps_the_entry(self, lamp: Product) -> None:
        found = of(lamp)
        with contextlib.suppress(BoomError), django_transaction.atomic():
            lamp.save()
            raise BoomError
        assert found.fresh
        assert not transaction.writing()

    def test_a_rolled_back_savepoint_is_bumped_all_the_same(self, lamp: Product) -> None:
        found = of(lamp)
        with django_transaction.atomic():
            with contextlib.suppress(BoomError), django_transaction.atomic():
                lamp.save()
                raise BoomError
            Tag.objects.create(name="a")
        assert not found.fresh

    def test_rollback_as_sql_is_bumped(self, lamp: Product) -> None:
        found = of(lamp)
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            Product.objects.filter(pk=lamp.pk).update(stock=3)
            cursor.execute("ROLLBACK")
        assert not found.fresh
        assert not transaction.writing()

    def test_a_connection_closed_inside_is_bumped(self, lamp: Product) -> None:
        found = of(lamp)
        django_transaction.set_autocommit(False)
        lamp.save()
        connection.close()
        assert not found.fresh
        assert not transaction.writing()


class TestWritingTransactions:
    def test_it_does_not_store(self, lamp: Product) -> None:
        with django_transaction.atomic():
            lamp.save()
            assert transaction.writing()
            assert of(lamp).computed.forbidden
        assert not transaction.writing()
        assert of(lamp).fresh

    def test_a_computation_that_writes_inside_of_a_transaction_is_not_stored(
        self, shop: None
    ) -> None:
        with django_transaction.atomic():
            made = read(lambda: Product.objects.create(name="lamp"))
        assert made.computed.forbidden

    def test_it_knows_what_it_changed(self, lamp: Product) -> None:
        desk = Product.objects.create(name="desk")
        of_lamp, of_desk = of(lamp), of(desk)
        with django_transaction.atomic():
            lamp.save()
            changed = transaction.changed()
        assert changed & {tag for tag, _ in of_lamp.computed.tags()}
        assert not changed & {tag for tag, _ in of_desk.computed.tags()}
        assert transaction.changed() == set()

    def test_conditions_count_as_changed_with_the_table(self, lamp: Product) -> None:
        found = read(lambda: Product.objects.filter(stock=0).count())
        lamp.save()  # learns the scheme
        found = read(lambda: Product.objects.filter(stock=77).count())
        with django_transaction.atomic():
            lamp.save()
            assert transaction.changed() & {tag for tag, _ in found.computed.tags()}

    def test_cached_functions_ask_while_it_is_open(self, lamp: Product) -> None:
        before = _core.contexts()
        with django_transaction.atomic():
            transaction.snapshot()
            assert _core.contexts() == before
            lamp.save()
            assert _core.contexts() == before + 1
            lamp.save()
            assert _core.contexts() == before + 1
        assert _core.contexts() == before

    def test_a_thread_that_dies_inside_of_it_leaves_no_context(self, lamp: Product) -> None:
        before = _core.contexts()

        def work() -> None:
            django_transaction.set_autocommit(False)
            Tag.objects.create(name="lost")
            connection.connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        gc.collect()
        assert _core.contexts() == before


class TestSnapshots:
    def test_an_aborted_transaction_cannot_be_asked_and_is_not_stored_from(
        self, lamp: Product
    ) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL refuses whatever follows an error")
        f = smart_cached(key="aborted")(lambda: 7)
        with django_transaction.atomic():
            state_of(connections["default"]).default_isolated = None
            with connection.cursor() as cursor, pytest.raises(DataError):
                cursor.execute("SELECT 1 / 0")
            assert f() == 7
            assert transaction.snapshot()
        assert f.get() is None
        with django_transaction.atomic():
            assert not transaction.snapshot(), "the failure is no answer"
        assert f() == f.get() == 7

    def test_an_open_transaction_without_writes(self, lamp: Product) -> None:
        with django_transaction.atomic():
            found = of(lamp)
        if connection.vendor == "sqlite":
            assert found.computed.forbidden
        else:
            assert found.fresh

    def test_repeatable_read_neither_reads_nor_stores(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one level")
        with django_transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert transaction.snapshot()
            assert of(lamp).computed.forbidden
        with django_transaction.atomic():
            assert not transaction.snapshot()
            assert of(lamp).fresh

    def test_the_level_of_a_session_outlives_that_of_a_transaction(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one level")
        with connection.cursor() as cursor:
            cursor.execute(
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ"
            )
        try:
            with django_transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            with django_transaction.atomic():
                assert transaction.snapshot()
                assert of(lamp).computed.forbidden
        finally:
            connection.close()

    def test_a_loop_s_thread_may_not_ask_for_the_level(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one level")

        @smart_cached(key="of a loop")
        async def f() -> int:
            return 7

        with django_transaction.atomic():
            Product.objects.count()
            state_of(connections["default"]).default_isolated = None
            assert asyncio.run(f()) == 7
        with django_transaction.atomic():
            assert not transaction.snapshot()

    def test_the_servers_default_level_counts(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one level")
        connection.connection.execute("SET default_transaction_isolation = 'repeatable read'")
        with django_transaction.atomic():
            assert of(lamp).computed.forbidden
        connection.close()
        with django_transaction.atomic():
            assert of(lamp).fresh

    def test_an_unfinished_result_holds_sqlites_snapshot(self, lamp: Product) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("others read each statement anew")
        Product.objects.bulk_create(Product(name=str(n)) for n in range(5))
        rows = Product.objects.iterator(chunk_size=1)
        next(rows)
        assert of(lamp).computed.forbidden
        del rows
        gc.collect()
        assert of(lamp).fresh

    def test_it_is_asked_before_memory_answers(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite's transactions may read the cache")
        stock = smart_cached(key="stock")(lambda: Product.objects.get(pk=lamp.pk).stock)
        assert stock() == 0
        with django_transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT 1")
            other_thread(lambda: Product.objects.filter(pk=lamp.pk).update(stock=9))
            assert other_thread(stock) == 9
            assert stock() == 0
        assert stock() == 9

    def test_a_result_read_to_its_end_holds_none(self, lamp: Product) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("others read each statement anew")
        Product.objects.create(name="desk")
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM testapp_product")
        cursor.fetchone()
        assert of(lamp).computed.forbidden
        cursor.fetchall()
        assert of(lamp).fresh
        cursor.execute("SELECT COUNT(*) FROM testapp_product")
        assert of(lamp).computed.forbidden
        assert cursor.fetchone() == (2,)
        assert of(lamp).fresh
        cursor.close()


def other_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(function())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


class TestCoroutines:
    """Those that a transaction calls run in another thread, and are inside of it all the same."""

    @pytest.fixture
    def stock(self, lamp: Product) -> Callable[[], Any]:
        async def stock() -> int:
            return (await Product.objects.aget(pk=lamp.pk)).stock

        cached: Callable[[], Any] = smart_cached(key="stock")(stock)
        assert async_to_sync(cached)() == 0
        return cached

    def test_a_cached_one_sees_what_was_written(self, lamp: Product, stock: Any) -> None:
        with django_transaction.atomic():
            assert async_to_sync(stock)() == 0
            Product.objects.filter(pk=lamp.pk).update(stock=7)
            assert async_to_sync(stock)() == 7
            assert other_thread(async_to_sync(stock)) == 0
        assert async_to_sync(stock)() == 7

    def test_a_cached_function_called_in_one_is_not_answered_from_memory(
        self, lamp: Product, stock: Any
    ) -> None:
        def plain() -> int:
            return Product.objects.get(pk=lamp.pk).stock

        cached = smart_cached(key="plain")(plain)
        assert cached() == 0

        async def call() -> Any:
            return cached()

        assert async_to_sync(call)() == 0
        with django_transaction.atomic():
            Product.objects.filter(pk=lamp.pk).update(stock=7)
            with pytest.raises(SynchronousOnlyOperation):
                async_to_sync(call)()

    def test_a_snapshot_is_one_there_as_well(self, stock: Any) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has one level")

        async def call() -> bool:
            return transaction.snapshot()

        with django_transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert async_to_sync(call)()
        assert not async_to_sync(call)()

    def test_tags_invalidated_in_one_wait_for_the_commit(self, shop: None) -> None:
        async def call() -> None:
            invalidate_tags("a")

        def invalidate() -> None:
            with django_transaction.atomic():
                async_to_sync(call)()
                assert other_thread(lambda: cache_get("tagged")) == 1

        cache_set("tagged", 1, tags=["a"])
        contextvars.Context().run(invalidate)
        assert cache_get("tagged") is None

    def test_a_thread_of_another_transaction_is_not_inside(self, lamp: Product, stock: Any) -> None:
        with django_transaction.atomic():
            lamp.save()
            assert not other_thread(transaction.writing)


class TestInsideOfTests:
    """Users' tests run inside of a transaction that is rolled back at their end."""

    @pytest.fixture
    def case(self, shop: None) -> Any:
        class Case(TestCase):
            databases = {"default"}

            def runTest(self) -> None:  # noqa: N802
                """Never run: its hooks are called."""

        Case.setUpClass()
        case = Case()
        case._pre_setup()
        yield case
        if getattr(case, "_open", True):
            case._post_teardown()
        Case.tearDownClass()
        Case.doClassCleanups()

    def test_writes_are_bumped_and_answers_stored(self, case: Any) -> None:
        lamp = Product.objects.create(name="lamp")
        found = of(lamp)
        assert found.fresh
        lamp.save()
        assert not found.fresh

    def test_a_block_of_the_code_under_test_commits(self, case: Any) -> None:
        lamp = Product.objects.create(name="lamp")
        found = of(lamp)
        with django_transaction.atomic():
            lamp.save()
            assert found.fresh
            assert of(lamp).computed.forbidden
        assert not found.fresh
        assert of(lamp).fresh

    def test_a_block_without_savepoint_commits(self, case: Any) -> None:
        lamp = Product.objects.create(name="lamp")
        found = of(lamp)
        with django_transaction.atomic(savepoint=False):
            lamp.save()
        assert not found.fresh

    def test_the_end_of_the_test_is_a_write(self, case: Any) -> None:
        lamp = Product.objects.create(name="lamp")
        found = of(lamp)
        assert found.fresh
        case._post_teardown()
        case._open = False
        assert not found.fresh


class TestSwitches:
    def test_what_is_written_unnoticed_is_not_stored_before_it_is_committed(
        self, lamp: Product
    ) -> None:
        def stock() -> int:
            return Product.objects.get(pk=lamp.pk).stock

        before = read(stock)
        with django_transaction.atomic():
            with no_invalidation():
                Product.objects.filter(pk=lamp.pk).update(stock=88)
            inside = read(stock)
        assert inside.value == 88
        assert inside.computed.forbidden is not None
        assert before.fresh
        assert read(stock).computed.forbidden is None

    def test_no_invalidation_lets_writes_go_unnoticed(self, lamp: Product) -> None:
        found = of(lamp)
        with no_invalidation():
            lamp.save()
        assert found.fresh

        @no_invalidation()
        def write() -> None:
            lamp.save()

        write()
        assert found.fresh
        lamp.save()
        assert not found.fresh

    def test_disabled_goes_on_bumping(self, lamp: Product) -> None:
        found = of(lamp)
        with smartcache_disabled():
            lamp.save()
        assert not found.fresh

    def test_an_outer_computation_records_inside_of_disabled(self, lamp: Product) -> None:
        @smartcache_disabled()
        def inner() -> Any:
            return Product.objects.get(pk=lamp.pk)

        found = read(inner)
        assert found.computed.tags()

    async def test_a_coroutine_function_is_switched_too(self) -> None:
        from djsmartcache.orm import switches

        @smartcache_disabled()
        async def inner() -> bool:
            return switches.disabled()

        assert await inner()
        assert not switches.disabled()


LOCKS = {
    "select_for_update": lambda: list(Product.objects.select_for_update()),
    "FOR SHARE": lambda: by_hand("SELECT * FROM testapp_product FOR SHARE"),
    "LOCK TABLE": lambda: by_hand("LOCK TABLE testapp_product IN SHARE MODE"),
    "advisory": lambda: by_hand("SELECT pg_advisory_xact_lock(1)"),
    "a write": lambda: Product.objects.update(stock=1),
}


def by_hand(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


class TestLocks:
    @pytest.mark.parametrize("kind", LOCKS)
    def test_locks_are_held_until_the_end(self, lamp: Product, kind: str) -> None:
        if connection.vendor != "postgresql" and kind != "a write":
            pytest.skip("SQLite has no such locks")
        with django_transaction.atomic():
            Product.objects.count()
            assert transaction.inside()
            assert not transaction.snapshot()
            assert not transaction.holds_locks()
            before = _core.contexts()
            LOCKS[kind]()
            assert transaction.holds_locks()
            assert _core.contexts() == before + 1, "the core answers no call by itself"
        assert _core.contexts() == before
        assert not transaction.inside()
        assert not transaction.holds_locks()

    def test_a_write_that_goes_unnoticed_locks(self, lamp: Product) -> None:
        with django_transaction.atomic():
            with no_invalidation():
                lamp.save()
            assert transaction.holds_locks()
        with no_invalidation():
            lamp.save()
        with django_transaction.atomic():
            assert not transaction.holds_locks()

    @pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
    def test_sqlite_locks_when_it_begins(self, lamp: Product, how: str) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("SQLite's words")
        by_hand(f"BEGIN {how}")
        assert transaction.holds_locks()
        by_hand("COMMIT")
        assert not transaction.holds_locks()

    def test_locks_of_the_session_outlive_transactions(self, shop: None) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("PostgreSQL's locks")
        by_hand("SELECT pg_advisory_lock(1)")
        with django_transaction.atomic():
            by_hand("SELECT pg_advisory_lock(2)")
        by_hand("SELECT pg_advisory_unlock(1)")
        assert transaction.holds_locks()
        by_hand("SELECT pg_advisory_unlock(2)")
        assert not transaction.holds_locks()
        by_hand("SELECT pg_advisory_lock(1)")
        connection.close()
        assert not transaction.holds_locks()

    def test_who_holds_them_does_not_wait_for_who_needs_them(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has no locks of rows")
        leads = threading.Event()

        def seen() -> int:
            leads.set()
            Product.objects.filter(pk=lamp.pk).update(listed=True)
            return 1

        cached = smart_cached(key="seen", ttl=None)(seen)
        leader = threading.Thread(target=lambda: (cached(), connection.close()))
        with django_transaction.atomic():
            Product.objects.select_for_update().get(pk=lamp.pk)
            leader.start()
            assert leads.wait(30)
            assert cached() == 1
        leader.join(30)
        assert not leader.is_alive()

    def test_neither_does_a_coroutine(self, lamp: Product) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has no locks of rows")
        leads = threading.Event()

        async def seen() -> int:
            leads.set()
            await Product.objects.filter(pk=lamp.pk).aupdate(listed=True)
            return 1

        cached: Callable[[], Any] = smart_cached(key="seen", ttl=None)(seen)
        leader = threading.Thread(target=lambda: (async_to_sync(cached)(), connection.close()))
        with django_transaction.atomic():
            Product.objects.select_for_update().get(pk=lamp.pk)
            leader.start()
            assert leads.wait(30)
            assert async_to_sync(cached)() == 1
        leader.join(30)
        assert not leader.is_alive()
