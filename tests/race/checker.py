"""Holds every read against the commits.

Versions of a row are counted by the order of their commits. A read has to give one that is not
older than the newest which its process had to know of when the read began, and which can have been
committed by the time it ended. In the block of a session it has to know of all that had returned
when the block began: there is no bound.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from tests.race.history import NEVER, History, Read, State, Write
from tests.race.plan import places_of, rows_of, window_of_place

EXAMPLES = 12


@dataclasses.dataclass
class Verdict:
    """What a run came to.

    Args:
        in_sessions: Reads in blocks of sessions.
        computed: Reads for which the database was asked.
        late: Reads without a write that they had to contain.
        worst: Seconds by which the latest of them was late.
        permanent: Entries that stayed stale when all had come to rest.
        impossible: Reads of what was never committed, or not yet, or of no state of the table.
        overtaken: Rows read where they had been before a write that had not returned, though a
            later one, which found them elsewhere, had.
        inversions: Versions read, in whatever process, after another read had given a newer one.
        staleness: Of each commit: seconds after its return for which others saw what was before.
        killed: Writes that were cut short by a kill, and of these those that were committed.
        untold: Committed writes that no one will be told of: their process died before the store
            was back.
    """

    reads: int = 0
    in_sessions: int = 0
    computed: int = 0
    writes: int = 0
    rolled_back: int = 0
    kills: int = 0
    killed: tuple[int, int] = (0, 0)
    faults: int = 0
    late: int = 0
    worst: float = 0.0
    permanent: int = 0
    impossible: int = 0
    overtaken: int = 0
    inversions: int = 0
    errors: int = 0
    untold: int = 0
    replayed: int = 0
    strangers: int = 0
    staleness: list[float] = dataclasses.field(default_factory=list)
    examples: list[str] = dataclasses.field(default_factory=list)
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    raised: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def right(self) -> bool:
        return not (self.late or self.permanent or self.impossible or self.strangers)

    @property
    def linearizable(self) -> bool:
        """Whether the reads fit the commits with respect to what was acknowledged, at any bound
        that the run was held to; with no inversions also among each other."""
        return self.right and not self.inversions and not self.overtaken

    @property
    def cached(self) -> float:
        """The share of the reads for which the database was not asked."""
        return 1 - self.computed / self.reads if self.reads else 0.0

    def percentile(self, share: float) -> float:
        found = sorted(self.staleness)
        return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0

    def example(self, text: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


class _Needs:
    """From when on which version of a row is the least that may be read."""

    def __init__(self, known: Iterable[tuple[float, int]]) -> None:
        self._times: list[float] = []
        self._versions: list[int] = []
        newest = 0
        for when, version in sorted(known):
            if version > newest:
                newest = version
                self._times.append(when)
                self._versions.append(version)

    def at(self, when: float) -> int:
        found = bisect_right(self._times, when)
        return self._versions[found - 1] if found else 0


class _Row:
    """The versions of one row."""

    def __init__(self, states: Sequence[State], bound: float, processes: Iterable[int]) -> None:
        self.states = states
        self.bound = bound
        self.version_of = {s.row.stamp: n for n, s in enumerate(states) if s.row is not None}
        self.earliest: list[float] = []
        before = -NEVER
        for state in states:
            before = max(before, state.write.earliest if state.write else -NEVER)
            self.earliest.append(before)
        written = [(n, state.write) for n, state in enumerate(states) if state.write]
        self.all = _Needs((write.known + bound, n) for n, write in written)
        self.returned = _Needs((write.known, n) for n, write in written)
        self.own: dict[int, _Needs] = {}
        for process in processes:
            own = [
                (write.returned, n)
                for n, write in written
                if write.process == process and write.returned is not None
            ]
            if own:
                self.own[process] = _Needs(own)
        self.seen: dict[int, float] = {}  # version -> when a read of it first ended
        self.last: dict[int, float] = {}  # version -> when a read of it last began

    def needed(self, read: Read, late: float = 0.0) -> int:
        """Give the least version that a read may give, if it may be late by some seconds."""
        when = read.began - late
        least = self.all.at(when)
        if read.since is not None:
            least = max(least, self.returned.at(min(read.since, when)))
        own = self.own.get(read.process)
        return least if own is None else max(least, own.at(when))

    def due(
        self, read: Read, version: int, needed: int, place: int | None
    ) -> tuple[float, Write | None]:
        """Give from when on the process of a read must not read this version any more, and for
        which write: since it has to know of that; None if all such are no matter of the condition
        asked for.

        A row may leave a condition by a write that has not returned, and be written again, where it
        is now, by one that has. This one changes nothing of what the condition gives.
        """
        due: tuple[float, Write | None] = (NEVER, None)
        for later in range(version + 1, needed + 1):
            write = self.states[later].write
            both = (self.states[later - 1].row, self.states[later].row)
            if write is None or (place and all(row is None or row.place != place for row in both)):
                continue
            in_session = read.since is not None and write.known <= read.since
            when = write.known + (0.0 if in_session else self.bound)
            if write.process == read.process and write.returned is not None:
                when = min(when, write.returned)
            if when <= read.began and when < due[0]:
                due = when, write
        return due

    def possible(self, ended: float) -> int:
        return bisect_right(self.earliest, ended) - 1


class Checker:
    """Checks reads one by one, in any order; `verdict` says what they came to.

    Args:
        history: Of the run that they are of.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        plan = history.plan
        processes = {write.process for write in history.writes.values()}
        self._rows = {
            pk: _Row(states, plan.bound, processes) for pk, states in history.states.items()
        }
        self._settle = plan.settle
        self._bound = plan.bound
        self._permanent: set[tuple[str, int, str]] = set()
        self._stale: dict[tuple[int, int], float] = {}
        self._verdict = Verdict()

    def check(self, read: Read) -> None:
        self._verdict.reads += 1
        self._verdict.computed += read.computed
        self._verdict.in_sessions += read.since is not None
        if read.shape == "total":
            self._check_total(read)
            return
        worst, lacks = 0.0, ""
        for pk, stamp, place in self._observed(read):
            row = self._rows[pk]
            needed = row.needed(read)
            possible = row.possible(read.ended)
            version = _version(row, stamp, place, possible)
            if version is None:
                self._impossible(read, f"row {pk} never was {stamp}")
                return
            if version > possible:
                self._impossible(read, f"row {pk} was not {stamp} yet")
                return
            if stamp is not None:  # of absent rows the version is a guess
                row.seen[version] = min(row.seen.get(version, NEVER), read.ended)
                row.last[version] = max(row.last.get(version, -NEVER), read.began)
            if version < needed:
                due, write = row.due(read, version, needed, place)
                self._verdict.overtaken += write is None
                if write is not None and read.began - due > worst:
                    worst, lacks = read.began - due, f", without {_named(write)}"
            if version < row.returned.at(read.began):
                self._note_stale(pk, row, version, read)
        if worst:
            self._late(read, worst, lacks)

    def _observed(self, read: Read) -> Iterator[tuple[int, int | None, int | None]]:
        """Give what a read says: primary key, stamp, and the condition that was asked for."""
        value = read.value
        if read.shape == "place":
            assert isinstance(value, dict)
            window = window_of_place(read.key)
            assert read.key in places_of(window)
            for pk in {*rows_of(window), *value}:
                yield pk, value.get(pk), read.key
        elif isinstance(value, dict):
            for pk, stamp in value.items():
                yield pk, stamp, None
        else:
            yield read.key, value, None

    def _note_stale(self, pk: int, row: _Row, version: int, read: Read) -> None:
        """Note for how long another process' commit was not seen."""
        for newer in range(version + 1, len(row.states)):
            write = row.states[newer].write
            if write is None or write.known > read.began:
                return
            if write.process != read.process:
                age = read.began - write.known
                self._stale[pk, newer] = max(age, self._stale.get((pk, newer), 0.0))

    def _check_total(self, read: Read) -> None:
        assert isinstance(read.value, int)
        if self._fits(read, read.value, 0.0):
            return
        # Sums that fit what was known some time before are late by that, more or less; those that
        # never fitted are impossible.
        late, step, length = 0.0, 0.01, self._history.length(read.began)
        while late < length:
            late, step = late + step, step * 1.2
            if self._fits(read, read.value, late):
                self._late(read, late)
                return
        self._impossible(read, "never was that the sum")

    def _fits(self, read: Read, value: int, late: float) -> bool:
        least, most = self._sums(read, late)
        return least <= value <= most

    def _sums(self, read: Read, late: float) -> tuple[int, int]:
        """Give the least and the largest sum of versions that a read may give, if it may be late by
        some seconds."""
        least = most = 0
        for row in self._rows.values():
            first, last = row.needed(read, late), row.possible(read.ended)
            if first >= last:
                only = _weight(row.states[first])
                least, most = least + only, most + only
            else:
                weights = [_weight(state) for state in row.states[first : last + 1]]
                least, most = least + min(weights), most + max(weights)
        return least, most

    def _late(self, read: Read, by: float, lacks: str = "") -> None:
        self._verdict.late += 1
        self._verdict.worst = max(self._verdict.worst, by)
        kind = f"late {read.shape}" + (" in a session" if read.since is not None else "")
        self._verdict.kinds[kind] = self._verdict.kinds.get(kind, 0) + 1
        self._verdict.example(f"{by:.3f} s late: {_told(read)}{lacks}")
        # Nobody else has to know before the bound is over, though a session has.
        rest = self._settle if read.since is None else self._settle + self._bound
        if by > rest:
            self._permanent.add((read.shape, read.key, str(read.value)))

    def _impossible(self, read: Read, why: str) -> None:
        self._verdict.impossible += 1
        self._verdict.example(f"impossible, {why}: {_told(read)}")

    def verdict(self) -> Verdict:
        made, history = self._verdict, self._history
        made.permanent = len(self._permanent)
        made.inversions = sum(map(_inversions, self._rows.values()))
        made.strangers = history.strangers
        made.faults = len(history.faults)
        made.kills = len(history.deaths)
        made.errors = sum(history.errors.values())
        made.raised = dict(history.errors)
        writes = history.writes.values()
        made.writes = sum(write.committed for write in writes)
        made.rolled_back = sum(write.kind == "rolled_back" for write in writes)
        cut = [write for write in writes if write.returned is None]
        made.killed = (len(cut), sum(write.committed for write in cut))
        made.replayed = sum(write.queued and write.known < NEVER for write in writes)
        made.untold = sum(
            write.committed and write.returned is not None and write.known == NEVER
            for write in writes
        )
        made.staleness = [
            self._stale.get((pk, version), 0.0)
            for pk, row in self._rows.items()
            for version, state in enumerate(row.states)
            if state.write is not None and state.write.known < NEVER
        ]
        return made


