"""A real database of each kind, committed to, and a real store of each kind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import SyncToAsync
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, connections

from djsmartcache import process
from djsmartcache.orm import schemes
from djsmartcache.orm.dependencies import Computation, computation
from tests.servers import PostgresServer

MYSQL = os.environ.get("SMARTCACHE_TEST_MYSQL_URL", "")
"""A running server to test on instead: mysql://user:password@host:port/an-empty-database."""


@pytest.fixture(scope="session", params=["sqlite", "postgresql", "mysql"])
def database(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: Any,
) -> Iterator[dict[str, Any]]:
    """Let `default` be a database of this kind with the tables of all models; give its settings."""
    settings: dict[str, Any]
    if request.param == "sqlite":
        name = str(tmp_path_factory.mktemp("database") / "db.sqlite3")
        settings = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            # No test here is about losing power: waiting for the disk would be all they do.
            "OPTIONS": {"timeout": 20, "init_command": "PRAGMA synchronous = OFF"},
        }
    elif request.param == "mysql":
        url = urlsplit(MYSQL or request.getfixturevalue("mariadb").url)
        settings = {
            "ENGINE": "django.db.backends.mysql",
            "HOST": url.hostname,
            "PORT": str(url.port or 3306),
            "USER": url.username,
            "PASSWORD": url.password or "",
            "NAME": url.path.lstrip("/"),
        }
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        settings = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": str(server.port),
            "USER": "postgres",
            "NAME": "postgres",
        }
    before = connections.settings["default"]
    with django_db_blocker.unblock():
        _use(settings)
        call_command("migrate", verbosity=0)
        yield settings
        connections.close_all()
        _use(before)


def _use(settings: dict[str, Any]) -> None:
    connections.close_all()
    connections.settings["default"] = settings
    connections.configure_settings({"default": settings})
    # A wrapper keeps the settings it was made with.
    connections["default"] = connections.create_connection("default")
    # Django's thread for synchronous code outlives tests, and has a connection of its own.
    SyncToAsync.single_thread_executor.submit(_forget_connection).result()
    # Django remembers the ids of content types by alias, and this is another database.
    ContentType.objects.clear_cache()


def _forget_connection() -> None:
    connections.close_all()
    with contextlib.suppress(AttributeError):  # it has none
        del connections["default"]


@pytest.fixture(params=["embedded", "redis"])
def store(
    request: pytest.FixtureRequest, settings: Any, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """Let the cache be a new store of this kind; give the environment that children need."""
    if request.param == "redis":
        settings.SMARTCACHE_REDIS_URL = request.getfixturevalue("redis_url")
        environment = {"SMARTCACHE_TEST_STORE": settings.SMARTCACHE_REDIS_URL}
    else:
        settings.SMARTCACHE_REDIS_URL = None
        settings.SMARTCACHE_DIR = str(tmp_path / "store")
        environment = {"SMARTCACHE_TEST_STORE": settings.SMARTCACHE_DIR}
    schemes.forget()
    yield environment
    process.close()


@pytest.fixture
def shop(database: dict[str, Any], store: dict[str, str]) -> Iterator[None]:
    """Start from empty tables. What a test writes is committed for real."""
    yield
    connection.close()
    tables = {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label == "testapp" and model._meta.managed and not model._meta.proxy
    }
    connection.ensure_connection()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(sorted(tables))} RESTART IDENTITY")
            return
        off, on = {
            "sqlite": ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"),
            "mysql": ("SET FOREIGN_KEY_CHECKS = 0", "SET FOREIGN_KEY_CHECKS = 1"),
        }[connection.vendor]
        cursor.execute(off)
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute(on)


class Recorded:
    """What a callable returned, and what it read."""

    def __init__(self, value: Any, computed: Computation) -> None:
        self.value = value
        self.computed = computed

    @property
    def fresh(self) -> bool:
        """Whether an entry made of it would still be a hit."""
        assert self.computed.forbidden is None, self.computed.forbidden
        return process.cache().fresh(self.computed.tags())


Reading = Callable[[Callable[[], Any]], Recorded]


def read(function: Callable[[], Any]) -> Recorded:
    """Call a function as a cached one computes."""
    with computation() as computed:
        value = function()
    return Recorded(value, computed)


def environment(database: dict[str, Any], store: dict[str, str]) -> dict[str, str]:
    """Give what a child process needs to be in the same shop."""
    return {**os.environ, **store, "SMARTCACHE_TEST_DATABASE": repr(database)}
