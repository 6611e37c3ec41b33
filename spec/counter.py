"""The embedded store's change counter: L1 trusts its copies of tokens while the counter stands.

One token. A writer makes the counter odd, changes the token in a transaction of the store, and
makes the counter even again before it returns; one that dies on the way leaves it odd, and the next
to write mends it. A reader notes the counter before it reads the token, and keeps that as its
slot's stamp. A hit is a look at the counter alone, or at the slot after it.

Promise: a hit is of no older token than the last acknowledged bump left, nor than anybody had read,
when it began.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION, put

# token: its version; known: the newest that a writer has returned from, or somebody has read;
# slots: of each reader (token, stamp); writers: (step, what they changed it to); readers: (step,
# must, noted counter, token read).
State = namedtuple("State", "token counter known slots writers readers reads deaths gate")
IDLE = ("idle", 0, None, None)


@dataclass(frozen=True)
class Counter:
    odd_first: bool = True  # broken if not: moved only once, after the change
    even_before_return: bool = True  # broken if not: moved once, before the change
    noted_first: bool = True  # broken if not: the stamp is read after the token
    odd_is_no_stamp: bool = True  # broken if not: a counter under change is trusted
    mends: bool = True  # a dead writer's odd counter is made even before it is made odd again
    writers: int = 2
    readers: int = 2
    reads: int = 4
    deaths: int = 1

    @property
    def initial(self):
        return State(
            token=0,
            counter=0,
            known=0,
            slots=(None,) * self.readers,
            writers=(("idle", 0),) * self.writers,
            readers=(IDLE,) * self.readers,
            reads=self.reads,
            deaths=self.deaths,
            gate=None,
        )

    def stamp(self, counter):
        """The counter as a reader takes it; None: not to be trusted."""
        return None if counter % 2 and self.odd_is_no_stamp else counter

    def steps(self, state):
        for w in range(self.writers):
            yield from self.write(state, w)
        for r in range(self.readers):
            yield from self.read(state, r)

    def write(self, state, w):
        at, made = state.writers[w]

        def moved(to, **change):
            return state._replace(writers=put(state.writers, w, to), **change)

        if at == "idle" and state.gate is None:
            counter = state.counter
            if counter % 2 and self.mends:
                counter += 1  # somebody died inside
            counter += self.odd_first
            yield f"W{w} takes the gate", moved(("inside", 0), counter=counter, gate=w)
        if at == "inside":
            yield (
                f"W{w} changes the token",
                moved(("changed", state.token + 1), token=state.token + 1),
            )
        if at == "changed":
            counter = state.counter + self.even_before_return
            yield (
                f"W{w} returns",
                moved(
                    ("done", made),
                    counter=counter,
                    gate=None,
                    known=max(state.known, made),
                ),
            )
        if at in ("inside", "changed") and state.deaths:
            yield f"W{w} dies", moved(("dead", 0), gate=None, deaths=state.deaths - 1)

    def read(self, state, r):
        at, must, noted, token = state.readers[r]
        own = state.slots[r]

        def moved(*reader, **change):
            return state._replace(readers=put(state.readers, r, reader), **change)

        def finished(seen, stamp):
            slots = put(state.slots, r, None if stamp is None else (seen, stamp))
            return moved(*IDLE, slots=slots, known=max(state.known, seen))

        if at == "idle" and state.reads:
            yield f"R{r} begins", moved("look", state.known, None, None, reads=state.reads - 1)
        if at == "look":
            stamp = self.stamp(state.counter)
            if own is not None and stamp is not None and own[1] == stamp:
                yield f"R{r} hits {own[0]}", VIOLATION if own[0] < must else moved(*IDLE)
            elif self.noted_first:
                yield f"R{r} notes the counter", moved("fetch", must, stamp, None)
            else:
                yield f"R{r} reads token {state.token}", moved("stamp", must, None, state.token)
        if at == "fetch":
            yield f"R{r} reads token {state.token}", finished(state.token, noted)
        if at == "stamp":
            yield f"R{r} notes the counter", finished(token, self.stamp(state.counter))


MODELS = [
    ("odd while it changes, noted before the token", Counter(), True),
    ("two writers die inside", Counter(deaths=2, reads=3), True),
    ("moved before the change only", Counter(even_before_return=False, mends=False), False),
    ("moved after the change only", Counter(odd_first=False), False),
    ("the stamp is noted after the token", Counter(noted_first=False), False),
    ("an odd counter is trusted", Counter(odd_is_no_stamp=False), False),
]
