"""Runs a race: starts the workers, kills them, breaks the store, lets all come to rest, judges."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pickle
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.race import worker as names
from tests.race.checker import Checker, Verdict
from tests.race.commits import SLOT, Commit, Log
from tests.race.faults import HEALTHY, LONG, Faults, LateMessages
from tests.race.history import FIRST_STAMP, Fault, assemble, reads
from tests.race.plan import Plan, first_place
from tests.servers import PostgresServer, RedisServer
from tests.slow_proxy import SlowProxy

ROOT = Path(__file__).parents[2]
RAN = "ran.pickle"  # in the folder of a run
TICK = 0.01
KILL_PAUSE = (1.0, 3.0)  # seconds between kills, while the store is healthy
RECOVERY = 1.0  # seconds after a fault in which no worker is killed: what it queued is told
STARTING = 1  # successors that may be starting when another worker is killed: the rest race
LAST = 0.15  # seconds of a window in which half of the kills come: what is written is the last
PATIENCE = 300.0  # seconds for an answer of a worker, whatever the machine does besides
ARMED = 1.0  # seconds that a worker told to die at its next COMMIT has for it


class LoggedPostgres(PostgresServer):
    """PostgreSQL that tells what was committed."""

    def command_line(self) -> list[str]:
        return [*super().command_line(), "--wal_level=logical"]


class Process:
    """A worker.

    Args:
        number: Its own.
        index: Its place, which it takes over from the one that died there.
    """

    def __init__(self, number: int, index: int, journal: Path, environment: dict[str, str]) -> None:
        self.number = number
        self.index = index
        self.journal = journal
        variables = {
            names.NUMBER: str(number),
            names.INDEX: str(index),
            names.JOURNAL: str(journal),
        }
        self._errors = journal.with_suffix(".err").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.race.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **environment, **variables},
            cwd=ROOT,
        )
        self._heard = b""
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        if self.dead:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            self._process.stdin.flush()

    @property
    def killed(self) -> bool:
        return self._process.poll() == -signal.SIGKILL

    @property
    def errors(self) -> str:
        """The end of what it wrote to its standard error."""
        return self.journal.with_suffix(".err").read_text()[-4000:]

    @property
    def ready(self) -> bool:
        """Whether it reads and writes, or is about to."""
        assert self._process.stdout is not None
        if not self._ready:
            self._ready = bool(select.select([self._process.stdout], [], [], 0)[0])
        return self._ready

    def hear(self, word: str) -> None:
        """Wait until it has said a word.

        Raises:
            RuntimeError: It died, or said nothing; with what it wrote to its standard error.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while word.encode() not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], 0.2)
            data = os.read(self._process.stdout.fileno(), 4096) if ready else b""
            self._heard += data
            self._ready = True
            if (ready and not data) or time.monotonic() > deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
                raise RuntimeError(f"worker {self.number} did not say {word!r}:\n{self.errors}")

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        if not self.dead:
            self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            assert file is not None
            with contextlib.suppress(OSError):
                file.close()


@dataclasses.dataclass(frozen=True)
class Ran:
    """What is known of a run besides the journals, whose names are given by process."""

    plan: Plan
    journals: dict[int, str]
    commits: list[Commit]
    faults: list[Fault]
    deaths: dict[int, float]
    epoch: float


def judge(folder: Path) -> Verdict:
    """Judge a run by what it left in a folder, once it is over or at any time later."""
    ran: Ran = pickle.loads((folder / RAN).read_bytes())
    journals = {number: folder / name for number, name in ran.journals.items()}
    history = assemble(
        ran.plan,
        journals,
        ran.commits,
        faults=ran.faults,
        deaths=ran.deaths,
        epoch=ran.epoch,
    )
    checker = Checker(history)
    for read in reads(journals):
        checker.check(read)
    return checker.verdict()


