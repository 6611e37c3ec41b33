"""This package with its first rule broken: tokens are taken after the query. To be caught."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tests.race.adapters import smartcache

_local = threading.local()


class Cache(smartcache.Cache):
    def install(self) -> None:
        from djsmartcache.orm.dependencies import Computation

        take = Computation.take

        def take_late(self: Computation, tags: Any, schemes: Sequence[Any] = ()) -> None:
            waiting = vars(_local).setdefault("waiting", [])
            waiting.append((take, self, list(tags), list(schemes)))

        Computation.take = take_late  # type: ignore[method-assign]

    def after_query(self) -> None:
        waiting = vars(_local).pop("waiting", [])
        for take, computation, tags, schemes in waiting:
            take(computation, tags, schemes)
