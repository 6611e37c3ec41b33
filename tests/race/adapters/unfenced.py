"""This package with sessions that ask for nothing: their blocks make no fence. To be caught."""

from __future__ import annotations

from tests.race.adapters import smartcache


class Cache(smartcache.Cache):
    def install(self) -> None:
        from djsmartcache import levels

        levels._asking = lambda: None
