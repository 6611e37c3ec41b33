"""Single flight: a caller that joins another's computation must not get a value older than its own
beginning."""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION

State = namedtuple("State", "db token writer leader_token value joiner must")


@dataclass(frozen=True)
class Flights:
    revalidate: bool = True  # broken if not: what the leader brings is taken as it is

    initial = State(0, 0, "idle", None, None, "idle", 0)

    def steps(self, state):
        if state.writer == "idle":
            yield "W commits", state._replace(db=1, writer="committed")
        if state.writer == "committed":
            yield "W bumps, acknowledged", state._replace(token=1, writer="acknowledged")
        if state.leader_token is None:
            yield "the leader takes its token", state._replace(leader_token=state.token)
        elif state.value is None:
            yield "the leader reads", state._replace(value=state.db)
        if state.joiner == "idle":
            must = int(state.writer == "acknowledged")
            yield "the joiner begins and waits", state._replace(joiner="waits", must=must)
        if state.joiner == "waits" and state.value is not None:
            if self.revalidate and state.leader_token != state.token:
                yield "the joiner computes for itself", state._replace(joiner="done")
            else:
                stale = state.must and not state.value
                yield (
                    "the joiner takes the value",
                    VIOLATION if stale else state._replace(joiner="done"),
                )


MODELS = [
    ("joiners look again when they are woken", Flights(), True),
    ("joiners take what the leader brings", Flights(revalidate=False), False),
]
