"""When the tags of a write are marked, before its COMMIT, and bumped, after it and before the
user's on_commit hooks.

Tags gather on the connection that wrote. A rolled-back savepoint keeps them (more than needed is
safe), a rolled-back transaction drops them. A test case's own transaction is the ground that its
test stands on: inside of it writes are bumped as though committed, and its rollback bumps them
again.

Bumping never raises: the user's data is written, whatever the store says. Marking refuses a write
if SMARTCACHE_ON_REDIS_DOWN says so.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation
from django.db import (
    DataError,
    Error,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    connections,
)

from djsmartcache import _core, conf, levels, process
from djsmartcache.exceptions import WriteRefused
from djsmartcache.logs import log_seldom
from djsmartcache.orm import dependencies, schemes, scopes
from djsmartcache.orm.state import Changes, Tables, internal, state_of
from djsmartcache.orm.switches import silent

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_PAUSE = 0.05  # seconds between looks at whether the store is back
_SNAPSHOT_LEVELS = frozenset(["REPEATABLE READ", "SERIALIZABLE"])


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether what is written is committed later; a test case's own transaction does not count."""
    if connection.in_atomic_block:
        return any(not _is_testcase(block) for block in connection.atomic_blocks)
    if connection.connection is None:
        return False
    return not connection.autocommit or state_of(connection).begun


def in_testcase(connection: BaseDatabaseWrapper) -> bool:
    """Whether a test case's transaction is open, which will be rolled back."""
    return any(_is_testcase(block) for block in connection.atomic_blocks)


def _is_testcase(block: Any) -> bool:
    return bool(block._from_testcase)


# --- what a transaction means for the cache

Transactions = tuple["weakref.ref[BaseDatabaseWrapper]", ...]
_around: ContextVar[Transactions] = ContextVar("smartcache_transactions", default=())
"""Connections whose transactions a thread or task runs inside of.

A coroutine that is called inside of a transaction runs in another thread than the one that has the
connection, but with a copy of its context.
"""


def recount(connection: BaseDatabaseWrapper) -> None:
    """Let cached functions ask, in whatever thread, while a transaction matters to them: it has
    written or locked, or may see one snapshot. Call it whenever that may have changed."""
    state = state_of(connection)
    inside = connection.in_atomic_block or in_transaction(connection)
    isolated = inside and connection.vendor != "sqlite" and _may_be_isolated(connection)
    if not inside:
        state.locked = False
    wrote = inside and state.changes is not None
    state.count(matters=isolated or wrote or state.locked or state.session_locks > 0)
    if inside and all(ref() is not connection for ref in _around.get()):
        alive = [ref for ref in _around.get() if ref() is not None]
        _around.set((*alive, weakref.ref(connection)))


def _open() -> Iterator[BaseDatabaseWrapper]:
    """Give the connections of the transactions that this thread or task is inside of."""
    own = connections.all(initialized_only=True)
    around = [found for ref in _around.get() if (found := ref()) is not None]
    for connection in dict.fromkeys((*own, *around)):
        if in_transaction(connection):
            yield connection


def writing() -> bool:
    """Whether a transaction around this call has written: nothing computed in it is stored
    (I9)."""
    return any(state_of(connection).changes is not None for connection in _open())


def changed() -> set[int]:
    """Give the tags that transactions around this call have changed: entries with one are not
    read."""
    changed = [state_of(connection).changes for connection in _open()]
    return set().union(*(changes.met() for changes in changed if changes is not None))


def snapshot() -> bool:
    """Whether a transaction around this call sees one snapshot, older perhaps than the tokens.

    Then the cache is neither read nor stored to. SQLite does not count here: what is computed
    inside of its transactions is not stored, but entries may be read.
    """
    return any(connection.vendor != "sqlite" and _isolated(connection) for connection in _open())


def inside() -> bool:
    """Whether a transaction is open around this call: then no wait for others is without limit."""
    return any(True for _ in _open())


def holds_locks() -> bool:
    """Whether this call is made under locks of the database that another's computation may need.

    Then it waits for no other: that one may be waiting for these locks, and the database, which
    sees only half of the circle, never breaks it.
    """
    own = connections.all(initialized_only=True)
    return any(state_of(connection).session_locks for connection in own) or any(
        state_of(connection).locked or state_of(connection).session_locks for connection in _open()
    )


