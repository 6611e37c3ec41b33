"""This package, at each of its levels."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from tests.race import queries
from tests.race.adapters import Adapter, Answer, Reads


class Cache(Adapter):
    apps = ("djsmartcache",)

    def settings(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "SMARTCACHE_REDIS_URL": self.place.redis_url or None,
            "SMARTCACHE_DIR": self.place.folder,
            # The lock keeps readers from racing each other: half of the workers go without.
            "SMARTCACHE_USE_REDIS_LOCK": self.place.worker % 2 == 0,
            # A store that a busy machine keeps from answering is not down.
            "SMARTCACHE_REDIS_TIMEOUT": 1.0,
        }
        return made | level_settings(self.plan.level)

    def reads(self) -> Reads:
        from djsmartcache import cache_get_or_set, smart_cached

        row = smart_cached(key="row:{pk}", ttl=None)(queries.row)
        place = smart_cached(ttl=None)(queries.place)
        task = smart_cached(key="task:{pk}", ttl=None)(queries.stamp_in_task)
        total = smart_cached(key="total", ttl=None)(queries.total)

        @smart_cached(key="page:{window}", ttl=None)
        def page(window: int) -> Answer:
            return {pk: queries.stamp_of(row(pk)) for pk in queries.page_of(window)}

        def key(pk: int) -> int | None:
            return cache_get_or_set(f"stamp:{pk}", lambda: queries.stamp(pk), ttl=None)

        return {
            "row": lambda pk: queries.stamp_of(row(pk)),
            "place": place,
            "total": lambda _: total(),
            "page": page,
            "key": key,
            "task": task,
        }

    def ticket(self) -> str:
        from djsmartcache import session_ticket

        return session_ticket()

    def session(self, ticket: str) -> AbstractContextManager[None]:
        from djsmartcache import smartcache_session

        return smartcache_session(ticket)

    def queued(self) -> int:
        from djsmartcache import process

        return int(process.cache().stats()["bumps_queued"])

    def replayed(self) -> bool:
        """No token is given before all that is pending has been told."""
        from djsmartcache import _core, process

        # A tag of its own for each try: one whose token is in L1 would not ask the store.
        probe = _core.tag("u", f"race {threading.get_ident()} {_counted()}")
        return process.cache().take([probe]) is not None


_count = iter(range(1 << 62))


def _counted() -> int:
    return next(_count)


def level_settings(level: str) -> dict[str, Any]:
    """Give the settings of a level; strict was, before there were levels, to do without a listener.

    Raises:
        SystemExit: The package has no such level.
    """
    from djsmartcache import conf

    if not level:
        return {}
    rule = conf.names()["SMARTCACHE_CONSISTENCY"].metadata["rule"]
    if rule.holds(level):
        return {"SMARTCACHE_CONSISTENCY": level}
    if level == "strict":
        return {"SMARTCACHE_START_LISTENER": False}
    raise SystemExit(f"SMARTCACHE_CONSISTENCY = {level!r}: this version allows {rule.allowed}")
