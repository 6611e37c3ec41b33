"""Everything that ties the package to Django's insides; the one file that patches.

Statements are seen by the public `execute_wrappers`. Patched is what no hook reaches: the
compilers, to learn which query a statement is made from; the ends of transactions, for bumps to
come before the user's on_commit hooks; calls around the wrappers; reads that Django answers
from its own memory; and threads and processes that a computation starts.
"""

from __future__ import annotations

import copy
import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FunctionType, GeneratorType
from typing import Any

from django.apps import apps
from django.db import connections
from django.db import transaction as django_transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.db.models.sql.compiler import (
    SQLCompiler,
    SQLDeleteCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)

from djsmartcache import prefixes
from djsmartcache.orm import (
    catalog,
    dependencies,
    reads,
    schema,
    tables,
    transaction,
    writes,
)
from djsmartcache.orm.state import state_of

MARK = "_smartcache_original"

Original = Callable[..., Any]

_altered: weakref.WeakSet[Any] = weakref.WeakSet()
"""Connections of drivers, out of pools, whose session SQL has given settings."""


def install() -> None:
    """Patch Django, once for all, and watch every connection."""
    for owner, name, make in _PATCHES:
        _replace(owner, name, make)
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes.models import ContentTypeManager

        for name in ("get_for_model", "get_for_models", "get_for_id", "get_by_natural_key"):
            _replace(ContentTypeManager, name, _remembering_types)
    if apps.is_installed("django.contrib.sites"):
        from django.contrib.sites.models import SiteManager

        for name in ("_get_site_by_id", "_get_site_by_request"):
            _replace(SiteManager, name, _remembering_sites)
    connection_created.connect(_watch, dispatch_uid="djsmartcache.orm")
    for connection in connections.all(initialized_only=True):
        _watch(type(connection), connection)


def _replace(owner: Any, name: str, make: Callable[[Original], Original]) -> None:
    original = owner.__dict__.get(name)
    if original is None or hasattr(original, MARK):
        return
    made = functools.wraps(original)(make(original))
    setattr(made, MARK, original)
    setattr(owner, name, made)


# --- statements


def _watch(sender: object, connection: BaseDatabaseWrapper, **_: object) -> None:
    state = state_of(connection)
    state.isolated, state.default_isolated, state.begun = "", None, False
    state.locked, state.session_locks = False, 0
    state.images.clear()
    if _statement not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _statement)


def _connecting(original: Original) -> Original:
    def connect(self: BaseDatabaseWrapper) -> None:
        state = state_of(self)
        state.connecting = True
        state.altered = ""  # of the connection before; a driver may send SQL as it connects
        try:
            original(self)
        finally:
            state.connecting = False
        # A pool may give a session that another block of code had, with its settings.
        state.altered = "session" if self.connection in _altered else ""

    return connect


