"""What the database has committed, in its order, out of its own log.

PostgreSQL decodes its write-ahead log: only what was committed is in it, a killed writer's too, and
no transaction has to do anything for it. The table needs REPLICA IDENTITY FULL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SLOT = "race"
TABLE = "race_item"


@dataclass(frozen=True)
class Row:
    """A row as a transaction left it."""

    place: int
    version: int
    stamp: int


@dataclass(frozen=True)
class Commit:
    """A transaction: when it was committed, by the machine's clock, and what it left of each row
    it changed; None: nothing."""

    when: float
    rows: dict[int, Row | None]


_COMMIT = re.compile(r"COMMIT \d+ \(at (.+)\)")
_CHANGE = re.compile(rf"table public\.{TABLE}: (INSERT|UPDATE|DELETE): (.*)")
_VALUE = re.compile(r"(\w+)\[[^\]]*\]:(-?\d+)")


def parse(lines: Iterable[str]) -> Iterator[Commit]:
    """Read what the plugin test_decoding writes."""
    rows: dict[int, Row | None] = {}
    for line in lines:
        if line.startswith("BEGIN"):
            rows = {}
        elif (change := _CHANGE.match(line)) is not None:
            kind, text = change.groups()
            old, _, new = text.partition(" new-tuple: ")
            values = dict(_VALUE.findall(new or old))
            pk = int(values["id"])
            rows[pk] = (
                None
                if kind == "DELETE"
                else Row(int(values["place"]), int(values["version"]), int(values["stamp"]))
            )
        elif (commit := _COMMIT.match(line)) is not None and rows:
            yield Commit(_time(commit.group(1)), rows)


def _time(text: str) -> float:
    # PostgreSQL writes +00, and no zeros at the end: fromisoformat() takes that since Python 3.11.
    text = re.sub(r"([+-]\d\d)$", r"\1:00", text)
    text = re.sub(r"\.(\d+)", lambda found: "." + found.group(1).ljust(6, "0"), text)
    return datetime.fromisoformat(text).timestamp()


class Log:
    """The log of a running server from here on.

    Args:
        connection: Of psycopg, in autocommit.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lines: list[str] = []
        connection.execute(f"SELECT pg_create_logical_replication_slot('{SLOT}', 'test_decoding')")

    def fetch(self) -> None:
        """Take what has come, so that the server need not keep it."""
        asked = (
            f"SELECT data FROM pg_logical_slot_get_changes('{SLOT}', NULL, NULL,"
            " 'include-timestamp', 'on', 'skip-empty-xacts', 'on')"
        )
        self._lines += [line for (line,) in self._connection.execute(asked).fetchall()]

    def commits(self) -> list[Commit]:
        """Give all commits so far. What was committed before this call is among them."""
        self._connection.execute("SET synchronous_commit = on")
        # The log is decoded as far as it is written out: this waits for that.
        self._connection.execute("CREATE TABLE IF NOT EXISTS race_end (at timestamptz)")
        self._connection.execute("INSERT INTO race_end VALUES (now())")
        self.fetch()
        return list(parse(self._lines))
