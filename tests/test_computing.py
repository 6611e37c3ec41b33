"""The parts of the slow path that no call shows."""

from __future__ import annotations

import sys
from typing import Any

from djsmartcache.computing import _Unshared


def test_flights_that_end_while_another_is_noted() -> None:
    unshared = _Unshared()
    for number in range(unshared._KEPT):
        unshared.add(b"%d" % number)
    others = 0

    def other_thread(frame: Any, event: str, what: Any) -> None:
        """Another thread is on its way through `add` whenever this one is interrupted there."""
        nonlocal others
        if event in ("c_call", "c_return") and frame.f_code.co_name == "add":
            others += 1
            unshared._last[b"of another thread %d" % others] = unshared.now()

    before = unshared.now()
    sys.setprofile(other_thread)
    try:
        unshared.add(b"k")
    finally:
        sys.setprofile(None)
    assert others > 1
    assert unshared.since(b"k", before)
    assert unshared.since(b"of another thread 1", before)
    assert not unshared.since(b"k", unshared.now())
    assert not unshared.since(b"0", 0), "the oldest are forgotten"
