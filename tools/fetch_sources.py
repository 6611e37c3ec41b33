"""Fetch the C sources of libvalkey and LMDB from their sdists: `fetch_sources.py FOLDER`.

pip downloads them, so the user's index, proxy and certificates are honoured, and it checks the
hashes in sources.txt. Archives are kept in SMARTCACHE_SOURCE_CACHE, or the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PINS = Path(__file__).with_name("sources.txt")
# Archive member (below the archive's top folder) -> where it goes in the target folder.
WANTED = {
    "libvalkey": {
        r"vendor/libvalkey/((include/valkey|src)/\w+\.[ch])": r"libvalkey/\1",
        r"vendor/libvalkey/COPYING": "libvalkey/COPYING",
    },
    "lmdb": {r"lib/((mdb|midl|lmdb)\.[ch])": r"lmdb/\1", r"LICENSE": "lmdb/LICENSE"},
}
# pip insists on an sdist's metadata, for which it would run its setup.py and first install what
# that needs. This stands in for setuptools and hands pip the PKG-INFO that the sdist carries.
SETUPTOOLS = """
import email, pathlib, shutil, sys

__legacy__ = sys.modules[__name__]  # the backend of an sdist without pyproject.toml

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    fields = email.message_from_string(pathlib.Path("PKG-INFO").read_text(encoding="utf-8"))
    info = pathlib.Path(metadata_directory, f"{fields['Name']}-{fields['Version']}.dist-info")
    info.mkdir()
    shutil.copy("PKG-INFO", info / "METADATA")
    return info.name

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise SystemExit("sources are downloaded, not built")
"""
# Settings of the user's pip that belong to an installation, not to where packages come from.
NOT_OURS = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV", "PIP_REQUIREMENT")
# Variables so called tell our own build where its backend lies; handed on, they would make pip look
# for the stand-in there.
OF_OUR_OWN_BUILD = "_PYPROJECT_HOOKS_"


def pins() -> dict[str, tuple[str, str]]:
    """Return archive name and SHA-256 of each library in sources.txt."""
    found = re.findall(r"^(\w+)==(\S+) --hash=sha256:(\w+)$", PINS.read_text(), re.MULTILINE)
    return {name: (f"{name}-{version}.tar.gz", digest) for name, version, digest in found}


def fetch(target: Path) -> None:
    """Lay out the sources of every pinned library in `target`, unless they are there."""
    stamp = target / "sources.txt"
    if stamp.exists() and stamp.read_bytes() == PINS.read_bytes():
        return
    cache = _cache_folder(otherwise=target.with_name("sources"))
    if not all(_is_intact(cache / archive, digest) for archive, digest in pins().values()):
        _download(cache)
    shutil.rmtree(target, ignore_errors=True)
    for name, (archive, _) in pins().items():
        _unpack(cache / archive, WANTED[name], target)
    shutil.copy(PINS, stamp)


def _cache_folder(otherwise: Path) -> Path:
    chosen = os.environ.get("SMARTCACHE_SOURCE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(base, "djsmartcache", "sources")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a service's user may have no home that it can write to
        otherwise.mkdir(parents=True, exist_ok=True)
        return otherwise
    return folder


def _is_intact(archive: Path, digest: str) -> bool:
    return archive.is_file() and hashlib.sha256(archive.read_bytes()).hexdigest() == digest


def _download(cache: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        package = Path(folder, "stand-in", "setuptools")
        package.mkdir(parents=True)
        package.joinpath("__init__.py").touch()
        package.joinpath("build_meta.py").write_text(SETUPTOOLS)
        path = os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")]))
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in NOT_OURS and not name.startswith(OF_OUR_OWN_BUILD)
        }
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download"),
                *("--quiet", "--dest", folder, "--require-hashes", "--requirement", str(PINS)),
                *("--no-deps", "--no-binary=:all:", "--use-pep517", "--no-build-isolation"),
                # libvalkey's own package asks for Python 3.11, its C sources do not.
                "--ignore-requires-python",
            ],
            env={**environment, "PYTHONPATH": path},
            check=True,
        )
        for archive, digest in pins().values():
            if not _is_intact(Path(folder, archive), digest):
                raise SystemExit(f"{archive}: not the file that sources.txt pins")
            os.replace(Path(folder, archive), cache / archive)


def _unpack(archive: Path, wanted: dict[str, str], target: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            for pattern, place in wanted.items():
                match = re.fullmatch(pattern, name)
                content = tar.extractfile(member) if match and member.isfile() else None
                if match and content:
                    path = target / match.expand(place)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.read())


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