# A word too many in these costs a wait, a word too few hangs: comments and literals count as well.
_LOCKING = re.compile(
    r"\bFOR\s+(?:NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\b|\bLOCK\b|advisory_xact"
    r"|\bBEGIN\s+(?:IMMEDIATE|EXCLUSIVE)\b",
    re.IGNORECASE,
)
_LOCKING_SESSION = re.compile(
    r"\bpg_(?:try_)?advisory_lock|\bGET_LOCK\s*\(|\bLOCK\s+TABLES\b", re.IGNORECASE
)
_UNLOCKING = re.compile(
    r"\bpg_advisory_unlock(?:_shared)?\s*\(|\bRELEASE_LOCK\s*\(|\bUNLOCK\s+TABLES\b", re.IGNORECASE
)
_UNLOCKING_ALL = re.compile(
    r"\bpg_advisory_unlock_all\b|\bRELEASE_ALL_LOCKS\b|\bDISCARD\s+ALL\b", re.IGNORECASE
)


def note_locks(connection: BaseDatabaseWrapper, sql: str) -> None:
    """Keep which locks SQL took or gave back, by its words."""
    words = sql.upper()
    if not any(word in words for word in ("LOCK", "FOR", "IMMEDIATE", "EXCLUSIVE", "DISCARD")):
        return  # long texts are searched quickly
    state = state_of(connection)
    if _LOCKING.search(sql) is not None:
        state.locked = True
    if _LOCKING_SESSION.search(sql) is not None:
        state.session_locks += 1
    elif _UNLOCKING_ALL.search(sql) is not None:
        state.session_locks = 0
    elif _UNLOCKING.search(sql) is not None:
        state.session_locks = max(0, state.session_locks - 1)
    recount(connection)


def unfit(connection: BaseDatabaseWrapper) -> str:
    """Say why what a connection is about to read must not be stored, or give ""."""
    state = state_of(connection)
    if _reads_uncommitted(connection):
        return "it may have read what was never committed"
    if connection.vendor == "sqlite" and state.open_reads and _reading(connection):
        return "an unfinished result holds SQLite's snapshot"
    if state.altered and not callable(conf.current().namespace):  # which shows them, if it is one
        return "settings of its session were made by hand"
    if not in_transaction(connection):
        return ""
    if state.changes is not None:
        return "its transaction had written"
    if connection.vendor == "sqlite" or _isolated(connection):
        return "its transaction's snapshot may be older than the tokens"
    return ""


