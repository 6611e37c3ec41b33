"""The checker on histories made by hand: what is wrong is reported, what is right is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.race import report
from tests.race.checker import Checker, Verdict
from tests.race.commits import Commit, Row, parse
from tests.race.history import Fault, History, Read, State, Write, assemble, first_states
from tests.race.history import reads as reads_of
from tests.race.journal import Journal, read_value, value_of
from tests.race.plan import Plan, first_place, places_of, rows_of
from tests.race.tickets import Ticket, Tickets

HERE, THERE = 1, 2  # processes
PK = 1
HOME, AWAY = places_of(0)


class Story:
    """A history in the making: row 1 is written at one second, two, and so on, by HERE."""

    def __init__(self, bound: float = 0.0, faults: tuple[Fault, ...] = ()) -> None:
        self.plan = Plan(bound=bound, seconds=60, lease=10, settle=2)
        self.history = History(self.plan, {}, first_states(self.plan), faults)
        self.reads: list[Read] = []

    def write(
        self,
        began: float,
        returned: float | None,
        *,
        pk: int = PK,
        gone: bool = False,
        place: int | None = None,
        committed: bool = True,
        raised: bool = False,
        queued: bool = False,
        committing: float | None = None,
    ) -> int:
        """Let HERE write; give the stamp."""
        stamp = 100 + len(self.history.writes)
        write = Write(stamp, "save", HERE, began, (pk,), committing, returned, raised)
        write.queued, write.committed = queued, committed
        self.history.writes[stamp] = write
        if committed:
            states = self.history.states[pk]
            row = None if gone else Row(place or first_place(pk), len(states) + 1, stamp)
            states.append(State(row, write))
        return stamp

    def read(
        self,
        process: int,
        began: float,
        value: object,
        shape: str = "row",
        *,
        since: float | None = None,
    ) -> None:
        key = {"place": HOME, "page": 0, "total": 0}.get(shape, PK)
        self.reads.append(
            Read(process, began, began + 0.1, shape, key, value, since=since)  # type: ignore[arg-type]
        )

    def verdict(self) -> Verdict:
        self.history.settle()
        checker = Checker(self.history)
        for read in self.reads:
            checker.check(read)
        return checker.verdict()


def test_what_was_written_before_a_read_or_during_it_is_right() -> None:
    story = Story()
    first = story.write(1, 1.5)
    second = story.write(2, 2.5)
    story.read(THERE, 0.5, 1)
    story.read(THERE, 1.2, 1)  # the write has not returned
    story.read(THERE, 1.2, first)
    story.read(THERE, 1.6, first)
    story.read(THERE, 1.95, second)  # the write begins before the read ends
    story.read(THERE, 3, second)
    found = story.verdict()
    assert found.right
    assert found.reads == 6
    assert found.writes == 2
    assert found.inversions == 0


def test_a_read_without_a_write_that_had_returned_is_late() -> None:
    story = Story()
    story.write(1, 1.5)
    story.read(THERE, 2, 1)
    found = story.verdict()
    assert (found.late, found.permanent) == (1, 0)
    assert found.worst == pytest.approx(0.5)
    assert "read row 1: 1, without 100: save of process 1, returned" in found.examples[0]


@pytest.mark.parametrize(
    ("reader", "began", "late"), [(THERE, 3.4, 0), (THERE, 3.6, 1), (HERE, 1.6, 1), (HERE, 1.4, 0)]
)
def test_another_process_has_the_bound_and_the_writer_none(
    reader: int, began: float, late: int
) -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.read(reader, began, 1)
    assert story.verdict().late == late


def test_an_entry_that_is_late_by_more_than_all_need_to_settle_stays_stale() -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.read(THERE, 3, 1)
    story.read(THERE, 6, 1)
    story.read(HERE, 9, 1)
    found = story.verdict()
    assert (found.late, found.permanent) == (2, 1)
    assert found.percentile(1) == pytest.approx(4.5)


def test_staleness_is_of_other_processes_and_of_each_commit() -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.write(5, 5.5)
    story.read(THERE, 1.7, 1)
    story.read(HERE, 1.9, 1)
    found = story.verdict()
    assert sorted(found.staleness) == [0, pytest.approx(0.2)]


def test_what_was_rolled_back_can_not_be_read() -> None:
    story = Story()
    stamp = story.write(1, 1.5, committed=False)
    story.read(THERE, 2, stamp)
    found = story.verdict()
    assert found.impossible == 1
    assert not found.right


def test_what_is_not_yet_committed_can_not_be_read() -> None:
    story = Story()
    stamp = story.write(1, 3, committing=2)
    story.read(THERE, 1.5, stamp)
    assert story.verdict().impossible == 1


def test_an_older_version_after_a_newer_is_an_inversion() -> None:
    story = Story(bound=2)
    stamp = story.write(1, 1.5)
    story.read(THERE, 1.1, stamp)
    story.read(3, 1.3, 1)
    found = story.verdict()
    assert found.right
    assert found.inversions == 1
    assert not found.linearizable
    assert report.linearizable(found) != "yes"


def test_a_late_read_is_not_linearizable() -> None:
    story = Story()
    story.write(1, 1.5)
    story.read(THERE, 2, 1)
    assert report.linearizable(story.verdict()) == "no"


# --- blocks of sessions


@pytest.mark.parametrize(("since", "late"), [(None, 0), (1.4, 0), (1.6, 1)])
def test_a_session_has_to_contain_what_had_returned_when_its_block_began(
    since: float | None, late: int
) -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.read(THERE, 1.7, 1, since=since)
    found = story.verdict()
    assert (found.late, found.permanent) == (late, 0)
    assert found.worst == pytest.approx(0.2 if late else 0)
    assert found.in_sessions == (since is not None)
    assert found.kinds == ({"late row in a session": 1} if late else {})


def test_a_long_block_has_the_bound_for_what_returned_since_it_began() -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.read(THERE, 3.4, 1, since=1.2)
    assert story.verdict().right
    story.read(THERE, 3.6, 1, since=1.2)
    found = story.verdict()
    assert found.late == 1
    assert found.worst == pytest.approx(0.1)


def test_what_a_session_may_lack_others_may_lack_longer() -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.read(THERE, 5.4, 1, since=5.3)
    found = story.verdict()
    assert (found.late, found.permanent) == (1, 0)
    story.read(THERE, 5.6, 1, since=5.5)
    assert story.verdict().permanent == 1


@pytest.mark.parametrize(("since", "late"), [(1.4, 0), (1.6, 1)])
def test_a_condition_in_a_session_contains_no_row_that_had_left(since: float, late: int) -> None:
    pk = next(iter(home()))
    story = Story(bound=2)
    story.write(1, 1.5, pk=pk, place=AWAY)
    story.read(THERE, 1.7, home(), "place", since=since)
    assert story.verdict().late == late


@pytest.mark.parametrize(("since", "late"), [(None, 0), (1.4, 0), (1.6, 1)])
def test_a_sum_in_a_session_contains_what_had_returned(since: float | None, late: int) -> None:
    story = Story(bound=2)
    story.write(1, 1.5)
    story.read(THERE, 1.7, story.plan.rows, "total", since=since)
    found = story.verdict()
    assert found.late == late
    assert found.worst == pytest.approx(0.2 if late else 0, abs=0.05)


@pytest.mark.parametrize(("since", "late"), [(5.9, 0), (6.1, 1)])
def test_a_session_need_not_know_of_what_could_not_be_told(since: float, late: int) -> None:
    story = Story(bound=2)
    story.write(1, 1.5, queued=True)
    story.history.replays[HERE] = [6.0]
    story.read(THERE, 6.2, 1, since=since)
    assert story.verdict().late == late


# --- writers that are killed, or cut off from the store


@pytest.mark.parametrize(("began", "late"), [(12, 0), (13.1, 1)])
def test_what_a_killed_writer_committed_has_to_be_known_after_the_lease(
    began: float, late: int
) -> None:
    story = Story()
    story.write(1, None)
    story.history.deaths[HERE] = 3
    story.read(THERE, began, 1)
    found = story.verdict()
    assert found.late == late
    assert found.killed == (1, 1)


@pytest.mark.parametrize(("began", "late"), [(5, 0), (6.1, 1)])
def test_what_could_not_be_told_has_to_be_known_after_the_replay(began: float, late: int) -> None:
    story = Story()
    story.write(1, 1.5, queued=True)
    story.history.replays[HERE] = [1.2, 6.0]
    story.read(THERE, began, 1)
    assert story.verdict().late == late


def test_what_could_not_be_told_is_known_to_its_own_process() -> None:
    story = Story()
    story.write(1, 1.5, queued=True)
    story.read(HERE, 2, 1)
    found = story.verdict()
    assert found.late == 1
    assert found.untold == 1


@pytest.mark.parametrize(("began", "late"), [(5, 0), (7.1, 1)])
def test_a_write_that_raised_in_a_fault_counts_from_its_end(began: float, late: int) -> None:
    story = Story(faults=(Fault("stop", 1.2, 7),))
    story.write(1, 1.5, raised=True)
    story.read(THERE, began, 1)
    assert story.verdict().late == late


# --- the other ways to read


def home(*, without: int | None = None, **changed: int) -> dict[int, int | None]:
    rows: dict[int, int | None] = {
        pk: 1 for pk in rows_of(0) if first_place(pk) == HOME and pk != without
    }
    return rows | {int(name.removeprefix("row")): stamp for name, stamp in changed.items()}


def test_a_row_that_moved_away_must_not_be_found_where_it_was() -> None:
    pk = next(iter(home()))
    story = Story()
    story.write(1, 1.5, pk=pk, place=AWAY)
    story.read(THERE, 1.2, home(), "place")
    story.read(THERE, 2, home(without=pk), "place")
    assert story.verdict().right
    story.read(THERE, 2, home(), "place")
    assert story.verdict().late == 1


@pytest.mark.parametrize(("left", "late", "overtaken"), [(None, 0, 1), (1.9, 1, 0)])
def test_a_row_that_left_by_a_write_under_way_may_be_found_though_a_later_has_returned(
    left: float | None, late: int, overtaken: int
) -> None:
    pk = next(iter(home()))
    story = Story()
    story.write(1, left, pk=pk, place=AWAY)
    story.write(2, 2.5, pk=pk, place=AWAY)
    story.read(THERE, 3, home(), "place")
    found = story.verdict()
    assert (found.late, found.overtaken) == (late, overtaken)
    assert not found.linearizable


def test_a_row_that_came_has_to_be_found() -> None:
    pk = next(pk for pk in rows_of(0) if first_place(pk) == AWAY)
    story = Story()
    stamp = story.write(1, 1.5, pk=pk, place=HOME)
    story.read(THERE, 2, home(**{f"row{pk}": stamp}), "place")
    assert story.verdict().right
    story.read(THERE, 2, home(), "place")
    assert story.verdict().late == 1


def test_a_row_is_not_found_under_a_condition_that_it_never_met() -> None:
    pk = next(pk for pk in rows_of(0) if first_place(pk) == AWAY)
    story = Story()
    stamp = story.write(1, 1.5, pk=pk)
    story.read(THERE, 2, home(**{f"row{pk}": stamp}), "place")
    assert story.verdict().impossible == 1


def test_a_deleted_row_must_not_be_read_nor_missed_when_it_is_back() -> None:
    story = Story()
    story.write(1, 1.5, gone=True)
    story.read(THERE, 2, None)
    stamp = story.write(3, 3.5)
    story.read(THERE, 4, {PK: stamp}, "page")
    assert story.verdict().right
    story.read(THERE, 2, 1)
    story.read(THERE, 4, {PK: None}, "page")
    found = story.verdict()
    assert found.late == 2
    assert found.kinds == {"late row": 1, "late page": 1}


def test_a_row_is_not_gone_that_never_was() -> None:
    story = Story()
    story.read(THERE, 2, None)
    assert story.verdict().impossible == 1


def test_a_sum_has_to_contain_what_had_returned() -> None:
    story = Story()
    before = story.plan.rows
    story.write(1, 1.5)
    story.write(1.2, 2.5, pk=2)
    story.read(THERE, 2, before + 1, "total")
    story.read(THERE, 2, before + 2, "total")
    assert story.verdict().right
    story.read(THERE, 2, before, "total")
    story.read(THERE, 3, before + 1, "total")
    found = story.verdict()
    assert found.late == 2
    assert 0.3 < found.worst < 0.7


def test_the_sum_before_the_first_write_is_right() -> None:
    story = Story()
    story.read(THERE, 1, story.plan.rows, "total")
    story.write(5, 5.5)
    assert story.verdict().right


def test_a_sum_that_never_was_is_impossible() -> None:
    story = Story()
    story.read(THERE, 2, story.plan.rows + 1, "total")
    assert story.verdict().impossible == 1


# --- what it is made of


LOG = """\
BEGIN 740
table public.race_item: UPDATE: old-key: id[bigint]:1 place[integer]:2 version[bigint]:1 \
stamp[bigint]:1 new-tuple: id[bigint]:1 place[integer]:1 version[bigint]:2 stamp[bigint]:100
table public.other: INSERT: id[bigint]:1
COMMIT 740 (at 1970-01-01 00:00:05.25+00)
BEGIN 741
COMMIT 741 (at 1970-01-01 00:00:06+00)
BEGIN 742
table public.race_item: DELETE: id[bigint]:1 place[integer]:1 version[bigint]:2 stamp[bigint]:100
COMMIT 742 (at 1970-01-01 02:00:07+02)
BEGIN 743
table public.race_item: DELETE: id[bigint]:2 place[integer]:1 version[bigint]:2 stamp[bigint]:1
table public.race_item: INSERT: id[bigint]:2 place[integer]:2 version[bigint]:3 stamp[bigint]:-8
COMMIT 743 (at 1970-01-01 00:00:08+00)
""".splitlines()


def test_the_database_s_log_is_understood() -> None:
    assert list(parse(LOG)) == [
        Commit(5.25, {1: Row(1, 2, 100)}),
        Commit(7.0, {1: None}),
        Commit(8.0, {2: Row(2, 3, -8)}),
    ]


@pytest.mark.parametrize("value", [None, 7, {}, {1: 5, 2: None}])
def test_values_are_written_down_and_read_back(value: dict[int, int | None] | int | None) -> None:
    assert read_value(value_of(value)) == value


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., dict[int, Path]]:
    """Let process 1 write lines down."""

    def write(*lines: tuple[object, ...], end: str = "") -> dict[int, Path]:
        path = tmp_path / "1.journal"
        journal = Journal(path)
        journal.read(2.0, 2.1, "row", 1, "100", computed=True, since=None)
        journal.read(2.2, 2.3, "row", 1, "100", computed=False, since=2.15)
        for line in lines:
            journal.note(*line)
        journal.close()
        with path.open("a") as file:
            file.write(end)
        return {1: path, 2: tmp_path / "missing"}

    return write


def test_a_history_is_put_together(told: Callable[..., dict[int, Path]]) -> None:
    journals = told(
        ("W", 100, "save", 5.0, "1"),
        ("C", 100, 5.2),
        ("A", 100, 5.3, 1),
        ("W", 101, "delete", 6.0, "1"),
        ("A", 101, 6.1, 0),
        ("W", 102, "delete", 6.9, "1"),
        ("C", 102, 6.95),
        end="A 102 7.",  # died as it wrote this
    )
    history = assemble(
        Plan(), journals, list(parse(LOG))[:2], faults=(), deaths={1: 7.5}, epoch=0.0
    )
    first, _, deleted = history.writes.values()
    assert [state.write for state in history.states[1]] == [None, first, deleted]
    assert (first.earliest, first.known, first.committed) == (5.2, 5.3, True)
    assert deleted.known == 7.5 + Plan.lease
    assert history.strangers == 0
    assert [(read.value, read.computed, read.since) for read in reads_of(journals)] == [
        (100, True, None),
        (100, False, 2.15),
    ]


def test_a_deletion_is_not_of_one_that_was_killed_long_before(
    told: Callable[..., dict[int, Path]],
) -> None:
    journals = told(
        ("W", 100, "save", 5.0, "1"),
        ("A", 100, 5.3, 1),
        ("W", 101, "delete", 5.5, "1"),
        ("C", 101, 5.6),
        ("W", 102, "delete", 6.9, "1"),
        ("C", 102, 6.95),
        ("A", 102, 7.1, 1),
    )
    history = assemble(
        Plan(), journals, list(parse(LOG))[:2], faults=(), deaths={1: 5.7}, epoch=0.0
    )
    killed, deleted = history.writes[101], history.writes[102]
    assert history.states[1][-1].write is deleted
    assert (killed.committed, deleted.committed) == (False, True)


def test_a_deletion_is_not_of_one_that_found_nothing(
    told: Callable[..., dict[int, Path]],
) -> None:
    journals = told(
        ("W", 100, "save", 5.0, "1"),
        ("A", 100, 5.3, 1),
        ("W", 101, "delete", 6.9, "1"),
        ("C", 101, 6.95),
        ("A", 101, 7.0, 1),
        ("W", 102, "delete", 7.01, "1"),
        ("A", 102, 7.02, 0),
    )
    history = assemble(Plan(), journals, list(parse(LOG))[:2], faults=(), deaths={}, epoch=0.0)
    assert history.states[1][-1].write is history.writes[101]


def test_a_change_that_nobody_wrote_is_told(told: Callable[..., dict[int, Path]]) -> None:
    history = assemble(Plan(), told(), parse(LOG), faults=(), deaths={}, epoch=0.0)
    assert history.strangers == 3
    assert not Checker(history).verdict().right


def test_the_last_ticket_of_another_worker_is_taken(tmp_path: Path) -> None:
    here, there = Tickets(tmp_path, 0, 2), Tickets(tmp_path, 1, 2)
    assert here.take() is None
    here.give(Ticket("own", 3))
    assert here.take() is None
    there.give(Ticket("a:b:c", 4))
    there.give(Ticket("d:e:f", 5))
    assert here.take() == Ticket("d:e:f", 5)
    assert there.take() == Ticket("own", 3)
