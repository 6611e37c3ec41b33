"""Tickets of sessions, handed by who wrote to who reads, in whatever process, past every cache.

Each worker has a file, which holds the last ticket it gave; nobody waits for another.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ticket:
    """A ticket, and the row that was written before it was given."""

    text: str
    pk: int


class Tickets:
    """The tickets of one worker; those of the others.

    Args:
        folder: Of all workers.
        own: Index of this worker.
    """

    def __init__(self, folder: Path, own: int, workers: int) -> None:
        self._own = folder / f"ticket-{own}"
        self._made = folder / f"ticket-{own}-made"
        self._others = [folder / f"ticket-{index}" for index in range(workers) if index != own]

    def give(self, ticket: Ticket) -> None:
        """Hand a ticket on. One thread of the worker does."""
        self._made.write_text(f"{ticket.text} {ticket.pk}")
        os.replace(self._made, self._own)

    def take(self) -> Ticket | None:
        """Take the last ticket of another worker, if it has given one."""
        if not self._others:
            return None
        try:
            text, pk = random.choice(self._others).read_text().split()
        except FileNotFoundError:
            return None
        return Ticket(text, int(pk))
