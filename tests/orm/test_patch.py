"""Every place of Django that is patched is where it was; a new Django that moves one fails here."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import django
import pytest
from django.contrib.contenttypes.models import ContentTypeManager
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

from djsmartcache.orm import patch
from tests.orm.conftest import read
from tests.testapp.models import Product

HOOKS: list[tuple[type, str, list[str]]] = [
    (SQLCompiler, "execute_sql", ["self", "result_type", "chunked_fetch", "chunk_size"]),
    (SQLInsertCompiler, "execute_sql", ["self", "returning_fields"]),
    (SQLUpdateCompiler, "execute_returning_sql", ["self", "returning_fields"]),
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
    (ContentTypeManager, "get_for_model", ["self", "model", "for_concrete_model"]),
    (ContentTypeManager, "get_for_models", ["self", "models", "for_concrete_models"]),
    (ContentTypeManager, "get_for_id", ["self", "id"]),
    (ContentTypeManager, "get_by_natural_key", ["self", "app_label", "model"]),
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