def _statement(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """See every statement of a connection, before the user's own wrappers."""
    connection: BaseDatabaseWrapper = context["connection"]
    state = state_of(connection)
    if state.internal:
        return execute(sql, params, many, context)
    # Statements that other wrappers send meanwhile are none of the compiler's.
    hint, state.hint = state.hint, None
    try:
        send = functools.partial(execute, sql, params, many, context)
        if isinstance(hint, writes.Write):
            return writes.around(hint, send, context["cursor"])
        computation = dependencies.current()
        if hint is not None:
            if hint.query.select_for_update or "advisory_" in sql:
                transaction.note_locks(connection, sql)
            if computation is not None:
                reads.before(computation, connection, sql, hint)
            return send()
        return _by_hand(_text(sql, connection), send, connection, context["cursor"])
    finally:
        state.hint = hint


def _text(sql: Any, connection: BaseDatabaseWrapper) -> str:
    """Give a statement as the driver will send it: it may take bytes, and what psycopg composes."""
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    if isinstance(sql, str) or not hasattr(sql, "as_string"):
        return str(sql)
    with connection.wrap_database_errors:
        return str(sql.as_string(connection.connection))


def _by_hand(sql: str, send: Original, connection: BaseDatabaseWrapper, cursor: Any) -> Any:
    open_reads = state_of(connection).open_reads
    # What the cursor held before is given up now, and what it gets may be read to the end or not.
    open_reads.discard(cursor)
    result = _noticed(sql, send, connection)
    transaction.note_locks(connection, sql)  # BEGIN IMMEDIATE takes one of what it begins
    if connection.vendor == "sqlite" and cursor.description is not None:
        open_reads.add(cursor)
        touched = _written(sql, connection)
        if touched and not transaction.in_transaction(connection):
            transaction.mark_tables(connection, touched)
            note = transaction.note_tables
            state_of(connection).endings[cursor] = weakref.finalize(
                cursor, note, connection, touched
            )
    return result


def _written(sql: str, connection: BaseDatabaseWrapper) -> frozenset[str]:
    if tables.harmless(sql):
        return frozenset()
    return _touched(tables.of_raw(sql, connection.vendor), connection)


def _touched(statement: tables.Statement, connection: BaseDatabaseWrapper) -> frozenset[str]:
    """Give the tables that a statement changes; may ask the database."""
    if statement.everything:
        return catalog.all_tables(connection)
    if not statement.writes:
        return frozenset()
    names = statement.writes
    if statement.control == "ddl":
        # Columns and types are among them.
        names &= catalog.all_tables(connection)
    elif statement.ctes:
        names -= statement.ctes - catalog.all_tables(connection)
    updates = None if statement.updates else ()
    besides = catalog.besides(connection, names, deletes=statement.deletes, updates=updates)
    return statement.writes | besides


def _noticed(sql: str, send: Original, connection: BaseDatabaseWrapper) -> Any:
    computation = dependencies.current()
    if computation is None and tables.harmless(sql):
        if state_of(connection).begun and sql[:8].upper() == "RELEASE ":
            transaction.mark(connection)  # of SQLite's outermost savepoint it is the COMMIT
        try:
            return send()
        finally:
            transaction.follow(connection, control="")
    statement = tables.of_raw(sql, connection.vendor)
    # What may have written anything may have read anything.
    only_writes = bool(statement.writes) and not (statement.reads or statement.everything)
    if computation is not None and not (statement.control or only_writes):
        reads.before(computation, connection, sql, None)
    # A failing statement may leave a transaction in which nothing can be asked, and a table to be
    # dropped is known no longer. SQLite refuses a transaction to write that has read before.
    inside = transaction.in_transaction(connection)
    early = connection.vendor != "sqlite" or statement.control == "ddl" or not inside
    touched = _touched(statement, connection) if early else None
    _mark(statement, touched or frozenset(), connection)
    try:
        with transaction.committing(connection):
            return send()
    finally:
        if touched is None:
            touched = _touched(statement, connection)
        _after(statement, touched, connection)


def _mark(
    statement: tables.Statement, touched: frozenset[str], connection: BaseDatabaseWrapper
) -> None:
    """Mark what a statement by hand commits: itself, or what its transaction has changed."""
    remakes = statement.control == "ddl" and not connection.features.can_rollback_ddl
    if statement.control == "commit" or remakes:
        transaction.mark(connection, touched)
    else:
        transaction.mark_tables(connection, touched)


def _after(
    statement: tables.Statement, touched: frozenset[str], connection: BaseDatabaseWrapper
) -> None:
    state = state_of(connection)
    if touched:
        transaction.note_tables(connection, touched)
    if statement.isolation and state.isolated != "session":
        state.isolated = statement.isolation
        transaction.recount(connection)
    _note_setting(statement, connection)
    before = state.begun
    transaction.follow(connection, control=statement.control)
    if before and not state.begun:
        _forget_remade(connection)
    if touched and state.begun and (not before or statement.control):
        # One call may have committed, begun a transaction and written in it.
        transaction.note_tables(connection, touched)
    if statement.control == "ddl" or statement.everything:
        state.hides, state.hidden = True, None
    if statement.control == "ddl":
        schema.forget(connection)
        state.remade = connection.in_atomic_block or transaction.in_transaction(connection)
        if not connection.features.can_rollback_ddl:
            transaction.settle(connection)


def _note_setting(statement: tables.Statement, connection: BaseDatabaseWrapper) -> None:
    state = state_of(connection)
    if not statement.setting or state.connecting or state.altered == "session":
        return  # what is set as it is connected is set for every connection
    state.altered = statement.setting
    if state.altered == "session" and connection.settings_dict["OPTIONS"].get("pool"):
        _altered.add(connection.connection)


# --- compilers


def _hinting(original: Original) -> Original:
    def execute_sql(self: SQLCompiler, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, (SQLUpdateCompiler, SQLDeleteCompiler)):
            return writes.run(self, functools.partial(original, self, *args, **kwargs))
        state = state_of(self.connection)
        outer, state.hint = state.hint, self
        try:
            result = original(self, *args, **kwargs)
        finally:
            state.hint = outer
        if isinstance(result, GeneratorType) and self.connection.vendor == "sqlite":
            state.open_reads.add(result)
        return result

    return execute_sql


def _writing(original: Original) -> Original:
    def run(self: SQLCompiler, *args: Any, **kwargs: Any) -> Any:
        return writes.run(self, functools.partial(original, self, *args, **kwargs))

    return run


# --- ends of transactions


def _committing(original: Original) -> Original:
    def commit(self: BaseDatabaseWrapper) -> None:
        # Refused calls end nothing; the original refuses them again.
        self.validate_thread_sharing()
        self.validate_no_atomic_block()
        transaction.mark(self)
        try:
            with transaction.committing(self):
                original(self)
        finally:
            # Also when it failed: the connection may have been lost after the server committed.
            transaction.ended(self)
            transaction.settle(self)
            _forget_remade(self)

    return commit


def _forget_remade(connection: BaseDatabaseWrapper) -> None:
    """Forget the schema as it was read while its change was not committed."""
    state = state_of(connection)
    if state.remade:
        state.remade = False
        schema.forget(connection)


def _rolling_back(original: Original) -> Original:
    def rollback(self: BaseDatabaseWrapper) -> None:
        try:
            original(self)
        finally:
            _forget_remade(self)  # rolled back as well if the connection is lost
        transaction.ended(self)
        transaction.discard(self)

    return rollback


def _closing(original: Original) -> Original:
    def close(self: BaseDatabaseWrapper) -> None:
        try:
            original(self)
        finally:
            state_of(self).session_locks = 0
            transaction.ended(self)
            transaction.settle(self)
            _forget_remade(self)
            prefixes.notice_database(connection=self)

    return close


def _switching(original: Original) -> Original:
    def set_autocommit(
        self: BaseDatabaseWrapper, autocommit: bool, *args: Any, **kwargs: Any
    ) -> None:
        # Drivers commit what is open when autocommit is switched on.
        if autocommit:
            transaction.mark(self)
        with transaction.committing(self):
            original(self, autocommit, *args, **kwargs)
        if autocommit:
            transaction.ended(self)
            transaction.settle(self)
        else:
            transaction.recount(self)

    return set_autocommit


def _leaving(original: Original) -> Original:
    def __exit__(self: django_transaction.Atomic, *details: Any) -> None:  # noqa: N807
        connection = django_transaction.get_connection(self.using)
        try:
            original(self, *details)
        finally:
            # In a test the outermost block of the code under test commits nothing that would be
            # seen.
            if not connection.in_atomic_block:
                transaction.recount(connection)
            elif not transaction.in_transaction(connection):
                transaction.settle(connection)

    return __exit__


def _rolling_back_to(original: Original) -> Original:
    def savepoint_rollback(self: BaseDatabaseWrapper, sid: str) -> None:
        original(self, sid)
        transaction.restore(self)

    return savepoint_rollback


# --- around the wrappers


def _done(original: Original) -> Original:
    def __exit__(self: CursorWrapper, *details: Any) -> None:  # noqa: N807
        original(self, *details)
        state = state_of(self.db)
        state.open_reads.discard(self)
        ending = state.endings.pop(self, None)
        if ending is not None:
            ending()

    return __exit__


def _calling(original: Original) -> Original:
    def callproc(self: CursorWrapper, *args: Any, **kwargs: Any) -> Any:
        computation = dependencies.current()
        if computation is not None:
            computation.forbid("a stored procedure")
        touched = catalog.all_tables(self.db)
        transaction.mark_tables(self.db, touched)
        try:
            with transaction.committing(self.db):
                return original(self, *args, **kwargs)
        finally:
            transaction.note_tables(self.db, touched)

    return callproc


_DRIVER_CALLS = frozenset(["copy", "copy_expert", "copy_from", "executescript", "stream"])
"""Methods of drivers' cursors that send SQL and that Django hands through."""


def _reaching(original: Original) -> Original:
    def __getattr__(self: CursorWrapper, attr: str) -> Any:  # noqa: N807
        found = original(self, attr)
        return _seen(self, attr, found) if attr in _DRIVER_CALLS else found

    return __getattr__


def _seen(cursor: CursorWrapper, name: str, call: Original) -> Original:
    def run(*args: Any, **kwargs: Any) -> Any:
        computation = dependencies.current()
        if computation is not None:
            computation.forbid(f"a cursor's {name}")
        told = name != "copy_from" and bool(args)
        text = _text(args[0], cursor.db) if told else ""
        statement = tables.of_raw(text, cursor.db.vendor) if told else None
        if statement is None or statement.everything:
            touched = catalog.all_tables(cursor.db)
        else:
            touched = _touched(statement, cursor.db)
        if name == "copy":
            return _until_closed(call(*args, **kwargs), cursor.db, touched)
        if name == "stream":
            return _until_read(call(*args, **kwargs), cursor.db, touched)
        if statement is None:
            transaction.mark_tables(cursor.db, touched)
        else:
            _mark(statement, touched, cursor.db)
        try:
            with transaction.committing(cursor.db):
                return call(*args, **kwargs)
        finally:
            if statement is None:
                transaction.note_tables(cursor.db, touched)
                transaction.follow(cursor.db, control="")
            else:
                _after(statement, touched, cursor.db)
                transaction.note_locks(cursor.db, text)

    return run


@contextmanager
def _until_closed(
    block: Any, connection: BaseDatabaseWrapper, touched: frozenset[str]
) -> Iterator[Any]:
    # Here, where the SQL is sent: what is never entered would be marked for as long as it is held.
    transaction.mark_tables(connection, touched)
    try:
        with transaction.committing(connection), block as opened:
            yield opened
    finally:
        transaction.note_tables(connection, touched)


def _until_read(
    rows: Iterable[Any], connection: BaseDatabaseWrapper, touched: frozenset[str]
) -> Iterator[Any]:
    transaction.mark_tables(connection, touched)  # as above
    try:
        with transaction.committing(connection):
            yield from rows
    finally:
        transaction.note_tables(connection, touched)


# --- threads and processes that a computation starts


def _starting(original: Original) -> Original:
    def start(self: threading.Thread) -> None:
        computation = dependencies.current()
        if computation is None:
            original(self)
            return
        state = vars(self)
        own, run, over = state.get("run"), self.run, computation.started()

        def restore() -> None:
            del state["run"]  # a thread that holds itself would not be collected at once
            if own is not None:
                state["run"] = own

        def carried() -> None:
            restore()
            try:
                with dependencies.inside_of(computation):
                    run()
            finally:
                over()

        state["run"] = carried
        try:
            original(self)
        except BaseException:
            restore()
            over()
            raise

    return start


def _submitting(original: Original) -> Original:
    def submit(self: ThreadPoolExecutor, fn: Original, /, *args: Any, **kwargs: Any) -> Future[Any]:
        computation = dependencies.current()
        future: Future[Any]
        if computation is None:
            future = original(self, fn, *args, **kwargs)
            return future
        over = computation.started()

        def carried(*args: Any, **kwargs: Any) -> Any:
            try:
                with dependencies.inside_of(computation):
                    return fn(*args, **kwargs)
            finally:
                over()  # before the result is there: who waits for it finds nothing running

        try:
            with dependencies.unrecorded():  # the pool's own threads outlive the computation
                future = original(self, carried, *args, **kwargs)
        except BaseException:
            over()
            raise
        future.add_done_callback(lambda _: over())  # it may be cancelled, or the pool be broken
        return future

    return submit


def _handing_out(original: Original) -> Original:
    def method(self: BaseProcess | ProcessPoolExecutor, *args: Any, **kwargs: Any) -> Any:
        computation = dependencies.current()
        if computation is None:
            return original(self, *args, **kwargs)
        computation.forbid("what a child process reads is not seen")
        with dependencies.unrecorded():  # a pool's own threads outlive the computation
            return original(self, *args, **kwargs)

    return method


# --- what Django remembers


# A computation takes tokens when it reads, and what a process remembers may be older: each
# computation remembers for itself, and the SQL that fills its memory is recorded like any other.


def _remembering_types(original: Original) -> Original:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        computation = dependencies.current()
        if computation is None:
            return original(self, *args, **kwargs)
        own = copy.copy(self)
        own._cache = computation.memory("content types")
        return original(own, *args, **kwargs)

    return method


def _remembering_sites(original: Original) -> Original:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        computation = dependencies.current()
        if computation is None:
            return original(self, *args, **kwargs)
        # The same code on another memory than the module's.
        memory = {**original.__globals__, "SITE_CACHE": computation.memory(f"sites {self.db}")}
        own = FunctionType(original.__code__, memory, original.__name__, original.__defaults__)
        return own(self, *args, **kwargs)

    return method


_PATCHES: tuple[tuple[Any, str, Callable[[Original], Original]], ...] = (
    (SQLCompiler, "execute_sql", _hinting),
    (SQLInsertCompiler, "execute_sql", _writing),
    (SQLUpdateCompiler, "execute_returning_sql", _writing),
    (BaseDatabaseWrapper, "connect", _connecting),
    (BaseDatabaseWrapper, "commit", _committing),
    (BaseDatabaseWrapper, "rollback", _rolling_back),
    (BaseDatabaseWrapper, "close", _closing),
    (BaseDatabaseWrapper, "set_autocommit", _switching),
    (BaseDatabaseWrapper, "savepoint_rollback", _rolling_back_to),
    (django_transaction.Atomic, "__exit__", _leaving),
    (CursorWrapper, "callproc", _calling),
    (CursorWrapper, "__exit__", _done),
    (CursorWrapper, "__getattr__", _reaching),
    (threading.Thread, "start", _starting),
    (ThreadPoolExecutor, "submit", _submitting),
    (BaseProcess, "start", _handing_out),
    (ProcessPoolExecutor, "submit", _handing_out),
)
"""Where Django, threads and processes are patched; `execute_returning_sql`: since Django 6.0."""
