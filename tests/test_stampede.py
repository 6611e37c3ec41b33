"""Many callers of one missing value at once, in threads of several processes: one computes."""

from __future__ import annotations

from tests.children import Child
from tests.starting import Start, start
from tests.stores import store
from tests.waiting import until

__all__ = ["start", "store"]

PROCESSES = 5
THREADS = 10  # in each


def test_fifty_threads_of_five_processes_compute_once(start: Start) -> None:
    crowd = [start(LOCK_TIMEOUT=60) for _ in range(PROCESSES)]
    computing: list[Child] = []

    def waiting(child: Child) -> int:
        child.tell("waiting")
        while (said := child.hear()) == "computing":
            computing.append(child)
        return int(said)

    for _ in range(THREADS):
        for child in crowd:
            child.tell("call", "a")
    # Who turns from one that computes in its process to the one of all is counted twice.
    until(lambda: all(waiting(child) >= THREADS - (child in computing) for child in crowd))
    assert len(computing) == 1
    for child in crowd:
        child.tell("go")
    said = [child.hear() for child in crowd for _ in range(THREADS)]
    assert set(said) == {f"value a {computing[0].pid}"}


def test_tasks_that_wait_for_another_process_keep_no_other_from_its_end(start: Start) -> None:
    # Each leads more keys than there are threads to wait for the store, and waits for as many.
    processes = [start(LOCK_TIMEOUT=60) for _ in range(2)]
    names = [[f"{child.pid}-{number}" for number in range(40)] for child in processes]
    for child, own in zip(processes, names, strict=True):
        for name in own:
            assert child.ask("task", name) == "computing"
    for child, others in zip(processes, reversed(names), strict=True):
        for name in others:
            child.tell("task", name)
        until(lambda child=child: int(child.ask("waits")) >= 16)
    for child in processes:
        child.tell("go")
    for child in processes:
        said = {child.hear() for _ in range(80)}
        assert said == {
            f"value {name} {leader.pid}"
            for leader, own in zip(processes, names, strict=True)
            for name in own
        }
