"""What is done to the store, and to workers: each for a bounded time, one after the other."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.race.history import Fault
from tests.servers import RedisServer
from tests.slow_proxy import SlowProxy

HEALTHY = (3.0, 6.0)  # seconds between two faults
HELD = 2.8  # seconds for which messages are held back at most: few for longer than the bound
PROMPT = 0.3  # seconds between, at most
LONG = (0.5, 3.0)  # seconds of a fault: shorter and longer than the bound


class Faults:
    """The faults of one run, each a function that breaks something and gives how to mend it.

    Args:
        redis: The server, None for the embedded store.
        folder: Of the embedded store.
        workers: Gives the ids of the processes that run.
    """

    def __init__(
        self, redis: RedisServer | None, folder: Path, workers: Callable[[], list[int]]
    ) -> None:
        self._redis = redis
        self._folder = folder
        self._workers = workers
        self._kinds: list[Callable[[], Callable[[], None]]] = [self.freeze]
        if redis is not None:
            self._kinds += [self.pause, self.empty, self.cut, self.cut_listeners, self.stop]
        else:
            self._kinds += [self.remove]
        self._next = self._order()
        self.done: list[Fault] = []

    def _order(self) -> Iterator[Callable[[], Callable[[], None]]]:
        while True:
            yield from random.sample(self._kinds, len(self._kinds))

    def begin(self) -> tuple[str, Callable[[], None]]:
        """Break the next thing; give its name, and how to mend it."""
        kind = next(self._next)
        return kind.__name__, kind()

    def freeze(self) -> Callable[[], None]:
        """Stop a worker: it goes on as though no time had passed."""
        workers = self._workers()
        if not workers:
            return lambda: None
        worker = random.choice(workers)
        os.kill(worker, signal.SIGSTOP)

        def thaw() -> None:
            if worker in self._workers():
                os.kill(worker, signal.SIGCONT)

        return thaw

    def pause(self) -> Callable[[], None]:
        assert self._redis is not None
        self._redis.pause()
        return self._redis.resume

    def empty(self) -> Callable[[], None]:
        """Restart the server, which forgets everything."""
        assert self._redis is not None
        self._redis.restart(signal.SIGKILL)
        return lambda: None

    def stop(self) -> Callable[[], None]:
        assert self._redis is not None
        self._redis.stop(signal.SIGKILL)
        return self._redis.start

    def cut(self) -> Callable[[], None]:
        return self._cut("normal")

    def cut_listeners(self) -> Callable[[], None]:
        return self._cut("pubsub")

    def _cut(self, kind: str) -> Callable[[], None]:
        assert self._redis is not None
        with self._redis.client() as client:
            for _ in range(5):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                time.sleep(0.02)
        return lambda: None

    def remove(self) -> Callable[[], None]:
        """Delete the folder of the embedded store."""
        shutil.rmtree(self._folder, ignore_errors=True)
        return lambda: None


class LateMessages:
    """Holds back what a server says to listeners, again and again; a context manager.

    Args:
        line: On which the workers reach the server.
        pace: What the seconds are multiplied by.
    """

    def __init__(self, line: SlowProxy, pace: float) -> None:
        self._line = line
        self._pace = pace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(random.random() * PROMPT * self._pace):
            self._line.silence(listening=True, asking=False)
            self._over.wait(random.random() ** 3 * HELD * self._pace)  # most are short
            self._line.silence(listening=False, asking=False)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
