"""Run the race: ``python -m tests.race [--minutes N] [--adapter NAME] ...``.

``--adapter all`` runs every cache for equal times and prints one table. The exit status is 1 if the
package itself, or the control, was wrong; the caches made to be wrong have to be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.race import adapters, report
from tests.race.driver import Servers
from tests.race.plan import Plan
from tests.race.report import MADE_WRONG, OURS

GUILTLESS = ("none", "smartcache")


def bound_of(adapter: str, level: str, store: str) -> float:
    """Give the seconds after which other processes have to know of a write."""
    if adapter == "none" or store == "embedded" or level == "strict":
        return 0.0
    return Plan.bound


def contestants(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Give adapter, store and level of each run."""
    if arguments.adapter != "all":
        fixed = arguments.adapter in (*adapters.PEERS, "get_or_set", "unfenced")
        store = "redis" if fixed else arguments.store
        level = arguments.level if arguments.adapter in OURS else ""
        yield arguments.adapter, store, "session" if arguments.adapter == "unfenced" else level
        return
    for name in adapters.NAMES:
        if name in adapters.PEERS and find_spec(name) is None:
            print(f"{name} is not installed: make .venv/bench", file=sys.stderr)
            continue
        yield name, "redis", "session" if name == "unfenced" else ""
        if name == "smartcache":
            yield name, "redis", "session"
            yield name, "redis", "strict"
            yield name, "embedded", ""


def late_messages(arguments: argparse.Namespace, level: str, store: str) -> bool:
    """Whether messages are held back: without that, they are there before a session begins."""
    if store != "redis":
        return False
    return arguments.late_messages == "yes" or (not arguments.late_messages and level == "session")


def plans(arguments: argparse.Namespace) -> list[Plan]:
    return [
        Plan(
            adapter=name,
            level=level,
            store=store,
            seconds=arguments.minutes * 60,
            faults=arguments.faults == "yes",
            late_messages=late_messages(arguments, level, store),
            kills=arguments.kills == "yes",
            lease=arguments.lease,
            bound=bound_of(name, level, store),
            processes=arguments.processes,
            seed=arguments.seed,
        )
        for name, store, level in contestants(arguments)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.race", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--adapter", default="smartcache", choices=[*adapters.NAMES, "all"])
    parser.add_argument("--level", default="", choices=["", "bounded", "session", "strict"])
    parser.add_argument("--store", default="redis", choices=["redis", "embedded"])
    parser.add_argument("--faults", default="no", choices=["yes", "no"])
    parser.add_argument(
        "--late-messages", default="", choices=["", "yes", "no"], help="yes at the level session"
    )
    parser.add_argument("--kills", default="", choices=["", "yes", "no"], help="as --faults")
    parser.add_argument("--lease", type=float, default=Plan.lease, help="seconds")
    parser.add_argument("--processes", type=int, default=Plan.processes)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="folder for what the workers wrote down")
    arguments = parser.parse_args()
    arguments.kills = arguments.kills or arguments.faults
    wrong = False
    rows = []
    with Servers() as servers:
        for plan in plans(arguments):
            print(f"{report.name(plan)}: {plan.seconds:g} s, seed {plan.seed}", flush=True)
            keep = arguments.keep and arguments.keep / report.name(plan).replace(" ", "-")
            verdict = servers.race(plan, keep)
            print(report.text(plan, verdict), flush=True)
            rows.append((plan, verdict))
            wrong |= plan.adapter in GUILTLESS and not verdict.right
            wrong |= plan.adapter in MADE_WRONG and verdict.right
    if len(rows) > 1:
        print(report.table(rows))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
