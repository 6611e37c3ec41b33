"""Standing marks: a process that writes to a table again and again marks it once, and renews that.

One tag. A process places its mark before its first COMMIT; later ones rely on it, as long as its
own clock says that enough of the lease is left. A renewal gives the mark a later deadline, and the
present token the nearest deadline of all marks. A process that writes no more takes its mark back.
What fails on the way (a COMMIT of unknown outcome) forsakes the mark: it is not renewed any more,
and the next write places another one, of another name.

A read that began after a bump was acknowledged, or after the lease of a mark under which a dead
process wrote, must contain what was written.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION, put

# marks: names whose lease runs; deadlines: those with which the token ends, all that it ends with.
State = namedtuple("State", "db token fresh deadlines marks processes entry readers")
# mark: the name that it relies on; under: the name of a write that nobody will tell of; back: the
# name that a command under way takes back.
Process = namedtuple("Process", "at mark made written acknowledged under back")
Reader = namedtuple("Reader", "at reads must token value")
IDLE = {"at": "idle", "must": 0, "token": None, "value": 0}


@dataclass(frozen=True)
class Standing:
    checks_clock: bool = True  # broken if not: COMMIT may be sent when the lease is over
    renewal_sees_others: bool = True  # broken if not: a renewal prolongs past a dead one's deadline
    renewal_prolongs: bool = True  # else entries end with the first lease: misses, never stale
    forsakes: bool = True  # broken if not: a COMMIT of unknown outcome may be late for ever
    renames: bool = True  # broken if not: taking back what was placed again takes away the new one
    unknown: bool = False
    late_take_back: bool = False  # the command that takes back may arrive late
    processes: int = 2
    writes: int = 2
    marks: int = 2  # that a process places at most
    reads: int = 2

    @property
    def initial(self):
        process = Process("idle", None, 0, 0, 0, None, None)
        return State(
            db=0,
            token=None,
            fresh=1,
            deadlines=frozenset(),
            marks=frozenset(),
            processes=(process,) * self.processes,
            entry=None,
            readers=(Reader(reads=self.reads, **IDLE),),
        )

    # --- the store

    def nearest(self, state):
        """The present token ends with the marks there are."""
        if state.token is None:
            return state
        return state._replace(deadlines=state.marks)

    def place(self, state, name):
        state = state._replace(marks=state.marks | {name})
        if state.token is None:
            return state
        return state._replace(deadlines=state.deadlines | {name})

    def renew(self, state, name):
        state = state._replace(marks=state.marks | {name})
        if state.token is None:
            return state
        if not self.renewal_sees_others:
            return state._replace(deadlines=frozenset({name}))
        return self.nearest(state)

    def take_back(self, state, name):
        return self.nearest(state._replace(marks=state.marks - {name}))

    def bump(self, state):
        return state._replace(token=None, deadlines=frozenset())

    def mint(self, state):
        if state.token is not None:
            return state
        return state._replace(token=state.fresh, fresh=state.fresh + 1, deadlines=state.marks)

    def expire(self, state, name):
        if name in state.deadlines:
            state = self.bump(state)
        return state._replace(marks=state.marks - {name})

    # --- everybody's steps

    def steps(self, state):
        for p in range(self.processes):
            yield from self.live(state, p)
        for name in state.marks:
            # A lease ends when nobody renews it in time: its process is dead, slow, or has forsaken
            # it.
            yield f"the lease of {name} ends", self.expire(state, name)
        yield from self.read(state)

    def bit(self, p, write):
        return 1 << (p * self.writes + write)

    def live(self, state, p):
        process = state.processes[p]

        def moved(base=state, **change):
            return base._replace(processes=put(base.processes, p, process._replace(**change)))

        last = self.bit(p, process.written - 1) if process.written else 0
        if process.at == "lost":
            # Within a lease the server has made up its mind; a mark lasts longer, if left alone.
            if not state.db & last and process.under in state.marks:
                yield f"the COMMIT of P{p} takes effect", state._replace(db=state.db | last)
            if process.under not in state.marks or not self.forsakes:
                yield f"what P{p} has lost is decided", moved(at="decided")
        if process.back is not None:
            gone = self.take_back(state, process.back)
            yield f"{process.back} is taken back, late", moved(gone, back=None)
        mark = process.mark
        if process.at == "idle" and process.written < self.writes:
            if mark is not None and (mark in state.marks or not self.checks_clock):
                begun = {"written": process.written + 1, "under": mark}
                committed = state._replace(db=state.db | self.bit(p, process.written))
                yield f"P{p} commits under {mark}", moved(committed, at="committed", **begun)
                if self.unknown:
                    yield f"P{p} loses the connection at COMMIT", moved(at="unknown", **begun)
            elif process.made < self.marks:
                name = (p, process.made if self.renames else 0)
                yield (
                    f"P{p} places {name}",
                    moved(self.place(state, name), mark=name, made=process.made + 1),
                )
        useful = self.renewal_prolongs or mark not in state.marks
        if mark is not None and useful and process.at in ("idle", "committed", "unknown", "lost"):
            yield f"P{p} renews {mark}", self.renew(state, mark)
        if mark is not None and process.at == "idle":
            if self.late_take_back:
                yield f"P{p} sends that it takes {mark} back", moved(mark=None, back=mark)
            else:
                yield f"P{p} takes {mark} back", moved(self.take_back(state, mark), mark=None)
        if process.at == "committed":
            acknowledged = process.acknowledged | last
            bumped = self.bump(state)
            yield f"P{p} bumps, acknowledged", moved(bumped, at="idle", acknowledged=acknowledged)
            yield f"P{p} dies", moved(at="died", mark=None)
        if process.at == "unknown":
            kept = None if self.forsakes else mark
            yield f"P{p} bumps, not knowing", moved(self.bump(state), at="lost", mark=kept)
            yield f"P{p} dies, not knowing", moved(at="lost", mark=None)

    def must(self, state):
        """What a read that begins now must contain."""
        must = 0
        for p, process in enumerate(state.processes):
            must |= process.acknowledged
            over = process.at == "died" and process.under not in state.marks
            if over or process.at == "decided":
                must |= state.db & self.bit(p, process.written - 1)
        return must

    def read(self, state):
        (reader,) = state.readers

        def moved(base=state, **change):
            return base._replace(readers=(reader._replace(**change),))

        def finished(base=state):
            return base._replace(readers=(Reader(reads=reader.reads - 1, **IDLE),))

        if reader.at == "idle" and reader.reads:
            yield "R begins", moved(at="look", must=self.must(state))
        elif reader.at == "look":
            entry = state.entry
            if entry is not None and entry[1] == state.token and state.token is not None:
                stale = reader.must & ~entry[0]
                yield f"R hits {entry[0]:b}", VIOLATION if stale else finished()
            else:
                yield "R misses", moved(at="take")
        elif reader.at == "take":
            minted = self.mint(state)
            yield f"R takes token {minted.token}", moved(minted, at="query", token=minted.token)
        elif reader.at == "query":
            yield f"R reads {state.db:b}", moved(at="store", value=state.db)
        elif reader.at == "store":
            yield (
                f"R stores {reader.value:b}",
                finished(state._replace(entry=(reader.value, reader.token))),
            )


MODELS = [
    ("standing marks of two processes", Standing(writes=1), True),
    ("a process that writes three times", Standing(processes=1, writes=3, marks=3), True),
    (
        "the same, tokens end with the first lease",
        Standing(processes=1, writes=3, marks=3, renewal_prolongs=False),
        True,
    ),
    ("the outcome of COMMIT may be unknown", Standing(processes=1, unknown=True), True),
    ("the same, two processes", Standing(unknown=True, writes=1, marks=1), True),
    ("a mark is taken back late", Standing(processes=1, late_take_back=True), True),
    (
        "the same, and placed again under its name",
        Standing(processes=1, late_take_back=True, renames=False),
        False,
    ),
    ("COMMIT is sent when the lease is over", Standing(processes=1, checks_clock=False), False),
    ("a renewal does not see other marks", Standing(writes=1, renewal_sees_others=False), False),
    (
        "a mark is renewed after an unknown outcome",
        Standing(processes=1, writes=1, unknown=True, forsakes=False),
        False,
    ),
]
