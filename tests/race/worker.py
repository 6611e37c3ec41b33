"""A process of the race: threads that read, and one that writes. Told lines, answers in lines.

- `go BEGIN UNTIL`: read and write between these times of the machine's clock; "done"
- `die before|after`: be killed at the next COMMIT, before it or between it and what follows
- `live`: do not
- `audit`: read everything in every way, calmly; "audited"
- end of input: end
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from asgiref.sync import iscoroutinefunction
from django.conf import settings

from tests.race import adapters
from tests.race.journal import Journal, value_of
from tests.race.plan import Plan, places_of, rows_of, window_of_row
from tests.race.seams import Seams, counting
from tests.race.tickets import Ticket, Tickets

PLAN = "RACE_PLAN"
DATABASE = "RACE_DATABASE"
REDIS = "RACE_REDIS"
FOLDER = "RACE_FOLDER"
JOURNAL = "RACE_JOURNAL"
NUMBER = "RACE_NUMBER"  # of this process, new after each death
INDEX = "RACE_INDEX"  # among the processes that run at once

SHAPES = {"row": 5.0, "place": 3.0, "total": 0.7, "page": 1.5, "key": 2.0, "task": 1.5}
"""How often each way to read is chosen."""
IN_SESSIONS = 0.4  # the share of turns in which a thread reads in a block, at the level `session`
BLOCK = 3  # reads of a block at most
READ_PAUSE = 0.004  # seconds between two reads of a thread, on average
WRITE_PAUSE = 0.02
REPLAY_PAUSE = 0.02


class Worker:
    def __init__(self) -> None:
        self.plan = Plan.loads(os.environ[PLAN])
        self.index = int(os.environ[INDEX])
        self.number = int(os.environ[NUMBER])
        self.journal = Journal(Path(os.environ[JOURNAL]))
        self.adapter = adapters.make(
            self.plan,
            adapters.Place(os.environ[REDIS], os.environ[FOLDER], self.index),
        )
        self.seams = Seams(self._committing, self.adapter.after_query)
        self._tickets: Tickets | None = None
        if self.plan.level == "session":
            folder = Path(os.environ[JOURNAL]).parent
            self._tickets = Tickets(folder, self.index, self.plan.processes)
        self._writing = threading.local()
        self._stamps = itertools.count((self.number << 24) + 2)
        self._absent: list[int] = []
        self._begin = 0.0
        self._until = 0.0
        self._over = threading.Event()
        self._waiting = threading.Event()  # for a replay

    def set_up(self) -> None:
        host, port, name = os.environ[DATABASE].split(",")
        settings.configure(
            SECRET_KEY="of the race only",
            USE_TZ=True,
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "HOST": host,
                    "PORT": port,
                    "USER": "postgres",
                    "NAME": name,
                }
            },
            INSTALLED_APPS=[
                "django.contrib.contenttypes",
                *self.adapter.apps,
                "tests.race",
            ],
            **self.adapter.settings(),
        )
        self.seams.install()
        django.setup()
        self.adapter.install()
        self._reads = {
            name: self._in_task(read) if iscoroutinefunction(read) else read
            for name, read in self.adapter.reads().items()
        }
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def _in_task(self, read: Callable[[int], Any]) -> Callable[[int], Any]:
        async def call(key: int) -> Any:
            return await read(key)

        return lambda key: asyncio.run_coroutine_threadsafe(call(key), self._loop).result()

    # --- reading

    def read(self, shape: str, key: int, since: float | None = None) -> None:
        began = time.monotonic()
        try:
            with counting() as queries:
                found = self._reads[shape](key)
        except Exception as error:
            self.journal.note("E", time.monotonic(), shape, type(error).__name__, error)
            return
        ended = time.monotonic()
        value = value_of(found)
        computed = queries.sent > 0
        self.journal.read(began, ended, shape, key, value, computed=computed, since=since)

    def _keys(self, window: int) -> dict[str, range]:
        rows = rows_of(window)
        return {
            "row": rows,
            "key": rows,
            "task": rows,
            "place": places_of(window),
            "page": range(window, window + 1),
            "total": range(1),
        }

    def audit(self, window: int) -> None:
        """Read all there is of a window, in every way."""
        for shape, keys in self._keys(window).items():
            if shape in self._reads:
                for key in keys:
                    self.read(shape, key)

    def read_on(self) -> None:
        shapes = [shape for shape in SHAPES if shape in self._reads]
        weights = [SHAPES[shape] for shape in shapes]
        while (now := time.monotonic()) < self._until:
            window = self.plan.window_at(now - self._begin)
            if self._tickets is not None and random.random() < IN_SESSIONS:
                self._read_in_session(
                    self._tickets, random.choices(shapes, weights, k=BLOCK), window
                )
            else:
                if random.random() < 0.35:
                    window = random.randrange(self.plan.windows)
                (shape,) = random.choices(shapes, weights)
                self.read(shape, random.choice(self._keys(window)[shape]))
            time.sleep(random.random() * 2 * READ_PAUSE)

    def _read_in_session(self, tickets: Tickets, shapes: list[str], window: int) -> None:
        """Read what another process has written, with its ticket, and what belongs to it; if there
        is no ticket, with one of this process."""
        taken = tickets.take()
        ticket = self.adapter.ticket() if taken is None else taken.text
        keys = self._keys(window if taken is None else window_of_row(taken.pk))
        since = time.monotonic()
        with self.adapter.session(ticket):
            for shape in shapes[: random.randint(1, BLOCK)]:
                written = taken is not None and taken.pk in keys[shape] and random.random() < 0.7
                key = taken.pk if taken is not None and written else random.choice(keys[shape])
                self.read(shape, key, since)

    def audit_on(self) -> None:
        """Audit each window before it is written to again."""
        before = -1
        while (now := time.monotonic()) < self._until:
            window = (self.plan.window_at(now - self._begin) + 1) % self.plan.windows
            if window != before:
                self.audit(window)
            before = window
            time.sleep(self.plan.shift / 10)

    # --- writing

    def write_on(self) -> None:
        from tests.race.writes import KINDS

        kinds = [kind for kind in KINDS if kind in self.adapter.writes]
        weights = [KINDS[kind][0] for kind in kinds]
        while (now := time.monotonic()) < self._until:
            window = self.plan.window_at(now - self._begin)
            (kind,) = random.choices(kinds, weights)
            self.write(kind, window)
            time.sleep(random.random() * 2 * WRITE_PAUSE)
        for pk in list(self._absent):
            self._write("create", [pk], places_of((pk - 1) // len(rows_of(0))))

    def write(self, kind: str, window: int) -> None:
        rows = list(rows_of(window))
        random.shuffle(rows)
        places = places_of(window)
        if self._absent and random.random() < 0.3:
            kind, rows = "create", [self._absent[0]]
            places = places_of((rows[0] - 1) // len(rows_of(0)))
        elif kind == "delete":
            # One process deletes a row: the log tells when, not by whose hand.
            rows = [pk for pk in rows if pk % self.plan.processes == self.index]
            if not rows:
                return
        self._write(kind, rows, places)

    def _write(self, kind: str, rows: list[int], places: range) -> None:
        from tests.race.writes import KINDS, Making, RolledBack, create

        call = create if kind == "create" else KINDS[kind][1]
        stamp = next(self._stamps)
        queued = self.adapter.queued()
        self._writing.stamp = stamp
        pks = rows[:1] if kind in ("create", "delete") else rows
        self.journal.note("W", stamp, kind, time.monotonic(), ",".join(map(str, pks)))
        try:
            effect = call(Making(self.adapter, rows, places, stamp))
        except RolledBack:
            self.journal.note("A", stamp, time.monotonic(), 0)
        except Exception as error:
            self.journal.note("X", stamp, time.monotonic(), type(error).__name__, error)
        else:
            self.journal.note("A", stamp, time.monotonic(), effect)
            if self._tickets is not None:
                self._tickets.give(Ticket(self.adapter.ticket(), rows[0]))
        self._writing.stamp = None
        if kind == "delete" and rows[0] not in self._absent:
            self._absent.append(rows[0])
        elif kind == "create":
            self._absent.remove(rows[0])
        if self.adapter.queued() != queued:
            self.journal.note("Q", stamp)
            self._waiting.set()

    def _committing(self) -> None:
        stamp = getattr(self._writing, "stamp", None)
        if stamp is not None:
            self.journal.note("C", stamp, time.monotonic())

    def watch_replays(self) -> None:
        while True:
            self._waiting.wait()
            self._waiting.clear()  # what is queued from here on sets it again
            while not self.adapter.replayed():
                time.sleep(REPLAY_PAUSE)
            if not self._waiting.is_set():
                self.journal.note("P", time.monotonic())

    # --- the whole

    def run(self, begin: float, until: float) -> None:
        self._begin, self._until = begin, until
        time.sleep(max(0.0, begin - time.monotonic()))
        threads = [threading.Thread(target=self.read_on) for _ in range(self.plan.readers)]
        threads += [threading.Thread(target=run) for run in (self.write_on, self.audit_on)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("done", flush=True)

    def serve(self) -> None:
        print("ready", flush=True)
        threading.Thread(target=self.watch_replays, daemon=True).start()
        running: threading.Thread | None = None
        for line in iter(sys.stdin.readline, ""):
            match line.split():
                case ["go", begin, until]:
                    running = threading.Thread(target=self.run, args=(float(begin), float(until)))
                    running.start()
                case ["die", side]:
                    self.seams.armed = side
                case ["live"]:
                    self.seams.armed = ""
                case ["audit"]:
                    if running is not None:
                        running.join()
                    self.seams.calm = True
                    for window in range(self.plan.windows):
                        self.audit(window)
                    print("audited", flush=True)
        self.journal.close()


def main() -> None:
    random.seed(f"{os.environ[NUMBER]} {Plan.loads(os.environ[PLAN]).seed}")
    worker = Worker()
    worker.set_up()
    worker.serve()
    sys.stdout.flush()
    os._exit(0)  # a store that is down, or a cache's threads, must not keep it


if __name__ == "__main__":
    main()
