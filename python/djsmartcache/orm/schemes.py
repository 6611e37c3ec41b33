"""Column combinations by which some process looks rows up: what writers take row images for.

Learned from the replies to bumps. Not knowing one costs precision only: the store compares
versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A version of a table's set of column combinations; 0: the store has no set."""

    version: int
    columns: tuple[str, ...]


_NONE = Known(0, ())
_known: dict[int, Known] = {}


def of_table(table: int) -> Known:
    """Give what this process knows of the table with this table tag."""
    return _known.get(table, _NONE)


def version(table: int) -> int:
    """Give the version known of a table."""
    return of_table(table).version


def learn(table: int, version: int, columns: Sequence[str]) -> None:
    """Keep what the store said of a table."""
    if version != of_table(table).version:
        _known[table] = Known(version, tuple(sorted(columns)))


def forget() -> None:
    """Know nothing: for tests."""
    _known.clear()
