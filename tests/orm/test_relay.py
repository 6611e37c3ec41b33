"""The relay loses nothing, whoever dies, commits late or is down."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError

from tests.children import Child
from tests.orm.conftest import environment
from tests.orm.strangers import (
    Sql,
    fill,
    manage,
    notes,
    sql,
    stale,
    stock,
    stranger,
    warm,
    watched,
)
from tests.servers import RedisServer
from tests.waiting import until

__all__ = ["sql", "stranger", "watched"]

ON_REDIS = pytest.mark.parametrize("store", ["redis"], indirect=True)

pytestmark = [
    pytest.mark.parametrize("database", ["postgresql"], indirect=True),
    pytest.mark.usefixtures("shop", "watched"),
]

Relays = Callable[..., Child]


@pytest.fixture
def relay(
    watched: None, database: dict[str, Any], store: dict[str, str]
) -> Iterator[Callable[..., Child]]:
    """Start a relay, which dies at a step or breaks the protocol if that is asked."""
    made: list[Child] = []

    def start(*, dies: str = "", breaks: str = "") -> Child:
        variables = {"SMARTCACHE_TEST_DIES": dies, "SMARTCACHE_TEST_BREAKS": breaks}
        child = Child("tests.orm.relayer", {**environment(database, store), **variables})
        made.append(child)
        assert child.hear().startswith("listening to postgresql:postgres, ")
        return child

    yield start
    for child in made:
        child.kill()
        child.close()


@pytest.fixture
def patient(database: dict[str, Any]) -> Iterator[psycopg.Connection[Any]]:
    """A session whose transaction is open for long."""
    with psycopg.connect(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        dbname=database["NAME"],
    ) as made:
        yield made


def settle() -> None:
    """Wait until nothing is left in the outbox and this process has heard of it."""
    until(lambda: not notes())
    until(lambda: not stale())


def forever_stale(seconds: float = 1.5) -> bool:
    """Whether something stays stale for so long, of which nobody would tell."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not stale():
            return False
        time.sleep(0.05)
    return True


def test_other_processes_see_what_others_write(relay: Relays, sql: Sql) -> None:
    fill()
    warm()
    child = relay()
    sql("UPDATE testapp_product SET stock = 50 WHERE id = 1")
    settle()
    sql("DELETE FROM testapp_review; TRUNCATE testapp_stock")
    settle()
    os.kill(child.pid, signal.SIGTERM)
    assert child.hear().startswith("ended, ")
    assert child.hear() == "over"


def test_what_was_written_while_no_relay_ran_is_relayed(relay: Relays, sql: Sql) -> None:
    fill()
    warm()
    sql("UPDATE testapp_product SET stock = 50")
    with pytest.raises(CommandError, match=r"^1 waiting, for \d+ s"):
        manage("relay", "--check", "0")
    assert "1 waiting" in manage("relay", "--check", "60")
    relay()
    settle()
    assert "0 waiting" in manage("relay", "--check", "0")


def test_without_notifications_it_looks_by_itself(relay: Relays, sql: Sql) -> None:
    manage("install_triggers", "--no-notify")
    fill()
    warm()
    relay()
    sql("UPDATE testapp_product SET stock = 50")
    settle()


# --- who dies


def killed(relay: Relays, sql: Sql, **how: str) -> None:
    fill()
    warm()
    child = relay(**how)
    sql("UPDATE testapp_product SET stock = 50 WHERE id < 3; DELETE FROM testapp_review")
    assert child.hear() == "", "it did not die"


@ON_REDIS
@pytest.mark.parametrize("step", ["read", "bumped", "deleted"])
def test_a_relay_that_is_killed_leaves_its_rows_to_the_next(
    relay: Relays, sql: Sql, step: str
) -> None:
    killed(relay, sql, dies=step)
    assert len(notes()) == 2
    relay()
    settle()


@ON_REDIS
def test_one_that_deletes_first_would_lose_them(relay: Relays, sql: Sql) -> None:
    killed(relay, sql, dies="read", breaks="deletes_first")
    relay()
    until(lambda: not notes())
    assert forever_stale(), "the test above proves nothing"


@ON_REDIS
def test_a_writer_that_dies_while_the_store_is_down_is_relayed(
    relay: Relays, database: dict[str, Any], store: dict[str, str], redis_server: RedisServer
) -> None:
    fill()
    warm()
    worker = Child("tests.orm.worker", environment(database, store))
    assert worker.hear() == "ready"
    redis_server.pause()
    assert worker.ask("save", 1, 77) == "saved"
    worker.kill()
    worker.close()
    redis_server.resume()
    until(lambda: stock.uncached(1) == 77)
    assert forever_stale(), "somebody else told the store: this test proves nothing"
    relay()
    settle()


