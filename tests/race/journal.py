"""What a worker writes down, line by line, so that nothing it has acknowledged dies with it.

| line | meaning |
| --- | --- |
| `W stamp kind began rows` | begins to write: rows are primary keys with commas |
| `C stamp time` | about to send COMMIT, or a statement that commits by itself |
| `A stamp time effect` | the write has returned; 0: there was nothing to change |
| `X stamp time error` | the write has raised |
| `Q stamp` | what it changed could not be told to the store, and is to be replayed |
| `P time` | all such has been replayed |
| `R began ended shape key value computed since` | has read, as `history.Read` has it |
| `E time shape error` | a read has raised |
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

FLUSH = 64  # reads that may die with a worker: their loss proves nothing wrong


class Journal:
    """The file of one worker; all methods are safe in any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1 << 20)
        self._lock = threading.Lock()
        self._waiting = 0

    def read(
        self,
        began: float,
        ended: float,
        shape: str,
        key: int,
        value: str,
        *,
        computed: bool,
        since: float | None,
    ) -> None:
        block = "-" if since is None else f"{since:.6f}"
        with self._lock:
            self._file.write(
                f"R {began:.6f} {ended:.6f} {shape} {key} {value} {computed:d} {block}\n"
            )
            self._waiting += 1
            if self._waiting >= FLUSH:
                self._flush()

    def note(self, *words: Any) -> None:
        """Write a line down at once."""
        text = " ".join(f"{word:.6f}" if isinstance(word, float) else str(word) for word in words)
        with self._lock:
            self._file.write(text.replace("\n", " ") + "\n")
            self._flush()

    def _flush(self) -> None:
        self._file.flush()
        self._waiting = 0

    def close(self) -> None:
        with self._lock:
            self._file.close()


def value_of(found: dict[int, int | None] | int | None) -> str:
    """Render what a read gave: a stamp, the sum, or the stamps of rows."""
    if isinstance(found, dict):
        return ",".join(f"{pk}:{_one(stamp)}" for pk, stamp in sorted(found.items())) or "empty"
    return _one(found)


def _one(stamp: int | None) -> str:
    return "-" if stamp is None else str(stamp)


def read_value(text: str) -> dict[int, int | None] | int | None:
    """Take apart what `value_of` made."""
    if text == "empty":
        return {}
    if ":" in text:
        pairs = (pair.split(":") for pair in text.split(","))
        return {int(pk): _stamp(stamp) for pk, stamp in pairs}
    return _stamp(text)


def _stamp(text: str) -> int | None:
    return None if text == "-" else int(text)
