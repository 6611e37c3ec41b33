"""Crosses writes with shapes: what is stale after a write, and what was dropped in vain.

An entry stays as long as its answer is right, whatever was written and taken back since. So each
write costs the time of what it changes, and meets entries of any age.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import transaction

from tests.matrix import rows, shapes
from tests.matrix.writes import Write

Cell = tuple[str, Any]
Elsewhere = Callable[[Callable[[], Any]], Any]
"""Calls a function over another connection."""


class Cache(Protocol):
    """What holds the answers to all cells."""

    def ask(self, cell: Cell) -> tuple[Any, bool]:
        """Give an answer, and whether it was computed for it."""

    def compute(self, cell: Cell) -> Any:
        """Give the answer that the database gives."""

    def drop(self, cell: Cell) -> None:
        """Forget an answer."""

    def unseen(self) -> Any:
        """Give a block whose SQL is not noticed."""


@dataclass
class Outcome:
    """Of one write, or of many: cells by what became of them."""

    cells: int = 0
    stale: set[Cell] = field(default_factory=set)
    unaffected: set[Cell] = field(default_factory=set)
    """Their answer stayed the same."""
    dropped: set[Cell] = field(default_factory=set)

    @property
    def in_vain(self) -> set[Cell]:
        return self.dropped & self.unaffected


class _RolledBack(Exception):
    pass


class Matrix:
    """All cells on the rows as they are kept, warm."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        rows.fill()
        rows.keep(cache.unseen)
        self.before: dict[Cell, Any] = {cell: cache.compute(cell) for cell in shapes.CELLS}
        self._after: dict[str, dict[Cell, Any]] = {}
        """What the answers are after a write; only keys of new rows may be others the next time."""
        self._warm()

    def touch(self) -> None:
        """Save a row of each table as it is."""
        rows.touch()
        self._warm()

    def autocommit(self, write: Write) -> Outcome:
        """Write outside of a transaction."""
        self._warm()
        write()
        return self._judge(write)

    def committed(self, write: Write, elsewhere: Elsewhere) -> Outcome:
        """Write in a transaction; what it changes is read by others before it commits."""
        self._warm()
        with transaction.atomic():
            write()
            elsewhere(lambda: self._read_meanwhile(write))
        return self._judge(write)

    def undone(self, write: Write) -> set[Cell]:
        """Write in a transaction that is rolled back; give what is not as before."""
        try:
            with transaction.atomic():
                write()
                self._read_inside(write)
                raise _RolledBack
        except _RolledBack:
            pass
        return {cell for cell in self.before if self.cache.ask(cell)[0] != self.before[cell]}

    def _changed(self, write: Write) -> list[Cell]:
        after = self._after.get(write.name, {})
        return [cell for cell, value in after.items() if value != self.before[cell]]

    def _read_meanwhile(self, write: Write) -> None:
        for cell in self._changed(write):
            self.cache.drop(cell)
        for cell, before in self.before.items():
            assert self.cache.ask(cell)[0] == before, f"{cell} shows what is not committed"

    def _read_inside(self, write: Write) -> None:
        for cell in self._changed(write):
            seen = self.cache.ask(cell)[0]
            assert seen == self.cache.compute(cell), f"{cell} hides what its transaction wrote"

    def _judge(self, write: Write) -> Outcome:
        found = Outcome(len(self.before))
        after = self._after.setdefault(write.name, {})
        for cell, before in self.before.items():
            value, computed = self.cache.ask(cell)
            if computed:
                found.dropped.add(cell)
                after[cell] = value
            elif cell not in after or after[cell] != value:
                after[cell] = self.cache.compute(cell)
            if value != after[cell]:
                found.stale.add(cell)
            if after[cell] == before:
                found.unaffected.add(cell)
        if write.undo is not None:
            write.undo()
        rows.restore(self.cache.unseen)
        for cell in {*self._changed(write), *found.stale}:
            self.cache.drop(cell)
        return found

    def _warm(self) -> None:
        for cell, before in self.before.items():
            assert self.cache.ask(cell)[0] == before, f"{cell} is wrong before anything was written"