# --- what is down


def written_while_down(relay: Relays, sql: Sql, redis_server: RedisServer, **how: str) -> None:
    """Write while the store is down, which no relay outlives."""
    fill()
    warm()
    first = relay(**how)
    redis_server.pause()
    sql("UPDATE testapp_product SET stock = 50 WHERE id < 3; DELETE FROM testapp_review")
    if how:
        until(lambda: not notes())
    else:
        assert first.hear().startswith("the store does not answer: 2 waiting")
        sql("UPDATE testapp_country SET name = 'D'")
    first.kill()
    second = relay()
    sql("UPDATE testapp_tag SET name = 'tiny'")
    assert second.hear().startswith("the store does not answer: ")
    redis_server.resume()
    assert second.hear() == "the store answers again"
    until(lambda: not notes())


@ON_REDIS
def test_nothing_is_lost_while_the_store_is_down(
    relay: Relays, sql: Sql, redis_server: RedisServer
) -> None:
    written_while_down(relay, sql, redis_server)
    settle()


@ON_REDIS
def test_one_that_does_not_wait_for_the_store_would_lose_it(
    relay: Relays, sql: Sql, redis_server: RedisServer
) -> None:
    written_while_down(relay, sql, redis_server, breaks="forgets")
    assert forever_stale(), "the test above proves nothing"


@ON_REDIS
def test_a_lost_connection_is_made_anew(relay: Relays, sql: Sql) -> None:
    fill()
    warm()
    child = relay()
    for value in range(3):
        ended = sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND query LIKE '%%smartcache%%'"
            " OR query IN ('COMMIT', 'BEGIN ISOLATION LEVEL READ COMMITTED')"
        )
        assert ended
        sql(f"UPDATE testapp_product SET stock = 5{value} WHERE id = 1")
        assert child.hear().endswith("; trying again in 0.25 s")
        assert child.hear().startswith("listening to ")
        settle()


# --- who is late


def late_commit(relay: Relays, sql: Sql, patient: psycopg.Connection[Any], **how: str) -> None:
    """Let the transaction that noted first commit last."""
    fill()
    warm()
    relay(**how)
    patient.execute("UPDATE testapp_country SET name = 'late'")
    sql("UPDATE testapp_product SET stock = 50 WHERE id = 1")
    until(lambda: not stale())
    patient.commit()


@ON_REDIS
def test_a_transaction_that_commits_late_is_not_passed_over(
    relay: Relays, sql: Sql, patient: psycopg.Connection[Any]
) -> None:
    late_commit(relay, sql, patient)
    settle()


@ON_REDIS
def test_one_that_follows_ids_would_pass_it_over(
    relay: Relays, sql: Sql, patient: psycopg.Connection[Any]
) -> None:
    late_commit(relay, sql, patient, breaks="cursor")
    assert forever_stale(), "the test above proves nothing"


# --- several


@ON_REDIS
def test_several_relays_share_the_work(relay: Relays, sql: Sql) -> None:
    fill()
    warm()
    sql("INSERT INTO testapp_tag SELECT n, n FROM generate_series(100, 3000) n")
    children = [relay(), relay()]
    for number in range(300):
        sql(f"UPDATE testapp_product SET stock = {number} WHERE id = {number % 3 + 1}")
        sql(f"DELETE FROM testapp_tag WHERE id = {100 + number}")
    settle()
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
        assert child.hear().startswith("ended, ")


@ON_REDIS
def test_what_one_relay_has_at_hand_is_not_waited_for(
    sql: Sql, patient: psycopg.Connection[Any]
) -> None:
    fill()
    warm()
    sql("UPDATE testapp_country SET name = 'held'")
    patient.execute("SELECT FROM smartcache_outbox FOR UPDATE")
    sql("UPDATE testapp_product SET stock = 50 WHERE id = 1")
    with pytest.raises(CommandError, match=r"^1 changes relayed, 1 waiting"):
        manage("relay", "--once")
    assert len(stale()) == 1
    patient.rollback()
    manage("relay", "--once")
    assert stale() == []


# --- what cannot be understood


@ON_REDIS
@pytest.mark.parametrize(
    "change",
    ["key_column = 'former'", "keys = '[null, [], {}, 1.5]'", "keys = NULL", "relation = 'gone'"],
)
def test_what_is_not_known_drops_more_and_stops_nothing(sql: Sql, change: str) -> None:
    fill()
    warm()
    sql("UPDATE testapp_product SET stock = 50 WHERE id = 1")
    sql(f"UPDATE smartcache_outbox SET {change}")
    manage("relay", "--once")
    assert stale() == []
