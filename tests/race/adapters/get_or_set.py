"""Django's own `cache.get_or_set`, and signals that delete keys after COMMIT."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db.models import QuerySet

from tests.race import queries
from tests.race.adapters import Adapter, Reads

ABSENT = "-"


class Cache(Adapter):
    writes = frozenset(
        [
            *("save", "save_in_atomic", "save_twice", "update"),
            *("rolled_back", "rolled_back_to_savepoint", "delete", "replace"),
        ]
    )

    def settings(self) -> dict[str, Any]:
        return {
            "CACHES": {
                "default": {
                    "BACKEND": "django.core.cache.backends.redis.RedisCache",
                    "LOCATION": self.place.redis_url,
                }
            }
        }

    def install(self) -> None:
        from django.db.models.signals import post_delete, post_save

        from tests.race.models import Item

        for signal in (post_save, post_delete):
            signal.connect(self._changed, sender=Item, weak=False)

    def _changed(self, instance: Any, **_: Any) -> None:
        self._delete_later(instance.pk)

    def _delete_later(self, pk: int) -> None:
        from django.core.cache import cache
        from django.db import transaction

        transaction.on_commit(partial(cache.delete_many, [f"row:{pk}", f"task:{pk}", "total"]))

    def update(self, found: QuerySet[Any], **changes: Any) -> int:
        pks = list(found.values_list("pk", flat=True))
        updated = super().update(found, **changes)
        for pk in pks:
            self._delete_later(pk)
        return updated

    def reads(self) -> Reads:
        from django.core.cache import cache

        def row(pk: int) -> int | None:
            found = cache.get_or_set(f"row:{pk}", lambda: queries.stamp(pk) or ABSENT, None)
            return None if found == ABSENT else found

        async def task(pk: int) -> int | None:
            # Django's aget_or_set takes no coroutine function.
            found = await cache.aget(f"task:{pk}")
            if found is None:
                found = await queries.stamp_in_task(pk) or ABSENT
                await cache.aadd(f"task:{pk}", found, None)
            return None if found == ABSENT else found

        return {
            "row": row,
            "total": lambda _: cache.get_or_set("total", queries.total, None),
            "task": task,
        }
