"""The servers that the other tests rely on."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from typing import Any

import psycopg
import pytest
import redis

from tests.servers import MariaDBServer, PostgresServer, RedisServer, main


def test_redis_answers_on_port_and_socket_and_is_emptied(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as by_port, redis_server.client() as by_socket:
        by_port.set("a", 1)
        assert by_socket.get("a") == b"1"
        redis_server.flush()
        assert by_port.get("a") is None


def test_redis_comes_back_on_its_port_after_a_kill(redis_server: RedisServer) -> None:
    port, pid = redis_server.port, redis_server.pid
    redis_server.restart(signal.SIGKILL)
    assert redis_server.running
    assert redis_server.pid != pid
    assert redis_server.port == port


def test_paused_redis_accepts_and_does_not_answer(redis_server: RedisServer) -> None:
    redis_server.pause()
    impatient = redis_server.client(socket_timeout=0.05, retry=None)
    with impatient as client, pytest.raises(redis.TimeoutError):
        client.ping()
    redis_server.resume()
    with redis_server.client() as client:
        assert client.ping()


def test_postgres_answers(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_mariadb_answers(mariadb: MariaDBServer) -> None:
    import MySQLdb

    where: dict[str, Any] = {"host": "127.0.0.1", "port": mariadb.port}
    client = MySQLdb.connect(user="smartcache", db="smartcache", **where)
    with client.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        assert "MariaDB" in cursor.fetchone()[0]
    client.close()


def test_a_server_dies_with_the_process_that_started_it() -> None:
    program = (
        "import os, signal; from tests.servers import RedisServer; s = RedisServer();"
        "print(s.pid, s.folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, folder = done.stdout.split()
    shutil.rmtree(folder)
    # The kernel sends the signal as the parent ends; the pidfd tells when the child has.
    try:
        ended = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    with os.fdopen(ended) as handle:
        assert select.select([handle], [], [], 10)[0], "the server outlived its starter"


def test_the_program_passes_addresses_and_status_on() -> None:
    check = "import os, sys; sys.exit(3 if os.environ['SMARTCACHE_TEST_REDIS_PORT'] else 0)"
    assert main(["redis", "--", sys.executable, "-c", check]) == 3
    assert main(["nonesuch", "--", "true"]) == 2
