"""The cells as entries of djsmartcache."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from djsmartcache import smart_cached
from djsmartcache.orm.state import internal
from tests.matrix import shapes
from tests.matrix.running import Cell

_computed: list[Cell] = []


@smart_cached(ttl=None)
def answer(name: str, argument: Any) -> Any:
    _computed.append((name, argument))
    return shapes.answer(name, argument)


class SmartCells:
    """One entry for each cell."""

    def ask(self, cell: Cell) -> tuple[Any, bool]:
        before = len(_computed)
        value = answer(*cell)
        return value, len(_computed) > before

    def compute(self, cell: Cell) -> Any:
        return shapes.answer(*cell)

    def drop(self, cell: Cell) -> None:
        answer.invalidate(*cell)

    def unseen(self) -> Any:
        return internal(connections[DEFAULT_DB_ALIAS])
