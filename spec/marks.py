"""Marks: a writer says what it is about to commit, so that its death leaves nothing stale.

One tag. Before COMMIT a writer puts itself into the tag's set of marks, with a deadline that the
present token gets as well; a token created while marks remain gets the nearest of their deadlines.
A writer that lives bumps after COMMIT and takes its mark back. The end of a lease removes the mark,
and the token that has its deadline.

A read that began after a writer's bump was acknowledged, or after the lease of one that died, must
contain that writer's commit.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION, put

# deadlines: writers with whose lease the token ends; leases: of each writer: none, running, ended.
State = namedtuple(
    "State",
    "db token fresh deadlines marks writers leases entry readers evictions epoch failovers replica",
)
Reader = namedtuple("Reader", "at reads must token epoch value")
IDLE = {"at": "idle", "must": 0, "token": None, "epoch": 0, "value": 0}
DONE = ("acknowledged", "rolled back", "dead before commit")


@dataclass(frozen=True)
class Marks:
    marked: bool = True  # broken if not: nothing is known of a writer that dies
    one_for_all: bool = False  # broken: the first writer to finish takes the marks of all
    mint_inherits: bool = True  # broken if not: a new token lives on past a dead writer's lease
    shortens_token: bool = True  # broken if not: the present token lives on past it
    rollback_unmarks: bool = True  # else the lease runs out: a miss too many, never a stale hit
    commits_late: bool = False  # broken: COMMIT may be sent when the lease is over
    mark_lost: bool = False  # broken: the store evicts marks as it does tokens
    bumps_again: bool = True  # broken if not: a COMMIT of unknown outcome is bumped once
    deaths: bool = True
    unknown: bool = False  # the outcome of COMMIT may be unknown: it may take effect later
    epochs: bool = True  # broken if not, where a failover may lose what was acknowledged
    evictions: int = 0
    failovers: int = 0
    writers: int = 2
    readers: int = 1
    reads: int = 2

    @property
    def initial(self):
        return State(
            db=0,
            token=None,
            fresh=1,
            deadlines=frozenset(),
            marks=frozenset(),
            writers=("idle",) * self.writers,
            leases=("none",) * self.writers,
            entry=None,
            readers=(Reader(reads=self.reads, **IDLE),) * self.readers,
            evictions=self.evictions,
            epoch=0,
            failovers=self.failovers,
            replica=None,
        )

    # --- the store

    def mark(self, state, w):
        if not self.marked:
            return state
        deadlines = state.deadlines
        if state.token is not None and self.shortens_token:
            deadlines |= {w}
        return state._replace(
            marks=state.marks | {w}, deadlines=deadlines, leases=put(state.leases, w, "running")
        )

    def unmark(self, state, w):
        marks = frozenset() if self.one_for_all else state.marks - {w}
        return state._replace(marks=marks)

    def bump(self, state):
        return state._replace(token=None, deadlines=frozenset())

    def mint(self, state):
        if state.token is not None:
            return state
        deadlines = state.marks if self.mint_inherits else frozenset()
        return state._replace(token=state.fresh, fresh=state.fresh + 1, deadlines=deadlines)

    def expire(self, state, w):
        if w in state.deadlines:
            state = state._replace(token=None, deadlines=frozenset())
        return state._replace(marks=state.marks - {w}, leases=put(state.leases, w, "ended"))

    # --- everybody's steps

    def steps(self, state):
        for w in range(self.writers):
            yield from self.write(state, w)
        if state.evictions:
            fewer = state._replace(evictions=state.evictions - 1)
            yield "the token is evicted", fewer._replace(token=None, deadlines=frozenset())
            if self.mark_lost:
                yield "the marks are evicted", fewer._replace(marks=frozenset())
        if state.failovers:
            copy = (state.token, state.deadlines, state.marks, state.entry)
            yield "the replica is up to date", state._replace(replica=copy)
            if state.replica is not None:
                token, deadlines, marks, entry = state.replica
                yield (
                    "the replica takes over",
                    state._replace(
                        token=token,
                        deadlines=deadlines,
                        marks=marks,
                        entry=entry,
                        epoch=state.epoch + 1,
                        failovers=state.failovers - 1,
                        replica=None,
                    ),
                )
        for r in range(self.readers):
            yield from self.read(state, r)

    def write(self, state, w):
        at, lease = state.writers[w], state.leases[w]

        def moved(to, base=state):
            return base._replace(writers=put(base.writers, w, to))

        def committed(base=state):
            return base._replace(db=base.db | 1 << w)

        if at == "idle":
            yield f"W{w} marks", moved("marked", self.mark(state, w))
        if at == "marked":
            if self.commits_late or lease != "ended":
                yield f"W{w} commits", moved("committed", committed())
                if self.unknown:
                    yield f"W{w} loses the connection at COMMIT", moved("unknown")
            gone = self.unmark(state, w) if self.rollback_unmarks else state
            yield f"W{w} rolls back", moved("rolled back", gone)
            if self.deaths:
                yield f"W{w} dies before COMMIT", moved("dead before commit")
        if at == "committed":
            yield (
                f"W{w} bumps, acknowledged",
                moved("acknowledged", self.bump(self.unmark(state, w))),
            )
            if self.deaths:
                yield f"W{w} dies after COMMIT", moved("dead")
        if at == "unknown":
            # It bumps at once and keeps its mark; the server may commit until the lease is over.
            bumped = self.bump(state if self.bumps_again else self.unmark(state, w))
            yield f"W{w} bumps, not knowing", moved("waiting", bumped)
            yield f"W{w} dies, not knowing", moved("waiting")
        if at == "waiting" and not state.db >> w & 1 and lease == "running":
            yield f"the COMMIT of W{w} takes effect", committed()
        ends = at in ("dead", "waiting", *DONE) or (self.commits_late and at == "marked")
        if lease == "running" and ends:
            yield f"the lease of W{w} ends", self.expire(state, w)

    def must(self, state):
        """What a read that begins now must contain."""
        must = 0
        for w, at in enumerate(state.writers):
            over = state.leases[w] == "ended" or not self.marked
            if at == "acknowledged" or (at in ("dead", "waiting") and over):
                must |= state.db & 1 << w
        return must

    def read(self, state, r):
        reader = state.readers[r]

        def moved(base=state, **change):
            return base._replace(readers=put(base.readers, r, reader._replace(**change)))

        def finished(base=state):
            return base._replace(
                readers=put(base.readers, r, Reader(reads=reader.reads - 1, **IDLE))
            )

        if reader.at == "idle" and reader.reads:
            yield f"R{r} begins", moved(at="look", must=self.must(state))
        elif reader.at == "look":
            entry = state.entry
            fresh = entry is not None and entry[1] == state.token and state.token is not None
            if fresh and (entry[2] == state.epoch or not self.epochs):
                stale = reader.must & ~entry[0]
                yield f"R{r} hits {entry[0]:b}", VIOLATION if stale else finished()
            else:
                yield f"R{r} misses", moved(at="take")
        elif reader.at == "take":
            minted = self.mint(state)
            yield (
                f"R{r} takes token {minted.token}",
                moved(minted, at="query", token=minted.token, epoch=state.epoch),
            )
        elif reader.at == "query":
            yield f"R{r} reads {state.db:b}", moved(at="store", value=state.db)
        elif reader.at == "store":
            stored = state._replace(entry=(reader.value, reader.token, reader.epoch))
            yield f"R{r} stores {reader.value:b}", finished(stored)


MODELS = [
    ("a mark for each writer, deadlines on tokens", Marks(readers=2, reads=1), True),
    ("the same, and the token is evicted twice", Marks(evictions=2), True),
    ("the same, three writers, three reads", Marks(writers=3, reads=3), True),
    ("a rollback leaves its mark to the lease", Marks(rollback_unmarks=False), True),
    ("the outcome of COMMIT may be unknown", Marks(unknown=True), True),
    ("a failover, entries carry the epoch", Marks(failovers=1, deaths=False, reads=3), True),
    ("a failover, no epochs", Marks(failovers=1, deaths=False, epochs=False, writers=1), False),
    # Two faults at once, which only the companion in the database stands.
    ("a failover loses the mark of a writer that then dies", Marks(failovers=1, writers=1), False),
    ("no marks", Marks(marked=False, writers=1), False),
    ("one mark for all writers", Marks(one_for_all=True), False),
    ("new tokens do not inherit deadlines", Marks(mint_inherits=False, writers=1), False),
    ("present tokens are not shortened", Marks(shortens_token=False, writers=1), False),
    ("COMMIT is sent after the lease", Marks(commits_late=True, writers=1), False),
    ("marks are evicted", Marks(mark_lost=True, evictions=1, writers=1), False),
    ("an unknown outcome is bumped once", Marks(unknown=True, bumps_again=False, writers=1), False),
]