class Race:
    """One run on servers that are there.

    Args:
        line: On which the workers reach Redis; None: directly.
    """

    def __init__(
        self,
        plan: Plan,
        postgres: PostgresServer,
        redis: RedisServer | None,
        folder: Path,
        line: SlowProxy | None = None,
    ) -> None:
        self.plan = plan
        self.line = line
        self.postgres = postgres
        self.redis = redis
        self.folder = folder
        self.workers: list[Process] = []
        self.journals: dict[int, Path] = {}
        self.deaths: dict[int, float] = {}
        store = folder / "store"
        store.mkdir(mode=0o700)
        self.environment = {
            names.PLAN: plan.dumps(),
            names.DATABASE: f"127.0.0.1,{postgres.port},postgres",
            names.REDIS: "" if redis is None else redis.url if line is None else line.url,
            names.FOLDER: str(store),
        }
        self.faults = Faults(redis, store, lambda: [w.pid for w in self.workers if not w.dead])
        self._number = 0

    def run(self) -> Verdict:
        random.seed(self.plan.seed)
        with self._database() as log:
            try:
                return self._run(log)
            finally:
                for worker in self.workers:
                    worker.close()

    @contextlib.contextmanager
    def _database(self) -> Iterator[Log]:
        place = f"host=127.0.0.1 port={self.postgres.port} user=postgres dbname=postgres"
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE race_item (id bigint PRIMARY KEY, place integer NOT NULL,"
                " version bigint NOT NULL, stamp bigint NOT NULL)"
            )
            connection.execute("CREATE INDEX ON race_item (place)")
            connection.execute("ALTER TABLE race_item REPLICA IDENTITY FULL")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO race_item VALUES (%s, %s, 1, %s)",
                    [(pk, first_place(pk), FIRST_STAMP) for pk in range(1, self.plan.rows + 1)],
                )
            try:
                yield Log(connection)
            finally:
                for worker in self.workers:
                    worker.close()
                connection.execute(f"SELECT pg_drop_replication_slot('{SLOT}')")
                connection.execute("DROP TABLE race_item")

    def _start(self, index: int) -> Process:
        self._number += 1
        journal = self.folder / f"{self._number}.journal"
        self.journals[self._number] = journal
        return Process(self._number, index, journal, self.environment)

    def _run(self, log: Log) -> Verdict:
        self.workers = [self._start(index) for index in range(self.plan.processes)]
        for worker in self.workers:
            worker.hear("ready")
        begin = time.monotonic() + 0.2
        until = begin + self.plan.seconds
        for worker in self.workers:
            worker.tell("go", begin, until)
        with contextlib.ExitStack() as stack:
            if self.line is not None:
                stack.enter_context(LateMessages(self.line, self.plan.pace))
            self._disturb(log, begin, until)
        for worker in list(self.workers):
            self._end(worker)
        self._rest()
        for worker in self.workers:
            worker.tell("audit")
        for worker in self.workers:
            worker.hear("audited")
        ran = Ran(
            self.plan,
            {number: path.name for number, path in self.journals.items()},
            log.commits(),
            self.faults.done,
            self.deaths,
            epoch=time.time() - time.monotonic(),
        )
        (self.folder / RAN).write_bytes(pickle.dumps(ran))
        return judge(self.folder)

    def _end(self, worker: Process) -> None:
        """Wait until a worker is done, or dead: told to die, it may do so at its last write."""
        try:
            worker.hear("done")
        except RuntimeError:
            if not worker.killed:
                raise
            self._note_death(worker)
            self.workers.remove(worker)

    def _rest(self) -> None:
        """Wait until all have to know of everything."""
        now = time.monotonic()
        rest = self.plan.bound + self.plan.settle + 0.1
        if self.plan.faults:
            rest += RECOVERY
        if self.deaths:
            rest = max(rest, max(self.deaths.values()) + self.plan.lease + rest - now)
        time.sleep(rest)

    # --- what goes wrong

    def _disturb(self, log: Log, begin: float, until: float) -> None:
        """Kill and break until the end; no fault is left when this returns."""
        mend: Callable[[], None] | None = None
        kind, broken, ends = "", 0.0, 0.0
        next_fault = begin + self._pace(HEALTHY) if self.plan.faults else until + 1
        next_kill = self._next_kill(begin, begin) if self.plan.kills else until + 1
        fetched = begin
        armed: tuple[Process, float] | None = None
        while (now := time.monotonic()) < until or mend is not None:
            self._bury(until)
            if armed is not None and (armed[0].dead or now > armed[1]):
                armed[0].tell("live")
                armed = None
            if mend is not None:
                if now >= ends or now >= until:
                    mend()
                    mend = None
                    now = time.monotonic()
                    self.faults.done.append(Fault(kind, broken, now))
                    next_fault = now + self._pace(HEALTHY)
                    next_kill = max(next_kill, now + RECOVERY)
            elif now >= next_fault and armed is None and until - now > self.plan.pace:
                broken = now
                kind, mend = self.faults.begin()
                ends = now + self._pace(LONG)
            elif now >= next_kill and next_fault - now > ARMED and armed is None:
                armed = self._kill(now)
                next_kill = self._next_kill(now, begin)
            if now - fetched > 2:
                log.fetch()
                fetched = now
            time.sleep(TICK)
        self._bury(until)
        if armed is not None:
            armed[0].tell("live")

    def _pace(self, span: tuple[float, float]) -> float:
        return random.uniform(*span) * self.plan.pace

    def _next_kill(self, now: float, begin: float) -> float:
        when = now + random.uniform(*KILL_PAUSE)
        if random.random() < 0.5:
            return when
        shift = self.plan.shift
        return begin + math.ceil((when - begin) / shift) * shift - LAST

    def _kill(self, now: float) -> tuple[Process, float] | None:
        ready = [worker for worker in self.workers if worker.ready]
        if len(ready) < max(1, len(self.workers) - STARTING):
            return None
        victim = random.choice(ready)
        chance = random.random()
        if chance < 0.4:
            victim.kill()
            return None
        victim.tell("die", "after" if chance < 0.85 else "before")
        return victim, now + ARMED

    def _note_death(self, worker: Process) -> None:
        self.deaths[worker.number] = time.monotonic()
        worker.close()

    def _bury(self, until: float) -> None:
        for place, worker in enumerate(self.workers):
            if not worker.dead:
                continue
            if not worker.killed:
                raise RuntimeError(f"worker {worker.number} ended by itself:\n{worker.errors}")
            self._note_death(worker)
            self.workers[place] = successor = self._start(worker.index)
            successor.tell("go", time.monotonic(), until)


class Servers:
    """The servers of several races; a context manager."""

    def __enter__(self) -> Servers:
        self._stack = contextlib.ExitStack()
        try:
            self.postgres = self._stack.enter_context(LoggedPostgres())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def race(self, plan: Plan, keep: Path | None = None) -> Verdict:
        """Run a race with a store of its own.

        Args:
            keep: Folder for what `judge` needs; None: it is deleted.
        """
        with contextlib.ExitStack() as stack:
            redis, line = None, None
            if plan.store == "redis":
                redis = stack.enter_context(RedisServer())
                if plan.late_messages:
                    line = stack.enter_context(SlowProxy(redis.port))
            folder = Path(tempfile.mkdtemp(prefix="smartcache-race-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if redis is not None:
                stack.callback(_wake, redis)
            race = Race(plan, self.postgres, redis, folder, line)
            try:
                return race.run()
            finally:
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    for journal in folder.glob("*.*"):
                        shutil.copy(journal, keep)


def _wake(redis: RedisServer) -> None:
    if redis.running:
        redis.resume()
