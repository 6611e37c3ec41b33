"""What happened in a run: writes with their times, the states they left of each row, reads."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.race.commits import Commit, Row
from tests.race.journal import read_value
from tests.race.plan import Plan, first_place

FIRST_STAMP = 1
NEVER = float("inf")
CLOCKS = 0.05  # seconds by which the clocks of log and workers may differ


@dataclasses.dataclass
class Write:
    """A write as its process saw it; times are of the monotonic clock, None: not reached.

    `known` is when all other processes have to know of it, but for the plan's bound.
    """

    stamp: int
    kind: str
    process: int
    began: float
    rows: tuple[int, ...] = ()
    committing: float | None = None
    returned: float | None = None
    raised: bool = False
    effect: int = 0
    queued: bool = False
    known: float = NEVER
    committed: bool = False

    @property
    def earliest(self) -> float:
        """When it can have taken effect at the earliest."""
        return self.began if self.committing is None else self.committing


@dataclasses.dataclass(frozen=True)
class Read:
    """A read.

    Args:
        computed: Whether the database was asked for it.
        since: When the block of a session began that it was in, if it was in one.
    """

    process: int
    began: float
    ended: float
    shape: str
    key: int
    value: dict[int, int | None] | int | None
    computed: bool = False
    since: float | None = None


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something done to the store or to a worker, until `ended`."""

    kind: str
    began: float
    ended: float


@dataclasses.dataclass(frozen=True)
class State:
    """What a commit left of a row: the row, None for nothing, and by which write."""

    row: Row | None
    write: Write | None


@dataclasses.dataclass
class History:
    """A run.

    Args:
        writes: By stamp.
        states: Of each row, in the order of their commits, the first without a write.
        deaths: When each killed process was found dead.
        strangers: Changes in the log that belong to no write: the test itself is wrong.
    """

    plan: Plan
    writes: dict[int, Write]
    states: dict[int, list[State]]
    faults: Sequence[Fault] = ()
    deaths: dict[int, float] = dataclasses.field(default_factory=dict)
    replays: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    strangers: int = 0

    def length(self, until: float) -> float:
        """Give for how long the run had been under way, and a second more."""
        began = min((write.began for write in self.writes.values()), default=until)
        return until - began + 1 + self.plan.bound

    def settle(self) -> None:
        """Find when the other processes have to know of each write.

        From its return. If the store could not be told, from the replay. Of a killed writer: after
        the lease. If the cache says nothing of replays and the write met a fault or raised: after
        the fault.
        """
        for write in self.writes.values():
            write.known = self._known(write)

    def _known(self, write: Write) -> float:
        if write.returned is None:
            death = self.deaths.get(write.process)
            return NEVER if death is None else death + self.plan.lease
        if write.queued:
            replays = self.replays.get(write.process, [])
            return min((when for when in replays if when >= write.returned), default=NEVER)
        known = write.returned
        if write.raised:
            for fault in self.faults:
                if fault.began <= write.returned and write.began <= fault.ended:
                    known = max(known, fault.ended)
        return known


def first_states(plan: Plan) -> dict[int, list[State]]:
    """Give the rows as the driver makes them."""
    return {
        pk: [State(Row(first_place(pk), 1, FIRST_STAMP), None)] for pk in range(1, plan.rows + 1)
    }


def assemble(
    plan: Plan,
    journals: dict[int, Path],
    commits: Iterable[Commit],
    *,
    faults: Sequence[Fault],
    deaths: dict[int, float],
    epoch: float,
) -> History:
    """Put together what the workers wrote down and what the database committed.

    Args:
        journals: By the number of the process.
        epoch: The machine's clock minus the monotonic one.
    """
    history = History(plan, {}, first_states(plan), faults, deaths)
    deletes: dict[int, list[Write]] = defaultdict(list)
    for process, path in journals.items():
        for words in _lines(path):
            _note(history, process, words)
    for made in history.writes.values():
        if made.kind == "delete":
            deletes[made.rows[0]].append(made)
    for commit in commits:
        stamps = {row.stamp for row in commit.rows.values() if row is not None}
        for pk, row in commit.rows.items():
            write: Write | None
            if row is not None:
                write = history.writes.get(row.stamp)
            elif stamps:  # deleted beside other changes
                write = history.writes.get(next(iter(stamps)))
            else:
                write = _deleting(deletes[pk], commit.when - epoch)
            if write is None:
                history.strangers += 1
            else:
                write.committed = True
            history.states[pk].append(State(row, write))
    history.settle()
    return history


def _deleting(writes: list[Write], when: float) -> Write | None:
    """Find the write that deleted a row at a time: those of one row never overlap.

    One that was cut short before its COMMIT has no end: of several it is the last that began. One
    that has found nothing to delete is none of them.
    """

    def fits(write: Write) -> bool:
        ended = NEVER if write.returned is None else write.returned
        vain = write.returned is not None and not write.raised and not write.effect
        in_time = write.earliest - CLOCKS <= when <= ended + CLOCKS
        return in_time and not vain and not write.committed

    return max(filter(fits, writes), key=lambda write: write.earliest, default=None)


def _lines(path: Path) -> Iterator[list[str]]:
    if not path.exists():  # killed before it began
        return
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # a killed worker's last line may be half of one
                yield line.split()


def _note(history: History, process: int, words: list[str]) -> None:
    match words:
        case ["R", *_]:
            return
        case ["W", stamp, kind, began, rows]:
            pks = tuple(map(int, rows.split(",")))
            history.writes[int(stamp)] = Write(int(stamp), kind, process, float(began), pks)
        case ["C", stamp, when]:
            write = history.writes[int(stamp)]
            if write.committing is None:
                write.committing = float(when)
        case ["A", stamp, when, effect]:
            write = history.writes[int(stamp)]
            write.returned, write.effect = float(when), int(effect)
        case ["X", stamp, when, error, *_]:
            write = history.writes[int(stamp)]
            write.returned, write.raised = float(when), True
            history.errors[f"write: {error}"] += 1
        case ["Q", stamp]:
            history.writes[int(stamp)].queued = True
        case ["P", when]:
            history.replays.setdefault(process, []).append(float(when))
        case ["E", _, shape, error, *_]:
            history.errors[f"read {shape}: {error}"] += 1


def reads(journals: dict[int, Path]) -> Iterator[Read]:
    """Give what all processes have read, one process after the other."""
    for process, path in journals.items():
        for words in _lines(path):
            if words[0] == "R":
                _, began, ended, shape, key, value, computed, since = words
                yield Read(
                    process,
                    float(began),
                    float(ended),
                    shape,
                    int(key),
                    read_value(value),
                    computed=computed == "1",
                    since=None if since == "-" else float(since),
                )
