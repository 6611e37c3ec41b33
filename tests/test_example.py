"""The example site: its own tests, and the demonstration as it runs without a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "example"
PLAIN = {n: v for n, v in os.environ.items() if n != "DJANGO_SETTINGS_MODULE"}
PLACES = 2_000  # of the largest: the pages that the demonstration shows are among them


@pytest.fixture(params=["sqlite", "postgres"])
def atlas(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of an atlas of the test's own."""
    environment = {
        **PLAIN,
        "ATLAS_DATA": str(tmp_path / "data"),
        "ATLAS_CACHE": str(tmp_path / "cache"),
    }
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        environment["ATLAS_DATABASE"] = url.replace("postgresql:", "postgres:")
    return environment


def test_the_pages(atlas: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "--no-input"],
        env=atlas,
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 5 tests" in done.stderr


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an atlas that has its places."""
    folder = tmp_path_factory.mktemp("atlas")
    environment = {**PLAIN, "ATLAS_DATA": str(folder / "data"), "PYTHONPATH": str(folder)}
    for arguments in (["migrate", "-v0"], ["load_atlas", f"--places={PLACES}"]):
        subprocess.run(
            [sys.executable, "manage.py", *arguments], env=environment, cwd=EXAMPLE, check=True
        )
    (folder / "deaf.py").write_text(DEAF)
    (folder / "crude.py").write_text(CRUDE)
    return environment


CRUDE = """
import djsmartcache
from atlas.settings import *

from djsmartcache.orm import transaction

transaction.bump = lambda *_: djsmartcache.invalidate_all()
"""
DEAF = """
from atlas.settings import *

from djsmartcache.orm import transaction

transaction.bump = lambda *_: None
"""


def demonstrate(environment: dict[str, str]) -> tuple[int, str]:
    """The exit status of the demonstration, and what it said. Nothing it started may go on."""
    demo = subprocess.Popen(
        [sys.executable, "demo.py"],
        env=environment,
        cwd=EXAMPLE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = demo.communicate(timeout=120)  # ends only once all who hold the pipe have
        assert not runs(demo.pid)
        return demo.returncode, said
    finally:
        if runs(demo.pid):
            os.killpg(demo.pid, signal.SIGKILL)


def runs(session: int) -> bool:
    """Whether a process of this session is left."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_demonstration_ends_by_itself(loaded: dict[str, str]) -> None:
    status, said = demonstrate(loaded)
    assert status == 0, said
    assert "seen at once by every worker" in said
    assert "The edit had 4 pages made anew; 3 of Germany stayed in the cache." in said


def test_the_demonstration_fails_where_an_edit_is_not_seen(loaded: dict[str, str]) -> None:
    status, said = demonstrate({**loaded, "DJANGO_SETTINGS_MODULE": "deaf"})
    assert status == 1, said
    assert "Not every worker showed the edit" in said


def test_the_demonstration_fails_where_an_edit_drops_everything(loaded: dict[str, str]) -> None:
    status, said = demonstrate({**loaded, "DJANGO_SETTINGS_MODULE": "crude"})
    assert status == 1, said
    assert "seen at once by every worker" in said
    assert "did not drop what shows Paris and nothing else" in said


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "{data}/atlas.sqlite3"),
        ("sqlite:////of/my%20own", "/of/my own"),
        ("postgres://me:secret@host/places", "places"),
        ("postgresql://host:5433/places", "places"),
    ],
)
def test_the_database_is_that_of_the_url(tmp_path: Path, url: str, name: str) -> None:
    assert databases(tmp_path, url).stdout.strip() == name.format(data=tmp_path)


@pytest.mark.parametrize("url", ["mysql://me:secret@host/places", "places.sqlite3", "/places"])
def test_a_database_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    done = databases(tmp_path, url)
    last = done.stderr.splitlines()[-1]
    assert done.returncode != 0
    assert "ImproperlyConfigured: ATLAS_DATABASE is a URL of " in last
    assert "postgres://user:password@host:port/name or sqlite:////path/of/file" in last
    assert "secret" not in last


def databases(data: Path, url: str) -> subprocess.CompletedProcess[str]:
    """A process that reads the settings, and says the name of the database."""
    return subprocess.run(
        [sys.executable, "-c", "from atlas.settings import *; print(DATABASES['default']['NAME'])"],
        env={**PLAIN, "ATLAS_DATA": str(data), "ATLAS_DATABASE": url},
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
    )
