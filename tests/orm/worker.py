"""A process of its own in the test's shop: reads products through the cache, and saves them.

Commands come as lines of standard input, answers go as lines to standard output:

- `read PK`: the stock, from the cache or computed
- `stocks`: those of all products, as `read` gives them
- `hold PK`: compute anew; "queried" once the database was read; `go` lets it store; the stock
- `save PK STOCK`: save the product; "saved"
- `set KEY NUMBER`: store it explicitly; "set"
- `late`: from here on, take tokens after the query instead of before, which breaks the protocol
- `race BEGIN SECONDS`: read and save at random from that time on; what was written and seen
"""

from __future__ import annotations

import ast
import json
import os
import random
import sys
import time
from collections.abc import Iterable

import django
from django.conf import settings
from django.db import transaction

PRODUCTS = 30  # as many as test_processes makes
SHIFT = 0.04  # seconds for which a race is about one product
DELAY = 0.008  # seconds at most between a query and the store of its answer


def set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    database = ast.literal_eval(os.environ["SMARTCACHE_TEST_DATABASE"])
    if database["ENGINE"].endswith("sqlite3"):
        # A race's writers read before they write: without a lock from the start, SQLite refuses.
        database["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
    settings.DATABASES = {"default": database}
    store = os.environ["SMARTCACHE_TEST_STORE"]
    settings.SMARTCACHE_REDIS_URL = store if "://" in store else None
    settings.SMARTCACHE_DIR = None if "://" in store else store
    # The lock would keep the readers of one product from racing each other.
    settings.SMARTCACHE_USE_REDIS_LOCK = False
    # Nothing here is about a store that is slow: what a loaded machine delays is to be done all the
    # same.
    settings.SMARTCACHE_REDIS_TIMEOUT = 10
    settings.SMARTCACHE_START_LISTENER = os.environ.get("SMARTCACHE_TEST_LISTENER") != "no"
    more = ast.literal_eval(os.environ.get("SMARTCACHE_TEST_SETTINGS", "{}"))
    for name, value in more.items():
        setattr(settings, name, value)
    django.setup()


set_up()

from djsmartcache import cache_set, smart_cached  # noqa: E402
from djsmartcache.orm.dependencies import Computation  # noqa: E402
from tests.testapp.models import Product  # noqa: E402

_held = False
_delay = 0.0
_late: list[tuple[Computation, list[int], list[tuple[int, int, str]]]] = []
_take = Computation.take


@smart_cached(ttl=None)
def stock(pk: int) -> int:
    found = Product.objects.get(pk=pk).stock
    if _held:
        say("queried")
        assert hear() == "go"
    if _delay:
        time.sleep(random.random() * _delay)
    for computation, tags, schemes in _late:
        _take(computation, tags, schemes)
    _late.clear()
    return found


def take_late(
    self: Computation, tags: Iterable[int], schemes: Iterable[tuple[int, int, str]] = ()
) -> None:
    _late.append((self, list(tags), list(schemes)))


def save(pk: int, value: int) -> None:
    product = Product.objects.get(pk=pk)
    product.stock = value
    product.save()


def race(begin: float, seconds: float) -> dict[str, list[list[float]]]:
    """Read and save at random, for a while each product, so that each has its last save.

    Returns:
        `saved`: [product, stock, when its save was acknowledged]; `seen`: [product, stock, when the
        last read that gave it was begun]. Times are of the machine's clock.
    """
    global _delay
    _delay = DELAY
    saved: list[list[float]] = []
    seen: dict[tuple[int, int], float] = {}
    while (now := time.monotonic()) < begin + seconds:
        current = int(max(0, now - begin) / SHIFT) % PRODUCTS + 1
        chance = random.random()
        if chance < 0.3:
            saved.append([current, add_one(current), time.monotonic()])
        else:
            pk = current if chance < 0.8 else random.randint(1, PRODUCTS)
            started = time.monotonic()
            seen[pk, stock(pk)] = started
    _delay = 0.0
    return {"saved": saved, "seen": [[*what, when] for what, when in seen.items()]}


@transaction.atomic
def add_one(pk: int) -> int:
    """Save a product with one more: under the row's lock, so that a higher stock is a later one."""
    product = Product.objects.select_for_update().get(pk=pk)
    product.stock += 1
    product.save()
    return product.stock


def say(text: object) -> None:
    print(text, flush=True)


def hear() -> str:
    return sys.stdin.readline().strip()


def main() -> None:
    global _held
    say("ready")
    for line in iter(sys.stdin.readline, ""):
        match line.split():
            case ["read", pk]:
                say(stock(int(pk)))
            case ["hold", pk]:
                _held = True
                say(stock(int(pk)))
                _held = False
            case ["save", pk, value]:
                save(int(pk), int(value))
                say("saved")
            case ["set", key, value]:
                say("set" if cache_set(key, int(value)) else "not set")
            case ["late"]:
                Computation.take = take_late  # type: ignore[method-assign,assignment]
                say("late")
            case ["race", begin, seconds]:
                say(json.dumps(race(float(begin), float(seconds))))
            case ["stocks"]:
                say(json.dumps([stock(pk) for pk in range(1, PRODUCTS + 1)]))


if __name__ == "__main__":
    main()
