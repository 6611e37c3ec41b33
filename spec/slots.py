"""L1's copy of one token: fetched over one connection, dropped by messages over another (in order
each).

Promise, in bounded mode: once the listener has seen everything up to a fence, a slot that is
trusted equals the token at the time that fence was sent, or a later one.
"""

from collections import namedtuple
from dataclasses import dataclass

from explorer import VIOLATION

# version: of the token; replies, messages: on their way; fetch: the slot's version noted before the
# request; must: the oldest version that may be served (that of the last answered fence).
State = namedtuple("State", "version replies messages slot drops fetch connected trusted must cuts")


@dataclass(frozen=True)
class Slots:
    placeholder: bool = True  # broken if not: a reply is installed though a message overtook it
    fence_on_reconnect: bool = True  # broken if not: slots outlive the connection
    bumps: int = 3
    cuts: int = 1

    @property
    def initial(self):
        return State(0, (), (), None, 0, None, True, True, 0, self.cuts)

    def steps(self, state):
        if state.version < self.bumps:
            told = (*state.messages, ("drop", None)) if state.connected else state.messages
            yield "a writer bumps", state._replace(version=state.version + 1, messages=told)
        if state.slot is None and state.fetch is None:
            yield (
                "fetch is sent and answered",
                state._replace(fetch=state.drops, replies=(*state.replies, state.version)),
            )
        if state.replies:
            current = not self.placeholder or state.fetch == state.drops
            yield (
                "reply arrives",
                state._replace(
                    replies=state.replies[1:],
                    fetch=None,
                    slot=state.replies[0] if current else state.slot,
                ),
            )
        if state.connected and not any(kind == "fence" for kind, _ in state.messages):
            yield (
                "fence is sent",
                state._replace(messages=(*state.messages, ("fence", state.version))),
            )
        if state.messages:
            (kind, at), rest = state.messages[0], state.messages[1:]
            if kind == "drop":
                yield (
                    "drop arrives",
                    state._replace(messages=rest, slot=None, drops=state.drops + 1),
                )
            else:
                yield "fence is answered", state._replace(messages=rest, trusted=True, must=at)
        if state.connected and state.cuts:
            yield (
                "the connection is cut",
                state._replace(connected=False, messages=(), trusted=False, cuts=state.cuts - 1),
            )
        if not state.connected:
            fenced = {"slot": None, "drops": state.drops + 1} if self.fence_on_reconnect else {}
            yield "connected again", state._replace(connected=True, **fenced)
        if state.trusted and state.slot is not None and state.slot < state.must:
            yield f"a read trusts {state.slot}, the fence promised {state.must}", VIOLATION


MODELS = [
    ("placeholders, fenced at reconnect", Slots(), True),
    ("no placeholder for a fetch under way", Slots(placeholder=False), False),
    ("slots outlive the connection", Slots(fence_on_reconnect=False), False),
]