def _reading(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement of a SQLite connection has not come to its end.

    No API tells, but while one is active SQLite refuses to define a function anew. A cursor that is
    read to the end need not be closed for that.
    """
    import sqlite3

    try:
        for _ in ("define", "define anew"):
            connection.connection.create_function("smartcache_reading", 0, int)
    except sqlite3.OperationalError:
        return True
    state_of(connection).open_reads.clear()
    return False


def _reads_uncommitted(connection: BaseDatabaseWrapper) -> bool:
    return connection.vendor == "mysql" and _configured_level(connection) == "READ UNCOMMITTED"


def _configured_level(connection: BaseDatabaseWrapper) -> str:
    level = getattr(connection, "isolation_level", None)
    name = getattr(level, "name", level)
    return str(name or "").replace("_", " ").upper()


def _isolated(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction keeps one snapshot, by settings, by hand, or by the server's
    default."""
    state = state_of(connection)
    if not _may_be_isolated(connection):
        return False
    asked = connection.vendor == "postgresql" and not state.isolated and not _configured(connection)
    if not asked or state.default_isolated is not None:
        return True
    if connection._thread_ident != threading.get_ident():  # type: ignore[attr-defined]
        return True  # only the thread that has the connection may ask
    try:
        with internal(connection), connection.cursor() as cursor:
            cursor.execute("SHOW default_transaction_isolation")
            state.default_isolated = cursor.fetchone()[0].upper() in _SNAPSHOT_LEVELS
    except (Error, SynchronousOnlyOperation):
        # An aborted transaction answers nothing, a loop's thread may not ask: asked again later.
        return True
    recount(connection)
    return state.default_isolated


def _may_be_isolated(connection: BaseDatabaseWrapper) -> bool:
    """As `_isolated`, as far as it is known without asking the server."""
    state = state_of(connection)
    if state.isolated:
        return True
    if _configured(connection) or connection.vendor == "mysql":
        level = _configured_level(connection)
        return level in _SNAPSHOT_LEVELS or not level
    return connection.vendor != "postgresql" or state.default_isolated is not False


def _configured(connection: BaseDatabaseWrapper) -> bool:
    return "isolation_level" in connection.settings_dict.get("OPTIONS", {})


def standby(connection: BaseDatabaseWrapper) -> bool:
    """Whether PostgreSQL reported itself as a standby when it was connected to; costs no query."""
    if connection.vendor != "postgresql":
        return False
    info = getattr(connection.connection, "info", None)
    asked = getattr(info, "parameter_status", None)
    return asked is not None and asked("in_hot_standby") == "on"


# --- marking what is about to be committed (I5)

MAX_STANDING = 8
"""Tables of one write that are marked as a whole, for the writes to come as well."""


def mark(connection: BaseDatabaseWrapper, names: Collection[str] = ()) -> None:
    """Mark what the open transaction has changed, just before it commits.

    Args:
        connection: Whose transaction.
        names: Tables that the statement which commits changes as well.

    Raises:
        WriteRefused: The store is down, and SMARTCACHE_ON_REDIS_DOWN is "fail_closed".
    """
    changes = state_of(connection).changes
    tags, tables = tags_of(connection, names)
    if changes is not None:
        tags |= changes.tags
        tables = {**tables, **changes.tables}
    _mark(connection, tags, tables, loose=changes is not None and changes.loose)


def mark_statement(connection: BaseDatabaseWrapper, tags: set[int], tables: Tables) -> None:
    """Mark what a statement is about to change that commits by itself; nothing where it does not.

    Raises:
        WriteRefused: As `mark`.
    """
    if not in_transaction(connection) and not silent():
        _mark(connection, tags, tables)


def mark_tables(connection: BaseDatabaseWrapper, names: Collection[str]) -> None:
    """Mark a statement's write of unknown rows of some tables.

    Raises:
        WriteRefused: As `mark`.
    """
    if names:
        mark_statement(connection, *tags_of(connection, names))


def _mark(
    connection: BaseDatabaseWrapper, tags: set[int], tables: Tables, *, loose: bool = False
) -> None:
    if not tags or in_testcase(connection):
        return  # what is never committed needs none
    state = state_of(connection)
    state.mark = None
    try:
        cache = process.cache()
        if loose or len(tables) > MAX_STANDING:
            state.mark = cache.mark(list(tags), _known(tables))
        else:
            state.mark = cache.stand([(table, *own[:2]) for table, own in tables.items()])
    except Exception as error:
        # As in `bump`.
        log_seldom("what a write changes", "%s could not be marked", error=error)
    if state.mark is None and conf.current().on_redis_down == "fail_closed":
        raise WriteRefused(
            "The store cannot be told what is about to change, and SMARTCACHE_ON_REDIS_DOWN is "
            '"fail_closed": nothing was committed.'
        )


@contextmanager
def committing(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Around what commits: an error that does not tell whether it did leaves the mark to its lease,
    and with it ends what others read meanwhile."""
    try:
        yield
    except (DataError, IntegrityError, NotSupportedError, ProgrammingError):
        raise  # refused
    except BaseException:
        state_of(connection).mark = None
        raise


def _known(tables: Tables) -> list[tuple[int, int, int]]:
    return [(table, bulk, version) for table, (_, bulk, version) in tables.items()]


# --- noting writes


def note(
    connection: BaseDatabaseWrapper,
    tags: Iterable[int],
    tables: Tables | None = None,
) -> None:
    """Bump ``tags`` when the transaction commits, or at once where there is none.

    Args:
        connection: Where they were written.
        tags: What was changed.
        tables: So the store tells of schemes not known here.
    """
    state = state_of(connection)
    open_one = in_transaction(connection)
    if open_one and not state.locked:
        state.locked = True
        recount(connection)
    if silent():
        if not open_one:
            return
        tags, tables = (), {}  # nothing is bumped, yet what is read from here on may be rolled back
    if state.changes is None:
        state.changes = Changes()
    state.changes.add(set(tags), dict(tables or {}))
    if open_one:
        recount(connection)
        computation = dependencies.current()
        if computation is not None:
            computation.forbid("its transaction had written")
    else:
        settle(connection)


def note_tables(connection: BaseDatabaseWrapper, names: Collection[str]) -> None:
    """Note a write of unknown rows of some tables."""
    if names:
        note(connection, *tags_of(connection, names))


def tags_of(connection: BaseDatabaseWrapper, names: Collection[str]) -> tuple[set[int], Tables]:
    """Give what a write of unknown rows of some tables changes."""
    tags: set[int] = set()
    tables: Tables = {}
    for name in names:
        found = scopes.table_tags(connection, name)
        tags.update(found.coarse())
        version = schemes.version(found.table)
        tables[found.table] = (found.bulk, found.condition_bulk, version)
    return tags, tables


def note_anywhere(tags: Iterable[int]) -> None:
    """Note tags that belong to no table: with every transaction around this call, or at
    once."""
    tags = list(tags)
    if silent() or not tags:
        return
    open_ones = list(_open())
    for connection in open_ones:
        note(connection, tags)
    if not open_ones:
        bump(set(tags), {})


def note_keys(keys: Collection[bytes]) -> None:
    """Note keys that the user drops, to be dropped once more after the COMMIT of every transaction
    open in this thread: until then others compute from what it has not committed."""
    for connection in connections.all(initialized_only=True):
        if in_transaction(connection):
            note(connection, [_core.key_tag(key) for key in keys])
            changes = state_of(connection).changes
            if changes is not None:
                changes.keys.update(keys)


# --- ends of transactions, called by `patch`


def follow(connection: BaseDatabaseWrapper, *, control: str) -> None:
    """Learn from the driver whether a transaction is open, after SQL that Django did not make.

    What the SQL wrote is noted before: it may have ended a transaction and begun another.

    Args:
        control: What the text says, "begin", "commit" or "chain" (both): all there is to know of
            other drivers.
    """
    state = state_of(connection)
    told = _driver_in_transaction(connection)
    if told is None:
        told = control in ("begin", "chain") or (state.begun and control != "commit")
    over = control in ("commit", "chain") or (state.begun and not told)
    state.begun = told
    if over:
        settle(connection)
        ended(connection)
        state.begun = told
    if over or told:
        recount(connection)


def _driver_in_transaction(connection: BaseDatabaseWrapper) -> bool | None:
    """Whether the driver says that a transaction is open; None: it does not tell."""
    driver = connection.connection
    if driver is None:
        return False
    if connection.vendor == "sqlite":
        return bool(driver.in_transaction)
    status = getattr(getattr(driver, "info", None), "transaction_status", None)
    # libpq's numbers, in psycopg 3 and 2: idle, active (nobody knows), in a transaction, in a
    # failed one, unknown (the connection is lost).
    return None if status is None else {0: False, 2: True, 3: True, 4: False}.get(int(status))


def settle(connection: BaseDatabaseWrapper) -> None:
    """Bump what was written: it is committed, or may be."""
    state = state_of(connection)
    changes, state.changes = state.changes, None
    mark, state.mark = state.mark, None
    if changes is None:
        if mark is not None:
            bump(set(), {}, mark)
        recount(connection)
        return
    if in_testcase(connection):
        if state.baseline is None:
            state.baseline = Changes()
        state.baseline.add(changes.tags, changes.tables)
    bump(changes.tags, changes.tables, mark)
    if changes.keys:
        process.delete(list(changes.keys))
    recount(connection)


def discard(connection: BaseDatabaseWrapper) -> None:
    """Forget what was written: it was rolled back."""
    state = state_of(connection)
    state.changes = None
    recount(connection)
    restore(connection)
    state.baseline = None


def restore(connection: BaseDatabaseWrapper) -> None:
    """Bump what a test wrote, once it is rolled back."""
    baseline = state_of(connection).baseline
    if baseline is not None:
        bump(baseline.tags, baseline.tables)


def ended(connection: BaseDatabaseWrapper) -> None:
    """Forget what was said of one transaction: it is over."""
    state = state_of(connection)
    state.begun = state.locked = False
    if state.isolated == "transaction":
        state.isolated = ""
    if state.altered == "transaction":
        state.altered = ""
    recount(connection)


def bump(tags: set[int], tables: Tables, mark: _core.Mark | None = None) -> bool:
    """Drop tokens for all processes, take a mark back, and learn which schemes the tables have.

    Returns:
        Whether the store has acknowledged it; if not, this process goes on trying.
    """
    known = _known(tables)
    levels.note_write()
    try:
        replies = process.cache().bump(list(tags), known, mark)
    except Exception as error:
        # The user's data is committed: no failure of ours may look like one of theirs.
        log_seldom(
            "what a write changed",
            "%s could not be invalidated",
            error=error,
            level=logging.ERROR,
        )
        return False
    if replies is not None:
        for (table, _, _), (version, columns) in zip(known, replies, strict=True):
            schemes.learn(table, version, columns)
    elif mark is not None and conf.current().on_redis_down == "fail_closed":
        _outlast()
    return replies is not None


def _outlast() -> None:
    """Wait until what could not be bumped has been, or has ended with its mark: who returns from a
    write has made it seen."""
    end = time.monotonic() + process.MARK_LEASE
    while process.cache().pending and time.monotonic() < end:
        time.sleep(_PAUSE)
