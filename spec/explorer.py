"""Exhaustive exploration of small protocol models.

A model is a class with ``initial`` (a hashable state) and ``steps(state)``, a generator of
``(label, next state)``; a step to ``VIOLATION`` breaks what the model promises. Breadth first, so
the trace that is printed is a shortest one.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Final, NamedTuple, Protocol

VIOLATION: Final = "VIOLATION"
MAX_STATES = 3_000_000


class Model(Protocol):
    initial: Hashable

    def steps(self, state) -> Iterator[tuple[str, Hashable]]: ...


class Outcome(NamedTuple):
    holds: bool
    states: int
    trace: list[str]


def explore(model: Model) -> Outcome:
    """Visit every reachable state.

    Raises:
        RuntimeError: More than ``MAX_STATES`` states: the model is too large to say anything.
    """
    came_from: dict = {model.initial: None}
    queue = deque([model.initial])
    while queue:
        state = queue.popleft()
        for label, following in model.steps(state):
            if following == VIOLATION:
                trace = [label]
                while came_from[state] is not None:
                    state, step = came_from[state]
                    trace.append(step)
                return Outcome(False, len(came_from), trace[::-1])
            if following not in came_from:
                came_from[following] = (state, label)
                queue.append(following)
        if len(came_from) > MAX_STATES:
            raise RuntimeError(f"more than {MAX_STATES} states")
    return Outcome(True, len(came_from), [])


def put(items: tuple, place: int, value) -> tuple:
    """``items`` with the one at ``place`` replaced."""
    return (*items[:place], value, *items[place + 1 :])
