"""Contestants in processes of their own, timed in turn.

Caches for Django patch it, so that no two of them fit into one process. Each contestant is a
function ``prepare(place)`` that configures Django as its users would and returns ``run(n)``, which
does ``n`` operations and returns the seconds they took. The contestants run in turn, round by
round, so that a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

Run = Callable[[int], float]


@dataclass(frozen=True)
class Place:
    """Where a benchmark finds its servers and folders."""

    redis_url: str
    redis_port: int
    postgres_url: str
    folder: str


@dataclass(frozen=True)
class Contestant:
    name: str
    prepare: str  # "module:function"
    arguments: dict[str, Any] = field(default_factory=dict)


def serve(connection: Connection, contestant: Contestant, place: Place) -> None:
    module, function = contestant.prepare.split(":")
    run = getattr(importlib.import_module(module), function)(place, **contestant.arguments)
    connection.send("ready")
    while (operations := connection.recv()) is not None:
        connection.send(run(operations))


class Arena:
    """The contestants' processes; a context manager."""

    def __init__(self, place: Place, contestants: Sequence[Contestant]) -> None:
        self.contestants = contestants
        self._ends: list[tuple[Any, Connection]] = []
        spawning = multiprocessing.get_context("spawn")
        for contestant in contestants:
            ours, theirs = spawning.Pipe()
            process = spawning.Process(target=serve, args=(theirs, contestant, place), daemon=False)
            process.start()
            theirs.close()
            self._ends.append((process, ours))
            ours.recv()

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._ends:
            connection.send(None)
            process.join(30)
            if process.is_alive():
                process.kill()

    def once(self, operations: int) -> dict[str, float]:
        """What each contestant's ``run`` returns, one after the other."""
        answers = {}
        for contestant, (_, connection) in zip(self.contestants, self._ends, strict=True):
            connection.send(operations)
            answers[contestant.name] = connection.recv()
        return answers

    def race(self, *, rounds: int, operations: int, warm_up: bool = True) -> dict[str, float]:
        """Median nanoseconds for one operation of each contestant, after one round that does not
        count where `warm_up` is wanted."""
        seconds: dict[str, list[float]] = {c.name: [] for c in self.contestants}
        if warm_up:
            self.once(operations)
        for _ in range(rounds):
            for name, took in self.once(operations).items():
                seconds[name].append(took)
        return {
            name: statistics.median(taken) / operations * 1e9 for name, taken in seconds.items()
        }
