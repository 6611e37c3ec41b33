"""Measure djsmartcache beside other caches: ``python -m bench [NAME ...] [--write]``.

Prints a table for each benchmark; ``--write`` puts them into docs/benchmarks.md, with the versions
and the machine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from bench.arena import Place
from tests.servers import PostgresServer, RedisServer

BENCHMARKS = (
    "local_hit",
    "local_copy",
    "store_hit",
    "invalidation",
    "stampede",
    "hit_ratio",
    "memory",
)
PEERS = (
    "Django",
    "cachetools",
    "diskcache",
    "django-cachalot",
    "django-cacheops",
    "django-redis",
    "redis",
    "hiredis",
)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def heading(names: list[str], redis: RedisServer) -> str:
    versions = ", ".join(f"{peer} {version(peer)}" for peer in PEERS)
    server = redis.client().info("server")["redis_version"]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "All contestants of a table ran in one go, in processes of their own and in turn;",
            "medians. Machines are noisy: read ratios, not times.",
            "",
            f"Made by `python -m bench {' '.join(names)} --write` (`make bench` sets up what it",
            f"needs) on Python {platform.python_version()}, {os.cpu_count()} cores",
            f"({platform.machine()}), Redis {server}; {versions}.",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    with (
        RedisServer() as redis,
        PostgresServer() as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        parts = [heading(names, redis)]
        for name in names:
            redis.flush()
            store = Path(folder) / name
            store.mkdir(mode=0o700)
            place = Place(redis.url, redis.port, postgres.url, str(store))
            for report in importlib.import_module(f"bench.{name}").measure(place):
                parts.append(report.markdown())
                print(parts[-1], end="\n\n", flush=True)
                if arguments.write:
                    PAGE.write_text("\n\n".join(parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