def _version(row: _Row, stamp: int | None, place: int | None, possible: int) -> int | None:
    """Give the version that was read: of several that fit, the newest that may have been."""
    if stamp is not None:
        version = row.version_of.get(stamp)
        if version is None or place is None:
            return version
        found = row.states[version].row
        return version if found is not None and found.place == place else None

    def fits(state: State) -> bool:
        return state.row is None or (place is not None and state.row.place != place)

    for version in range(possible, -1, -1):
        if fits(row.states[version]):
            return version
    # Not yet, then, if ever.
    later = (v for v in range(possible + 1, len(row.states)) if fits(row.states[v]))
    return next(later, None)


def _weight(state: State) -> int:
    return 0 if state.row is None else state.row.version


def _inversions(row: _Row) -> int:
    found, newer = 0, NEVER
    for version in sorted(row.last, reverse=True):
        found += row.last[version] > newer
        newer = min(newer, row.seen[version])
    return found


def _named(write: Write) -> str:
    how = "killed" if write.returned is None else "told later" if write.queued else "returned"
    return f"{write.stamp}: {write.kind} of process {write.process}, {how}"


def _told(read: Read) -> str:
    told = f"process {read.process} at {read.began:.3f} read {read.shape} {read.key}: {read.value}"
    return told if read.since is None else f"{told}, in a session since {read.since:.3f}"
