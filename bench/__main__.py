"""Measure djsmartcache beside other caches: ``python -m bench [NAME ...] [--write]``.

Prints a table for each benchmark; ``--write`` puts them into docs/benchmarks.md, with the versions
and the machine, in place of the same tables of earlier runs.
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
    "stampede",
    "hit_ratio",
    "memory",
    "freshness",
    "hearing",
    "matrix",
    "invalidation",  # takes half an hour, most of it to fill the other caches
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


def heading(redis: RedisServer) -> str:
    versions = ", ".join(f"{peer} {version(peer)}" for peer in PEERS)
    server = redis.client().info("server")["redis_version"]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "All contestants of a table ran in one go, in processes of their own and in turn;",
            "medians. Machines are noisy: read ratios, not times.",
            "",
            "Made by `make bench`; `python -m bench NAME --write` makes the tables of one anew. On",
            f"Python {platform.python_version()}, {os.cpu_count()} cores ({platform.machine()}), "
            f"Redis {server};",
            f"{versions}.",
        ]
    )


def with_tables(page: str, head: str, tables: list[str]) -> str:
    """The page with these tables in place of those of the same titles; a table begins with ##."""
    kept = {table.partition("\n")[0]: table for table in page.split("\n\n## ")[1:]}
    for table in tables:
        text = table.removeprefix("## ").rstrip("\n")
        kept[text.partition("\n")[0]] = text
    return "\n\n".join([head, *(f"## {table.rstrip()}" for table in kept.values())]) + "\n"


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
        for name in names:
            redis.flush()
            store = Path(folder) / name
            store.mkdir(mode=0o700)
            place = Place(redis.url, redis.port, postgres.url, str(store))
            for report in importlib.import_module(f"bench.{name}").measure(place):
                table = report.markdown()
                print(table, end="\n\n", flush=True)
                if arguments.write:
                    PAGE.write_text(with_tables(PAGE.read_text(), heading(redis), [table]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
