"""No cache: the control, which has to be right."""

from __future__ import annotations

from tests.race import queries
from tests.race.adapters import Adapter, Answer, Reads


class Cache(Adapter):
    def reads(self) -> Reads:
        return {
            "row": queries.stamp,
            "place": queries.place,
            "total": queries.total,
            "page": page,
            "key": queries.stamp,
            "task": queries.stamp_in_task,
        }


def page(window: int) -> Answer:
    return {pk: queries.stamp(pk) for pk in queries.page_of(window)}
