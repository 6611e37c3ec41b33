"""django-cachalot: every query by itself."""

from __future__ import annotations

from typing import Any

from tests.race import queries
from tests.race.adapters import Adapter, Reads


class Cache(Adapter):
    apps = ("cachalot",)

    def settings(self) -> dict[str, Any]:
        return {
            "CACHES": {
                "default": {
                    "BACKEND": "django_redis.cache.RedisCache",
                    "LOCATION": self.place.redis_url,
                }
            },
            "CACHALOT_ONLY_CACHABLE_TABLES": frozenset(["race_item"]),
        }

    def reads(self) -> Reads:
        return {
            "row": queries.stamp,
            "place": queries.place,
            "total": queries.total,
            "task": queries.stamp_in_task,
        }
