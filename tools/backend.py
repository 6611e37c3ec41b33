"""Build backend: scikit-build-core, with the C sources put into our sdist.

A wheel built from the sdist then needs no download of its own. Built from a checkout, the
CMake step fetches the sources with pip, which is a build requirement in that case only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import fetch_sources
from scikit_build_core import build as scikit_build
from scikit_build_core.build import (
    build_editable,
    build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, "str | list[str]"]
BUNDLED = Path("third_party")


def get_requires_for_build_sdist(config_settings: Settings | None = None) -> list[str]:
    return [*scikit_build.get_requires_for_build_sdist(config_settings), *_pip()]


def get_requires_for_build_wheel(config_settings: Settings | None = None) -> list[str]:
    return [*scikit_build.get_requires_for_build_wheel(config_settings), *_pip()]


def get_requires_for_build_editable(config_settings: Settings | None = None) -> list[str]:
    return [*scikit_build.get_requires_for_build_editable(config_settings), *_pip()]


def build_sdist(sdist_directory: str, config_settings: Settings | None = None) -> str:
    """Build the sdist around a `third_party/` that is in the tree only meanwhile."""
    if BUNDLED.exists():
        return scikit_build.build_sdist(sdist_directory, config_settings)
    try:
        fetch_sources.fetch(BUNDLED)
        return scikit_build.build_sdist(sdist_directory, config_settings)
    finally:
        shutil.rmtree(BUNDLED, ignore_errors=True)


def _pip() -> list[str]:
    return [] if BUNDLED.exists() else ["pip>=23"]
