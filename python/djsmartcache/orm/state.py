"""What is known of one database connection: the statement under way, and what its transaction
changed.

A connection belongs to one thread at a time, so its state needs no lock. It hangs on Django's
wrapper and goes with it.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from djsmartcache import _core

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

ATTRIBUTE = "_smartcache_state"


Tables = dict[int, tuple[int, int, int]]
"""For each table tag its bulk and its condition-bulk tag, and the version of the table's schemes
that images were taken for; 0 where there were none."""


class Changes:
    """Tags of what a transaction has changed, and their tables, to bump after COMMIT."""

    __slots__ = ("keys", "loose", "tables", "tags")

    def __init__(self) -> None:
        self.tags: set[int] = set()
        self.keys: set[bytes] = set()
        """Dropped by name: dropped again after COMMIT, for another may have stored them anew."""
        self.tables: Tables = {}
        self.loose = False
        """Some tags are of no table."""

    def add(self, tags: set[int], tables: Tables) -> None:
        """Add a write. Images taken for two versions of a table's schemes count as none."""
        self.tags |= tags
        self.loose = self.loose or (bool(tags) and not tables)
        for table, own in tables.items():
            known = self.tables.setdefault(table, own)
            if known[2] != own[2]:
                self.tags.add(own[1])

    def met(self) -> set[int]:
        """Give the tags by which an entry may be older than this transaction.

        The condition-bulk tags are among them: a scheme registered meanwhile has no image here.
        """
        return self.tags | {bulk for _, bulk, _ in self.tables.values()}


class State:
    """The state of one connection."""

    __slots__ = (
        "_context",
        "altered",
        "baseline",
        "begun",
        "changes",
        "connecting",
        "database",
        "default_isolated",
        "endings",
        "hidden",
        "hides",
        "hint",
        "images",
        "internal",
        "isolated",
        "kinds",
        "locked",
        "mark",
        "open_reads",
        "remade",
        "session_locks",
    )

    def __init__(self) -> None:
        self.hint: Any = None
        """The compiler or write whose SQL comes next."""
        self.images: dict[Any, bool] = {}
        """Whether the database lets images be read, by table and kind of write."""
        self.kinds: dict[Hashable, Any] = {}
        """What writes of one kind have in common, kept by `writes`."""
        self.internal = False
        """Statements are the package's own."""
        self.changes: Changes | None = None
        self.mark: _core.Mark | None = None
        """What it is about to commit, as the store was told; taken back by the next bump."""
        self.baseline: Changes | None = None
        """What was bumped inside a test case's transaction: its rollback bumps it again."""
        self.begun = False
        """A BEGIN was sent as SQL, by Django (SQLite) or by hand."""
        self.isolated = ""
        """An isolation level was set by hand, for the "transaction" or the "session"."""
        self.altered = ""
        """What changes answers was set by hand, for the "transaction" or the "session"."""
        self.database: tuple[Any, str] | None = None
        """Its database as tags know it, and the settings that it was told by."""
        self.connecting = False
        """It is being set up."""
        self.remade = False
        """Its transaction changed the schema, which others see when it has ended."""
        self.hides = False
        """It has run SQL that may have made temporary tables, which hide others of their names."""
        self.hidden: tuple[Any, int, Collection[str]] | None = None
        """Their names, with the schema and the session that they were asked for."""
        self.locked = False
        """Its transaction took locks: of rows, of tables, or advisory ones."""
        self.session_locks = 0
        """Advisory locks and the like that outlive transactions."""
        self.default_isolated: bool | None = None
        """Whether the server's default level keeps one snapshot for a transaction; None: not
        asked."""
        self.endings: weakref.WeakKeyDictionary[Any, Callable[[], object]]
        self.endings = weakref.WeakKeyDictionary()
        """SQLite, autocommit: cursors whose writes are committed once their results are read."""
        self.open_reads: weakref.WeakSet[Any] = weakref.WeakSet()
        """SQLite: results not yet read to the end; while one is, later reads share its snapshot."""
        self._context: _core.Context | None = None

    def count(self, *, matters: bool) -> None:
        """Send cached functions through their slow path while an open transaction matters to
        them."""
        if matters and self._context is None:
            # A thread may end inside of a transaction: its connection takes this along.
            self._context = _core.Context()
        elif not matters and self._context is not None:
            self._context.end()
            self._context = None


def state_of(connection: BaseDatabaseWrapper) -> State:
    """Give the state of a connection, made at its first use."""
    found: State | None = connection.__dict__.get(ATTRIBUTE)
    if found is None:
        found = connection.__dict__[ATTRIBUTE] = State()
    return found


@contextmanager
def internal(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Run the package's own SQL: neither recorded as a read, nor noted as a write, nor logged among
    the user's queries."""
    state = state_of(connection)
    before, state.internal = state.internal, True
    hint, state.hint = state.hint, None
    try:
        with unlogged(connection):
            yield
    finally:
        state.internal = before
        state.hint = hint


@contextmanager
def unlogged(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Keep SQL of the block out of ``connection.queries``: a user who counts them finds his own."""
    log = connection.queries_log
    connection.queries_log = deque(maxlen=1)
    try:
        yield
    finally:
        connection.queries_log = log
