"""Tokens of one tag: readers take them before they read the database, writers drop them after
COMMIT.

The database is a bit mask of committed writers; a value is the mask it was read from. A read that
began after a writer's bump was acknowledged must contain that writer.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION, put

State = namedtuple("State", "db token fresh writers entry readers evictions")
Reader = namedtuple("Reader", "at reads must token value snapshot")
IDLE = {"at": "idle", "must": 0, "token": None, "value": None, "snapshot": None}


@dataclass(frozen=True)
class Tokens:
    take_after_read: bool = False  # broken: the token is taken after the query
    counter: bool = False  # broken: a lost token starts again at 0
    bump_before_commit: bool = False  # broken
    old_snapshots_store: bool = False  # broken: REPEATABLE READ transactions store
    repeatable_read: bool = False
    evictions: int = 0
    writers: int = 2
    readers: int = 2
    reads: int = 2

    @property
    def initial(self):
        reader = Reader(reads=self.reads, **IDLE)
        return State(
            0, None, 1, ("idle",) * self.writers, None, (reader,) * self.readers, self.evictions
        )

    def mint(self, state):
        if state.token is not None:
            return state
        if self.counter:
            return state._replace(token=0)
        return state._replace(token=state.fresh, fresh=state.fresh + 1)

    def bump(self, state):
        if self.counter:
            return state._replace(token=(state.token or 0) + 1)
        return state._replace(token=None)

    def steps(self, state):
        for w, at in enumerate(state.writers):

            def moved(to, base=state, w=w):
                return base._replace(writers=put(base.writers, w, to))

            if at == "idle" and self.bump_before_commit:
                yield f"W{w} bumps", moved("bumped", self.bump(state))
            if at == ("bumped" if self.bump_before_commit else "idle"):
                done = "acknowledged" if self.bump_before_commit else "committed"
                yield f"W{w} commits", moved(done, state._replace(db=state.db | 1 << w))
            if at == "committed":
                yield f"W{w} bumps, acknowledged", moved("acknowledged", self.bump(state))
        if state.evictions:
            yield "the token is evicted", state._replace(token=None, evictions=state.evictions - 1)
        for r in range(self.readers):
            yield from self.read(state, r)

    def read(self, state, r):
        reader = state.readers[r]

        def moved(base=state, **change):
            return base._replace(readers=put(base.readers, r, reader._replace(**change)))

        def finished(base=state):
            return base._replace(
                readers=put(base.readers, r, Reader(reads=reader.reads - 1, **IDLE))
            )

        if reader.at == "idle" and reader.reads:
            must = sum(1 << w for w, at in enumerate(state.writers) if at == "acknowledged")
            snapshot = state.db if self.repeatable_read else None
            yield f"R{r} begins", moved(at="look", must=must, snapshot=snapshot)
        elif reader.at == "look":
            present = 0 if self.counter and state.token is None else state.token
            if state.entry and present is not None and state.entry[1] == present:
                stale = reader.must & ~state.entry[0]
                yield f"R{r} hits {state.entry[0]:b}", VIOLATION if stale else finished()
            else:
                yield f"R{r} misses", moved(at="first")
        elif reader.at in ("first", "second"):
            following = "second" if reader.at == "first" else "store"
            takes_token = (reader.at == "first") != self.take_after_read
            if takes_token:
                minted = self.mint(state)
                yield (
                    f"R{r} takes token {minted.token}",
                    moved(minted, at=following, token=minted.token),
                )
            else:
                value = state.db if reader.snapshot is None else reader.snapshot
                yield f"R{r} reads {value:b}", moved(at=following, value=value)
        elif reader.at == "store":
            if self.repeatable_read and not self.old_snapshots_store:
                yield f"R{r} does not store", finished()
            else:
                stored = state._replace(entry=(reader.value, reader.token))
                yield f"R{r} stores {reader.value:b}", finished(stored)


MODELS = [
    ("token before the query, bump after COMMIT", Tokens(), True),
    ("the same, and the token is evicted twice", Tokens(evictions=2), True),
    ("token after the query", Tokens(take_after_read=True, writers=1), False),
    ("bump before COMMIT only", Tokens(bump_before_commit=True, writers=1), False),
    ("counters in place of random tokens, evicted once", Tokens(counter=True, evictions=1), False),
    (
        "REPEATABLE READ transactions store",
        Tokens(repeatable_read=True, old_snapshots_store=True, writers=1),
        False,
    ),
    ("REPEATABLE READ transactions never store", Tokens(repeatable_read=True), True),
]
