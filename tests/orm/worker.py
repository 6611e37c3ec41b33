"""A process of its own in the test's shop: reads products through the cache, and saves them.

Commands come as lines of standard input, answers go as lines to standard output:

    read PK          the stock, from the cache or computed hold PK          compute anew: "queried"
    once the database was read; "go" lets it store; the stock save PK STOCK    save the product;
    "saved" late             from here on, take tokens after the query instead of before: breaks the
    protocol race KIND N      read or save N times at random; "raced"
"""

from __future__ import annotations

import ast
import os
import random
import sys
from collections.abc import Iterable

import django
from django.conf import settings

PRODUCTS = 4  # as many as test_processes makes


def set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    settings.DATABASES = {"default": ast.literal_eval(os.environ["SMARTCACHE_TEST_DATABASE"])}
    store = os.environ["SMARTCACHE_TEST_STORE"]
    settings.SMARTCACHE_REDIS_URL = store if "://" in store else None
    settings.SMARTCACHE_DIR = None if "://" in store else store
    # The lock would keep the readers of one product from racing each other.
    settings.SMARTCACHE_USE_REDIS_LOCK = False
    django.setup()


set_up()

from djsmartcache import smart_cached  # noqa: E402
from djsmartcache.orm.dependencies import Computation  # noqa: E402
from tests.testapp.models import Product  # noqa: E402

_held = False
_late: list[tuple[Computation, list[int], list[tuple[int, int, str]]]] = []
_take = Computation.take


@smart_cached(ttl=None)
def stock(pk: int) -> int:
    found = Product.objects.get(pk=pk).stock
    if _held:
        say("queried")
        assert hear() == "go"
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


def race(kind: str, times: int) -> None:
    for _ in range(times):
        pk = random.randint(1, PRODUCTS)
        if kind == "read":
            stock(pk)
        else:
            save(pk, random.randint(0, 1_000_000))


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
            case ["late"]:
                Computation.take = take_late  # type: ignore[method-assign,assignment]
                say("late")
            case ["race", kind, times]:
                race(kind, int(times))
                say("raced")


if __name__ == "__main__":
    main()
