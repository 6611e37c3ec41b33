"""django-cacheops: querysets by themselves, and one function made of two."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from tests.race import queries
from tests.race.adapters import EVERY_WRITE, Adapter, Answer, Reads


class Cache(Adapter):
    apps = ("cacheops",)
    writes = EVERY_WRITE - {"raw"}

    def settings(self) -> dict[str, Any]:
        return {
            "CACHEOPS_REDIS": self.place.redis_url,
            "CACHEOPS": {"race.item": {"ops": "all", "timeout": 3600}},
        }

    def reads(self) -> Reads:
        from cacheops import cached_as

        from tests.race.models import Item

        @cached_as(Item.objects.all(), timeout=3600)
        def page(window: int) -> Answer:
            return {pk: queries.stamp(pk) for pk in queries.page_of(window)}

        # Its querysets know nothing of tasks.
        return {
            "row": queries.stamp,
            "place": queries.place,
            "total": queries.total,
            "page": page,
        }

    def update(self, found: QuerySet[Any], **changes: Any) -> int:
        updated: int = found.invalidated_update(**changes)  # type: ignore[attr-defined]
        return updated
