"""Every kind of write against every shape of query: what is stale, and what is dropped in vain.

The same queries are cached by djsmartcache in functions, and by cacheops by themselves. Of what is
dropped, those answers count that both cache and that a write left as they were. Each table has been
written to once before, as that is when a process learns by which columns others look rows up.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from bench import site
from bench.arena import Place
from bench.report import Report
from tests.servers import MariaDBServer

DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MariaDB"}
LIMIT = 0.5

Cell = tuple[str, Any]


@dataclass
class Found:
    """What one contestant did about one write."""

    group: str
    stale: set[Cell]
    unaffected: set[Cell]
    dropped: set[Cell]


@dataclass
class Result:
    cached: set[Cell]
    """What a second call answers without the database."""
    writes: dict[str, Found]
    """By name; without those that failed."""


def cross(cells: Any) -> Result:
    """Do all writes, each on the same rows."""
    from django.core.management import call_command
    from django.db import connection

    from tests.matrix import rows
    from tests.matrix.running import Matrix
    from tests.matrix.writes import available

    call_command("migrate", verbosity=0)
    matrix = Matrix(cells)
    matrix.touch()
    cached = {cell for cell in matrix.before if not cells.ask(cell)[1]}
    found = {}
    for write in available(connection.vendor):
        try:
            outcome = matrix.autocommit(write)
        except Exception as error:
            print(f"{type(cells).__name__}: {write.name} failed: {error!r:.200}", flush=True)
            rows.restore(cells.unseen)
            for cell in matrix.before:
                cells.drop(cell)
            continue
        found[write.name] = Found(write.group, outcome.stale, outcome.unaffected, outcome.dropped)
    rows.forget(cells.unseen)  # the next one fills the same database
    return Result(cached, found)


def smart(place: Place, database: str) -> Result:
    site.smart(place, store="embedded", apps=("tests.matrix",), database=database)
    from tests.matrix.cells import SmartCells

    return cross(SmartCells())


def cacheops(place: Place, database: str) -> Result:
    site.configure(
        place,
        apps=("cacheops", "tests.matrix"),
        database=database,
        CACHEOPS_REDIS=place.redis_url,
        # Of migrations it would remember what it was told of another database.
        CACHEOPS={"migrations.*": None, "*.*": {"ops": "all", "timeout": 3600}},
    )
    return cross(CacheopsCells())


class CacheopsCells:
    """A cell is answered by the cache if none of its queries reaches the database."""

    def ask(self, cell: Cell) -> tuple[Any, bool]:
        from django.db import connection

        from tests.matrix import shapes

        sent: list[str] = []

        def see(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
            sent.append(sql)
            return execute(sql, *more)

        with connection.execute_wrapper(see):
            value = shapes.answer(*cell)
        return value, bool(sent)

    def compute(self, cell: Cell) -> Any:
        from cacheops.conf import settings

        from tests.matrix import shapes

        settings.CACHEOPS_ENABLED = False  # it reads Django's once
        try:
            return shapes.answer(*cell)
        finally:
            settings.CACHEOPS_ENABLED = True

    def drop(self, cell: Cell) -> None:
        from cacheops import invalidate_all

        invalidate_all()

    def unseen(self) -> Any:
        return nullcontext()


def measure(place: Place) -> list[Report]:
    return [_compare(place, database) for database in DATABASES]


def _compare(place: Place, database: str) -> Report:
    with MariaDBServer() if database == "mysql" else nullcontext() as server:
        if server is not None:
            place = Place(place.redis_url, place.redis_port, server.url, place.folder)
        ours, theirs = (_alone(run, place, database) for run in (smart, cacheops))
    report = Report(
        f"Writes against shapes of queries on {DATABASES[database]}",
        ("writes", "kinds", "stale", "stale, cacheops", "in vain", "in vain, cacheops"),
        f"nothing stale; unaffected answers dropped: at most {LIMIT:g}x of cacheops",
    )
    both = ours.cached & theirs.cached
    names = [name for name in ours.writes if name in theirs.writes]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(ours.writes[name].group, []).append(name)
    for title, members in [*groups.items(), ("all", names)]:
        sums = [_sums(each, members, both) for each in (ours, theirs)]
        (stale, vain, unaffected), (their_stale, their_vain, _) = sums
        counts = (len(members), stale, their_stale)
        shares = (f"{each / max(1, unaffected):.1%}" for each in (vain, their_vain))
        report.rows.append((title, *map(str, counts), *shares))
    cells = len(ours.cached | theirs.cached) * len(names)
    stale = sum(len(each.stale) for each in ours.writes.values())
    report.reached.append(
        f"{cells} cells, {stale} stale: {'reached' if stale == 0 else 'NOT reached'}"
    )
    report.reached.append(_ratio(ours, theirs, names, both, "all writes"))
    seen = [name for name in names if not theirs.writes[name].stale & both]
    report.reached.append(_ratio(ours, theirs, seen, both, "writes that leave cacheops fresh"))
    return report


def _alone(run: Callable[[Place, str], Result], place: Place, database: str) -> Result:
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        return pool.submit(run, place, database).result()


def _sums(result: Result, names: list[str], both: set[Cell]) -> tuple[int, int, int]:
    found = [result.writes[name] for name in names]
    return (
        sum(len(each.stale) for each in found),
        sum(len(each.dropped & each.unaffected & both) for each in found),
        sum(len(each.unaffected & both) for each in found),
    )


def _ratio(ours: Result, theirs: Result, names: list[str], both: set[Cell], what: str) -> str:
    (_, own, _), (_, other, _) = (_sums(each, names, both) for each in (ours, theirs))
    ratio = own / max(1, other)
    verdict = "reached" if ratio <= LIMIT else "NOT reached"
    return (
        f"{what} ({len(names)}), {len(both)} answers that both cache: {own} dropped in vain, "
        f"cacheops {other}: {ratio:.2f}x (at most {LIMIT:g}x): {verdict}"
    )
