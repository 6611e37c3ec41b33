"""Short races: this package is right though its store fails, and what is broken is caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.race import report
from tests.race.driver import Servers
from tests.race.plan import Plan

ROUNDS = 10  # that a broken protocol gets to be caught in: on an idle machine one is enough


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as started:
        yield started


def test_postgresql_and_redis_that_fails_leave_nothing_late(servers: Servers) -> None:
    plan = Plan(seconds=4, processes=3, faults=True, settle=0.5, pace=0.2)
    found = servers.race(plan)
    assert found.right, report.text(plan, found)
    assert found.faults > 0
    assert found.writes > 0


def test_tokens_taken_after_the_query_are_caught_on_postgresql(servers: Servers) -> None:
    plan = Plan(adapter="broken", store="embedded", seconds=3, processes=3, bound=0, settle=0.5)
    assert any(servers.race(plan).late for _ in range(ROUNDS)), "the test above proves nothing"


SESSIONS = Plan(level="session", late_messages=True, seconds=3, processes=3, settle=0.5, shift=2.0)


def test_sessions_contain_what_had_returned_though_messages_are_late(servers: Servers) -> None:
    found = servers.race(SESSIONS)
    assert found.right, report.text(SESSIONS, found)
    assert found.in_sessions > 0


def test_sessions_without_a_fence_are_caught(servers: Servers) -> None:
    plan = dataclasses.replace(SESSIONS, adapter="unfenced")
    late = (servers.race(plan).kinds for _ in range(ROUNDS))
    assert any(kind.endswith("in a session") for kinds in late for kind in kinds), (
        "the test above proves nothing"
    )
