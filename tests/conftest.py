"""Fixtures of every test: the private servers, started when a test first asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings

from tests.servers import MariaDBServer, PostgresServer, RedisServer

# How long an example takes is the machine's affair.
hypothesis_settings.register_profile("djsmartcache", deadline=None)
hypothesis_settings.load_profile("djsmartcache")


@pytest.fixture(autouse=True)
def _no_content_types_of_before() -> None:
    """Forget the primary keys of a database that has been emptied or exchanged since."""
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.clear_cache()


@pytest.fixture(scope="session")
def _redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """Return the session's Redis: running, awake and empty, whatever the last test did to it."""
    _redis.start()
    _redis.resume()
    _redis.flush()
    return _redis


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Return the session's PostgreSQL, with its empty database `postgres`."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    return postgres.url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """Return the session's MariaDB, with its empty database `smartcache`."""
    with MariaDBServer() as server:
        yield server
