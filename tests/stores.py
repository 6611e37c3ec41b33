"""The fixture `store`: the cache on a new store of each kind. Test modules import it by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from djsmartcache import process


@pytest.fixture(params=["embedded", "redis"])
def store(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Iterator[str]:
    """Let the cache be a new store of this kind; give its URL or folder."""
    if request.param == "redis":
        settings.SMARTCACHE_REDIS_URL = place = request.getfixturevalue("redis_url")
    else:
        settings.SMARTCACHE_REDIS_URL = None
        settings.SMARTCACHE_DIR = place = str(tmp_path / "store")
    yield place
    process.close()
