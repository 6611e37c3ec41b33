"""What a run is to be, known to the driver, the workers and the checker alike."""

from __future__ import annotations

import dataclasses
import json
import math

PLACES = 2  # values of the condition in a window, between which rows move
ROWS = 8  # of a window


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        adapter: Name of a module of `adapters`.
        level: `SMARTCACHE_CONSISTENCY`, or "" for the package's default.
        store: "redis" or "embedded".
        seconds: Of reading and writing.
        faults: Whether the store is broken and workers are stopped, now and then.
        late_messages: Whether the server's messages are held back, again and again.
        kills: Whether workers are killed, now and then.
        bound: Seconds after which another process than the writer has to know of a write.
        lease: Seconds after which all have to know of what a killed writer committed.
        settle: Seconds by which a read has to be late to count as of an entry that stays stale.
        processes: That read and write.
        readers: Threads of a process that read; one more writes.
        shift: Seconds for which one window of rows is written to, before it rests.
        pace: What the seconds of faults, and between them, are multiplied by.
        seed: Of the random choices.
    """

    adapter: str = "smartcache"
    level: str = ""
    store: str = "redis"
    seconds: float = 60.0
    faults: bool = False
    late_messages: bool = False
    kills: bool = False
    bound: float = 2.0
    lease: float = 10.0
    settle: float = 2.0
    processes: int = 4
    readers: int = 2
    shift: float = 1.0
    pace: float = 1.0
    seed: int = 1

    @property
    def windows(self) -> int:
        """So many that each has rested, for as long as anything may be late, when its turn
        comes again."""
        rest = self.bound + self.settle + 2 + (self.lease if self.kills or self.faults else 0)
        return min(math.ceil(rest / self.shift) + 2, max(2, math.ceil(self.seconds / self.shift)))

    @property
    def rows(self) -> int:
        return self.windows * ROWS

    def window_at(self, elapsed: float) -> int:
        """Give the window that is written to."""
        return int(max(0.0, elapsed) / self.shift) % self.windows

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def loads(text: str) -> Plan:
        return Plan(**json.loads(text))


def rows_of(window: int) -> range:
    """Give the primary keys of a window."""
    return range(window * ROWS + 1, (window + 1) * ROWS + 1)


def places_of(window: int) -> range:
    """Give the places between which the rows of a window move."""
    return range(window * PLACES + 1, (window + 1) * PLACES + 1)


def window_of_row(pk: int) -> int:
    return (pk - 1) // ROWS


def window_of_place(place: int) -> int:
    return (place - 1) // PLACES


def first_place(pk: int) -> int:
    """Give where a row is at first."""
    return places_of((pk - 1) // ROWS)[pk % PLACES]
