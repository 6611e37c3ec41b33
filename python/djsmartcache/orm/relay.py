"""The relay: tells the store what triggers have put into the outbox (see `outbox`).

Each round reads some committed rows under lock, bumps their tags, and deletes exactly these rows
once the store has acknowledged the bump, in one transaction. Dying anywhere leaves the rows to the
next round or to another relay, which bumps them again. Ids are no cursor: a transaction may commit
after others whose ids are higher. Several relays share the work.

One thread; only `stop` may be called by another, or by a signal's handler.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from django.db import Error, ProgrammingError

from djsmartcache import conf, process
from djsmartcache.orm import catalog, outbox, scopes, transaction, values

ROWS: Final = 200  # of a round
MAX_KNOWN: Final = 1_000
"""Rows of a table and round that are tagged one by one."""
POLL: Final = 1.0
"""Seconds until it looks without having been told: for what another relay left, for triggers that
do not notify, and where a pool between does not let it listen."""
STATUS_EVERY: Final = 60.0  # seconds between two lines about what was done
_FIRST_PAUSE, _LAST_PAUSE = 0.25, 15.0  # seconds, between tries


@dataclass
class Written:
    """What rows of the outbox say of one table."""

    deletes: bool = False
    keys: set[str] | None = field(default_factory=set)
    """As tags name the rows; None: any."""


class Relay:
    """Relays what is written to one database.

    Args:
        alias: Of the database.
        say: Is told lines for people.

    Raises:
        OutboxError: It is not a database of PostgreSQL.
    """

    def __init__(self, alias: str, say: Callable[[str], object]) -> None:
        self.alias = alias
        self.relayed = 0
        """Rows taken out of the outbox."""
        self._say = say
        self._connection = outbox.session(alias)
        self._outbox = ""
        self._told = False
        self._down = False
        self._stopping = False
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._status_at = time.monotonic()
        self._status_of = 0

    def stop(self) -> None:
        """End after the round under way, and all waiting."""
        self._stopping = True
        with suppress(OSError):
            os.write(self._waker, b".")

    def close(self) -> None:
        """Let the connection go."""
        self._drop_connection()
        os.close(self._wake)
        os.close(self._waker)

    # --- the two ways to run

    def run(self) -> None:
        """Relay until `stop` is called; a server that is down is tried again and again.

        Raises:
            OutboxError: There is no outbox, or it is another project's.
        """
        pause = _FIRST_PAUSE
        while (error := self._run_once()) is not None:
            pause = _FIRST_PAUSE if self._connected else min(2 * pause, _LAST_PAUSE)
            self._drop_connection()
            self._say(f"the database: {_first_line(error)}; trying again in {pause:g} s")
            self._wait(pause)

    def _run_once(self) -> Error | None:
        """Relay until `stop` is called, or until the database fails: give how."""
        try:
            if not self._stopping:
                self._connect(listen=True)
            while not self._stopping:
                self._step()
        except ProgrammingError as error:
            raise outbox.OutboxError(
                f"{_first_line(error)}. The relay's role needs SELECT, UPDATE and DELETE on "
                f"{outbox.TABLE}, and its schema in the search path."
            ) from error
        except Error as error:
            return error
        return None

    def drain(self) -> outbox.Backlog:
        """Relay what there is, and give what is left: what the store did not acknowledge, and what
        other relays have at hand.

        Raises:
            OutboxError: There is no outbox, or it is another project's.
            Error: The database failed.
        """
        self._connect(listen=False)
        while not self._stopping and (self.round() or 0) > 0:
            pass
        return self.backlog()

    def backlog(self) -> outbox.Backlog:
        """Count what waits. As `drain`."""
        self._connect(listen=False)
        return outbox.backlog(self._connection, self._outbox)

    def _step(self) -> None:
        """Do one round, and wait for the next to be of use."""
        self._notified()
        self._told = False
        done = self.round()
        if done is None:
            self._outlast()
            return
        self._report()
        if done < ROWS and not self._notified():
            with self._connection.wrap_database_errors:
                socket = self._connection.connection.fileno()
            self._wait(POLL, socket)

    def _outlast(self) -> None:
        """Wait until the store answers: the core tries by itself to tell it what it did not
        hear."""
        if not self._down:
            self._say(f"the store does not answer: {self.backlog()}")
        self._down = True
        self._wait(_FIRST_PAUSE)
        while process.cache().pending and not self._stopping:
            self._wait(_FIRST_PAUSE)

    # --- one round

    def round(self) -> int | None:
        """Relay some rows; give how many, None if the store did not acknowledge: they stay.

        Raises:
            Error: The database failed: they stay.
        """
        connection = self._connection
        outbox.run(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            rows = outbox.run(
                connection,
                f"SELECT id, relation, deletes, key_column, keys::text FROM {self._outbox}"  # noqa: S608
                f" ORDER BY id LIMIT {ROWS} FOR UPDATE SKIP LOCKED",
            )
            if rows:
                if not transaction.bump(self.tags_of(rows), {}):
                    outbox.run(connection, "ROLLBACK")
                    return None
                self._delete([row[0] for row in rows])
            outbox.run(connection, "COMMIT")
        except Error:
            raise  # the connection is let go
        except BaseException:
            with suppress(Error):
                outbox.run(connection, "ROLLBACK")
            raise
        self.relayed += len(rows)
        return len(rows)

    def _delete(self, ids: Sequence[int]) -> None:
        outbox.run(self._connection, f"DELETE FROM {self._outbox} WHERE id = ANY(%s)", [list(ids)])  # noqa: S608

    def tags_of(self, rows: Iterable[Sequence[Any]]) -> set[int]:
        """Give the tags to bump for rows of the outbox.

        Images of rows are not kept, so that every condition is concerned.
        """
        connection = self._connection
        written: dict[str, Written] = {}
        for _, name, deletes, column, keys in rows:
            table = written.setdefault(scopes.plain(name), Written())
            table.deletes |= bool(deletes)
            if table.keys is not None:
                found = self._keys(name, column, keys)
                table.keys = None if found is None else table.keys | found
        tags: set[int] = set()
        for name, table in written.items():
            own = scopes.table_tags(connection, name)
            tags |= {own.table, own.condition_bulk}
            if table.keys is None or len(table.keys) > MAX_KNOWN:
                tags.add(own.bulk)
            else:
                tags.update(own.row(key) for key in table.keys)
            others = catalog.besides(connection, [name], deletes=table.deletes)
            tags |= transaction.tags_of(connection, others)[0]
        return tags

    def _keys(self, name: str, column: str | None, keys: str | None) -> set[str] | None:
        """Give primary keys as tags name them; None if they do not for certain."""
        model = catalog.registry().by_table.get(scopes.plain(name))
        primary = None if model is None else model._meta.pk
        if keys is None or model is None or primary is None:
            return None
        if column is None or catalog.registry().key_column(model) != column:
            return None  # the model has changed since
        render = values.renderer(primary, self._connection)
        if render is None:
            return None
        named = {render(key) for key in json.loads(keys, parse_float=Decimal)}
        return None if named & {None, values.NULL} else {key for key in named if key is not None}

    # --- the connection

    @property
    def _connected(self) -> bool:
        return self._connection.connection is not None and bool(self._outbox)

    def _connect(self, *, listen: bool) -> None:
        if self._connected:
            return
        self._outbox = ""
        connection = self._connection
        outbox.run(connection, "SELECT 1")
        # One that is stopped in a round must not keep its rows from the others for ever.
        patience = max(30, int(4 * conf.current().redis_timeout) + 1)
        outbox.run(connection, f"SET idle_in_transaction_session_timeout = '{patience}s'")
        self._outbox = outbox.check(connection, self.alias)
        if listen:
            handler = getattr(connection.connection, "add_notify_handler", None)
            if handler is not None:  # psycopg 3, which would keep each message otherwise
                handler(self._hear)
            outbox.run(connection, f"LISTEN {outbox.CHANNEL}")
            waiting = outbox.backlog(connection, self._outbox)
            self._say(f"listening to {scopes.database(connection)}, {waiting}")

    def _drop_connection(self) -> None:
        self._outbox = ""
        with suppress(Error):
            self._connection.close()

    def _hear(self, _: object) -> None:
        self._told = True

    def _notified(self) -> bool:
        """Whether something was committed since the last round began, as far as the driver knows
        without waiting: a message may have come along with an answer."""
        driver: Any = self._connection.connection
        with self._connection.wrap_database_errors:
            if hasattr(driver, "pgconn"):
                driver.pgconn.consume_input()
                while driver.pgconn.notifies() is not None:
                    self._told = True
            else:
                driver.poll()
                self._told |= bool(driver.notifies)
                driver.notifies.clear()
        return self._told

    def _wait(self, seconds: float, socket: int | None = None) -> None:
        """Wait for a message on the socket, for `stop`, or for so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            if socket is not None:
                selector.register(socket, selectors.EVENT_READ)
            selector.select(seconds)

    def _report(self) -> None:
        if self._down:
            self._down = False
            self._say("the store answers again")
        now = time.monotonic()
        if self.relayed > self._status_of and now - self._status_at >= STATUS_EVERY:
            waiting = outbox.backlog(self._connection, self._outbox)
            self._say(f"{self.relayed - self._status_of} changes relayed, {waiting}")
            self._status_at, self._status_of = now, self.relayed


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
