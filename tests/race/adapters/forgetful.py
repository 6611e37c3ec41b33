"""This package with one bump in ten lost. To be caught."""

from __future__ import annotations

import random
from typing import Any

from tests.race.adapters import smartcache

LOST = 0.1


class Cache(smartcache.Cache):
    def install(self) -> None:
        from djsmartcache.orm import transaction

        bump: Any = transaction.bump

        def forget(*args: Any, **kwargs: Any) -> Any:
            return None if random.random() < LOST else bump(*args, **kwargs)

        transaction.bump = forget
