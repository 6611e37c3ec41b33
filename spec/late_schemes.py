"""Marks and schemes: a reader registers columns after a writer has marked what it knew, and the
writer then dies between COMMIT and bump.

One row, one writer that does not know these columns: it marks the table, and with it the
condition-bulk tag. The promise is that of `marks`: once the lease is over, a read contains the
commit.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION

# condition, bulk: (token, whether it ends with the lease); lease: none, running, ended.
State = namedtuple(
    "State", "db registered condition bulk fresh writer lease entry reader reads evictions"
)
IDLE = ("idle", 0, None, 0)


@dataclass(frozen=True)
class LateSchemes:
    compares: bool = True  # broken if not: the bulk token ends with the lease of no writer
    registering_looks: bool = True  # broken if not: who registers does not look for marks
    mint_inherits: bool = True  # broken if not: a new bulk token lives on past the lease
    registered: bool = False  # before the writer marks
    evictions: int = 1
    reads: int = 3

    @property
    def initial(self):
        return State(
            db=0,
            registered=self.registered,
            condition=None,
            bulk=(1, False),  # of entries by other columns, which the writer knows
            fresh=2,
            writer="idle",
            lease="none",
            entry=None,
            reader=IDLE,
            reads=self.reads,
            evictions=self.evictions,
        )

    def steps(self, state):
        if state.writer == "idle":
            marked = state._replace(writer="marked", lease="running")
            if self.compares and state.registered and state.bulk is not None:
                marked = marked._replace(bulk=(state.bulk[0], True))
            yield "W marks", marked
        if state.writer == "marked":
            yield "W commits and dies", state._replace(writer="dead", db=1)
        if state.writer == "dead" and state.lease == "running":
            kept = {
                name: None if held is not None and held[1] else held
                for name, held in (("condition", state.condition), ("bulk", state.bulk))
            }
            yield "the lease ends", state._replace(lease="ended", **kept)
        if state.evictions:
            yield "the bulk token is evicted", state._replace(bulk=None, evictions=0)
        yield from self.read(state)

    def take(self, state):
        """Register, then mint, in one script."""
        live, bulk = state.lease == "running", state.bulk
        if not state.registered and live and bulk is not None and self.registering_looks:
            bulk = (bulk[0], True)
        fresh = state.fresh
        if bulk is None:
            bulk, fresh = (fresh, live and self.mint_inherits), fresh + 1
        # The writer knows no condition, and has marked none.
        condition = state.condition
        if condition is None:
            condition, fresh = (fresh, False), fresh + 1
        return state._replace(registered=True, condition=condition, bulk=bulk, fresh=fresh)

    def read(self, state):
        at, must, tokens, value = state.reader
        if at == "idle" and state.reads:
            must = state.db if state.lease == "ended" else 0
            yield "R begins", state._replace(reader=("look", must, None, 0), reads=state.reads - 1)
        if at == "look":
            held = tuple(each and each[0] for each in (state.condition, state.bulk))
            if state.entry is not None and None not in held and state.entry[1] == held:
                stale = state.entry[0] < must
                yield (
                    f"R hits {state.entry[0]}",
                    VIOLATION if stale else state._replace(reader=IDLE),
                )
            else:
                taken = self.take(state)
                vector = (taken.condition[0], taken.bulk[0])
                yield "R registers and takes tokens", taken._replace(reader=("query", 0, vector, 0))
        if at == "query":
            yield f"R reads {state.db}", state._replace(reader=("store", 0, tokens, state.db))
        if at == "store":
            yield "R stores", state._replace(entry=(value, tokens), reader=IDLE)


MODELS = [
    ("who registers looks for marks", LateSchemes(), True),
    ("registered before", LateSchemes(registered=True), True),
    ("who registers does not look for marks", LateSchemes(registering_looks=False), False),
    ("a new bulk token does not inherit", LateSchemes(mint_inherits=False), False),
    ("the writer does not compare", LateSchemes(registered=True, compares=False), False),
]
