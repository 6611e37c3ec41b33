"""A relay as a process of its own in the test's shop: `manage.py smartcache relay`.

SMARTCACHE_TEST_DIES names the step of its first round at which it kills itself:

- `read`: rows are read, and nothing is bumped
- `bumped`: the store has acknowledged, and nothing is deleted
- `deleted`: deleted, and not committed

SMARTCACHE_TEST_BREAKS is how it breaks the protocol:

- `deletes_first`: deletes and commits, then bumps
- `forgets`: deletes although the store has not acknowledged
- `cursor`: reads from the highest id that it has seen on, and deletes nothing
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from tests.orm import worker  # sets Django up, which what follows needs

# isort: split
from django.core.management import call_command

from djsmartcache.orm import outbox, relay, transaction

_bump = transaction.bump
_run = outbox.run
_delete = relay.Relay._delete


def kill(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def bump_and_kill(*args: Any) -> Any:
    _bump(*args)
    kill()


def delete_and_kill(self: relay.Relay, ids: Sequence[int]) -> None:
    _delete(self, ids)
    kill()


def bump_regardless(*args: Any) -> bool:
    _bump(*args)
    return True


def delete_first(self: relay.Relay) -> int:
    """A round that lets the rows go before the store is told."""
    found = _run(self._connection, f"DELETE FROM {self._outbox} RETURNING *, keys::text")
    rows = [[row[0], row[2], row[3], row[4], row[6]] for row in found]
    if rows:
        transaction.bump(self.tags_of(rows), {})
    return len(rows)


_highest = 0


def follow_ids(self: relay.Relay) -> int:
    """A round with a cursor."""
    global _highest
    found = _run(
        self._connection,
        f"SELECT *, keys::text FROM {self._outbox} WHERE id > %s ORDER BY id",
        [_highest],
    )
    rows = [[row[0], row[2], row[3], row[4], row[6]] for row in found]
    if rows:
        _highest = rows[-1][0]
        transaction.bump(self.tags_of(rows), {})
    return len(rows)


DEATHS: dict[str, tuple[Any, str, Any]] = {
    "read": (transaction, "bump", kill),
    "bumped": (transaction, "bump", bump_and_kill),
    "deleted": (relay.Relay, "_delete", delete_and_kill),
}
BREAKS: dict[str, tuple[Any, str, Any]] = {
    "deletes_first": (relay.Relay, "round", delete_first),
    "forgets": (transaction, "bump", bump_regardless),
    "cursor": (relay.Relay, "round", follow_ids),
}


def main() -> None:
    for table, name in ((BREAKS, "BREAKS"), (DEATHS, "DIES")):
        wanted = os.environ.get(f"SMARTCACHE_TEST_{name}")
        if wanted:
            where, attribute, replacement = table[wanted]
            setattr(where, attribute, replacement)
    call_command("smartcache", "relay")
    worker.say("over")


if __name__ == "__main__":
    main()
