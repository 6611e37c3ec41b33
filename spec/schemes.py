"""Condition tags: readers register the columns they filter by, writers must bump the conditions of
a row's old and new image, but can only build them for columns they know.

One row. The set at first holds another reader's columns; ours come to it as (version, True). The
entry carries (condition token, bulk token). The writer's script compares the version it knew when
it took its images with the present one.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION, put

State = namedtuple("State", "db scheme condition bulk fresh known writers entry reader evictions")
Reader = namedtuple("Reader", "at reads must tokens value")
IDLE = Reader("idle", 0, 0, None, None)


@dataclass(frozen=True)
class Schemes:
    register_first: bool = True  # broken if not: tokens are taken before the registration
    compare_version: bool = True  # broken if not: the writer trusts what it knew
    creation_drops_bulk: bool = True
    unknown_drops_bulk: bool = (
        True  # broken if not: a writer who knows no set and finds none drops nothing
    )
    evictions: int = 2
    writers: int = 2
    reads: int = 3

    @property
    def initial(self):
        return State(
            0,
            (1, False),
            None,
            None,
            2,
            None,
            ("idle",) * self.writers,
            None,
            IDLE._replace(reads=self.reads),
            self.evictions,
        )

    def register(self, state):
        if state.scheme is not None and state.scheme[1]:
            return state
        created = state.scheme is None
        bulk = None if created and self.creation_drops_bulk else state.bulk
        return state._replace(scheme=(state.fresh, True), fresh=state.fresh + 1, bulk=bulk)

    def mint(self, state):
        if state.condition is None:
            state = state._replace(condition=state.fresh, fresh=state.fresh + 1)
        if state.bulk is None:
            state = state._replace(bulk=state.fresh, fresh=state.fresh + 1)
        return state

    def steps(self, state):
        for w, at in enumerate(state.writers):

            def moved(to, base=state, w=w):
                return base._replace(writers=put(base.writers, w, to))

            if at == "idle":
                # The images are taken with what the process knows now; all writers share one
                # process.
                yield f"W{w} writes, knowing {state.known}", moved(("written", state.known))
            elif at[0] == "written":
                yield (
                    f"W{w} commits",
                    moved(("committed", at[1]), state._replace(db=state.db | 1 << w)),
                )
            elif at[0] == "committed":
                known = at[1]
                bumped = state._replace(known=state.scheme)
                if known is not None and known[1]:
                    bumped = bumped._replace(condition=None)
                differs = known != state.scheme or (self.unknown_drops_bulk and known is None)
                if self.compare_version and differs:
                    bumped = bumped._replace(bulk=None)
                yield f"W{w} bumps, acknowledged", moved(("acknowledged", None), bumped)
        if state.evictions:
            fewer = state._replace(evictions=state.evictions - 1)
            yield "the scheme set is evicted", fewer._replace(scheme=None)
            yield "the bulk token is evicted", fewer._replace(bulk=None)
        yield from self.read(state)

    def read(self, state):
        reader = state.reader

        def moved(base=state, **change):
            return base._replace(reader=reader._replace(**change))

        idle = IDLE._replace(reads=reader.reads - 1)
        if reader.at == "idle" and reader.reads:
            must = sum(1 << w for w, at in enumerate(state.writers) if at[0] == "acknowledged")
            yield "R begins", moved(at="look", must=must)
        elif reader.at == "look":
            if state.entry and state.entry[1] == (state.condition, state.bulk):
                stale = reader.must & ~state.entry[0]
                yield (
                    f"R hits {state.entry[0]:b}",
                    VIOLATION if stale else state._replace(reader=idle),
                )
            else:
                yield "R misses", moved(at="take")
        elif reader.at == "take":
            taken = self.mint(self.register(state) if self.register_first else state)
            yield (
                "R registers and takes tokens",
                moved(taken, at="query", tokens=(taken.condition, taken.bulk)),
            )
        elif reader.at == "query":
            yield f"R reads {state.db:b}", moved(at="store", value=state.db)
        elif reader.at == "store":
            late = state if self.register_first else self.register(state)
            yield "R stores", late._replace(entry=(reader.value, reader.tokens), reader=idle)


MODELS = [
    ("registered first, versions compared", Schemes(), True),
    # Not needed while every writer that finds no set, or another one, drops the bulk tag; kept as a
    # second guard.
    ("creating a missing set leaves the bulk tag", Schemes(creation_drops_bulk=False), True),
    ("registered after the query", Schemes(register_first=False, creation_drops_bulk=False), False),
    ("the writer trusts what it knew", Schemes(compare_version=False), False),
    (
        "a writer who knows no set and finds none drops nothing",
        Schemes(unknown_drops_bulk=False),
        False,
    ),
]
