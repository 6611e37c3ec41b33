"""The fixture `start`: processes on the test's store. Test modules import it by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.children import Child

Start = Callable[..., Child]


@pytest.fixture
def start(store: str) -> Iterator[Start]:
    """Start `tests.caller` on the same store, with settings of its own."""
    made: list[Child] = []

    def start(**changes: Any) -> Child:
        place = {"REDIS_URL" if "://" in store else "DIR": store}
        values = {f"SMARTCACHE_{name}": value for name, value in {**place, **changes}.items()}
        made.append(Child("tests.caller", {**os.environ, "SMARTCACHE_TEST_SETTINGS": repr(values)}))
        assert made[-1].hear() == "ready"
        return made[-1]

    yield start
    for child in made:
        child.close()
