"""The package as type checkers see it: its stub, and the types its users get."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=FOLDER,
    )
    assert done.returncode == 0, done.stdout


def test_the_stub_says_what_the_extension_has() -> None:
    run("mypy.stubtest", "djsmartcache._core")


def test_users_get_types() -> None:
    """mypy also fails where an expected error of usage.py, an ignored one, is not found."""
    run("mypy", "--strict", "--config-file=", "usage.py", "decorated.py")
