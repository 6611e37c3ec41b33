"""Which processes share keys: those at one database, and no test process with any other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest

from tests.children import Child
from tests.servers import PostgresServer
from tests.stores import store

__all__ = ["store"]
ROOT = Path(__file__).parents[1]
ON_REDIS = pytest.mark.parametrize("store", ["redis"], indirect=True)
SQLITE = "django.db.backends.sqlite3"
POSTGRESQL = "django.db.backends.postgresql"

SPAWNS_FILES = (6, 1)  # the first Django whose spawned test processes find copies of a file

Start = Callable[..., Child]


@pytest.fixture
def start(store: str) -> Iterator[Start]:
    """Start a process on the same store, with databases of its own."""
    made: list[Child] = []

    def start(**databases: Any) -> Child:
        values = {
            "SMARTCACHE_REDIS_URL": store if "://" in store else None,
            "SMARTCACHE_DIR": None if "://" in store else store,
            "DATABASES": databases,
        }
        made.append(Child("tests.caller", {**os.environ, "SMARTCACHE_TEST_SETTINGS": repr(values)}))
        assert made[-1].hear() == "ready"
        return made[-1]

    yield start
    for child in made:
        child.close()


def at(name: object, **more: str) -> dict[str, str]:
    """The settings of a database; nobody connects to one of PostgreSQL here."""
    return {"ENGINE": POSTGRESQL, "NAME": str(name), **more}


def share(one: Child, other: Child) -> bool:
    """Whether what one process does with a key reaches the other."""
    assert one.ask("set", "k", "v") == "True"
    found = other.ask("get", "k") == "v"
    assert (other.ask("delete", "k") == "1") == found
    assert (one.ask("get", "k") == "None") == found
    one.ask("delete", "k")
    return found


@ON_REDIS
def test_processes_at_different_databases_share_no_keys(start: Start, tmp_path: Path) -> None:
    shop = start(default=at("shop"))
    assert not share(shop, start(default=at("staging")))
    assert not share(shop, start(default={"ENGINE": SQLITE, "NAME": "shop"}))
    one, other = ({"ENGINE": SQLITE, "NAME": str(tmp_path / name)} for name in "ab")
    assert not share(start(default=one), start(default=other))
    assert not share(start(default={}, users=at("a")), start(default={}, users=at("b")))


@ON_REDIS
def test_services_of_one_project_share_keys_however_they_reach_its_database(start: Start) -> None:
    web = start(default=at("shop", HOST="localhost", USER="web"))
    assert share(web, start(default=at("shop", HOST="127.0.0.1", PORT="6432", USER="worker")))
    assert share(web, start(default=at("shop"), archive=at("archive"), replica=at("shop")))
    assert share(web, start(default=at("", OPTIONS={"dbname": "shop"})))  # type: ignore[arg-type]


@ON_REDIS
def test_a_project_without_a_database_shares_keys(start: Start) -> None:
    for none in ({}, {"default": {}}, {"default": {"ENGINE": SQLITE, "NAME": ":memory:"}}):
        one, other = start(**none), start(**none)
        assert share(one, other)
        assert one.ask("close") == "closed"
        assert share(one, other)


@ON_REDIS
@pytest.mark.parametrize("how", ["connect", "close"])
def test_a_process_that_goes_to_another_database_has_its_keys(
    start: Start, tmp_path: Path, how: str
) -> None:
    def settings(name: str) -> dict[str, str]:
        return {"ENGINE": SQLITE, "NAME": str(tmp_path / name)}

    mover = start(default=settings("main"))
    main, tenant = start(default=settings("main")), start(default=settings("tenant"))
    assert share(mover, main)
    for _ in range(2):
        assert mover.ask("go-to", settings("tenant")["NAME"], how) == "there"
        assert not share(mover, main)
        assert share(mover, tenant)
        assert mover.ask("go-to", settings("main")["NAME"], how) == "there"
        assert share(mover, main)
        assert not share(mover, tenant)


@ON_REDIS
def test_what_was_computed_while_the_database_was_exchanged_is_not_stored(
    start: Start, tmp_path: Path
) -> None:
    mover, main = (
        start(default={"ENGINE": SQLITE, "NAME": str(tmp_path / "main")}) for _ in range(2)
    )
    assert mover.ask("moving", str(tmp_path / "tenant")) == "computed"
    assert main.ask("get", "moving") == "None"


DATABASES = ["memory", "file", "postgresql"]


@pytest.fixture
def project(
    request: pytest.FixtureRequest, store: str, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in the project of `tests.parallel`."""

    def run(kind: str, *command: str) -> subprocess.CompletedProcess[str]:
        database: dict[str, Any] = {"ENGINE": SQLITE, "NAME": str(tmp_path / "db.sqlite3")}
        if kind == "file":
            database["TEST"] = {"NAME": str(tmp_path / "test.sqlite3")}
        elif kind == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            database = at(tmp_path.name.replace("-", "_").lower()[-30:], HOST="127.0.0.1")
            database |= {"PORT": str(server.port), "USER": "postgres"}
        given = {
            "database": database,
            "redis_url": store if "://" in store else None,
            "dir": None if "://" in store else store,
        }
        meeting = tmp_path / "meeting"
        meeting.mkdir()
        # Processes that are started anew keep their copies of a database in memory in files.
        working = tmp_path / "working"
        working.mkdir()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SMARTCACHE_TEST_PARALLEL": repr(given),
            "SMARTCACHE_TEST_MEETING": str(meeting),
        }
        for name in ("DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
            environment.pop(name, None)
        return subprocess.run(
            [sys.executable, *command],
            env=environment,
            cwd=working,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("method", ["fork", "spawn"])
@ON_REDIS
def test_processes_of_django_s_runner_share_nothing(project: Any, method: str, kind: str) -> None:
    if (method, kind) == ("spawn", "file") and django.VERSION < SPAWNS_FILES:
        pytest.skip("this Django looks for the copy of a file under another name")
    command = ("test", "--parallel", "2", "--noinput", "tests.parallel.suite")
    done = project(kind, "-m", "tests.parallel.manage", method, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 2 tests" in done.stderr


@pytest.mark.parametrize("kind", ["memory", "postgresql"])
@ON_REDIS
def test_processes_of_pytest_xdist_share_nothing(project: Any, kind: str) -> None:
    options = ("-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={ROOT}", "-n", "2")
    suite = str(ROOT / "tests" / "parallel" / "suite.py")
    done = project(kind, "-m", "pytest", *options, "--ds=tests.parallel.settings", suite)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
