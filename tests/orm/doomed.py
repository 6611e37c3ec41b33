"""A process whose children write and are killed on the way.

Commands come as lines of standard input, answers go as lines to standard output:

- `die STEP HOW PK VALUE PREFIX`: a child, whose store is that of PREFIX, writes VALUE to the stock
  of product PK and is killed at STEP; "killed", or what else became of it
- `written PK`: from here on each child saves product PK first, as it is, so that a mark stands
- `lease SECONDS`: how long marks last
- `unmarked`: from here on nothing is marked, which breaks the protocol
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tests.orm import worker  # sets Django up, which what follows needs

# isort: split
from django.conf import settings
from django.db import connection, connections
from django.db import transaction as django_transaction

from djsmartcache import conf, process
from djsmartcache.orm import transaction
from tests.testapp.models import Product

_mark = transaction._mark
_bump = transaction.bump
_written: list[int] = []


def kill(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mark_and_kill(*args: Any, **kwargs: Any) -> None:
    _mark(*args, **kwargs)
    kill()


def bump_and_kill(*args: Any) -> None:
    _bump(*args)
    kill()


STEPS: dict[str, tuple[str, Callable[..., None]]] = {
    "begun": ("_mark", kill),
    "marked": ("_mark", mark_and_kill),
    "committed": ("bump", kill),
    "bumped": ("bump", bump_and_kill),
}


def save(pk: int, value: int) -> None:
    product = Product.objects.get(pk=pk)
    product.stock = value
    product.save()


def atomically(pk: int, value: int) -> None:
    with django_transaction.atomic(), django_transaction.atomic():
        save(pk, value)


def update(pk: int, value: int) -> None:
    Product.objects.filter(pk=pk).update(stock=value)


def update_many(pk: int, value: int) -> None:
    Product.objects.filter(name=f"product-{pk}.").update(stock=value)


def by_hand(pk: int, value: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE testapp_product SET stock = %s WHERE id = %s", [value, pk])


def committed_by_hand(pk: int, value: int) -> None:
    django_transaction.set_autocommit(False)
    save(pk, value)
    django_transaction.commit()


def with_sql(pk: int, value: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        update(pk, value)
        cursor.execute("COMMIT")


def switched(pk: int, value: int) -> None:
    django_transaction.set_autocommit(False)
    save(pk, value)
    django_transaction.set_autocommit(True)


def delete(pk: int, value: int) -> None:
    Product.objects.filter(pk=pk)._raw_delete("default")


def insert(pk: int, value: int) -> None:
    """The database chooses the key: `PK` is that of the product that is missing."""
    Product.objects.create(name=f"product-{pk}.", stock=value)


HOWS: dict[str, Callable[[int, int], None]] = {
    each.__name__: each
    for each in (
        save,
        atomically,
        update,
        update_many,
        by_hand,
        committed_by_hand,
        with_sql,
        switched,
        delete,
        insert,
    )
}


def die(step: str, how: str, pk: int, value: int, prefix: str) -> str:
    settings.SMARTCACHE_KEY_PREFIX = prefix
    conf.current.cache_clear()
    process.configure()
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            for each in _written:
                Product.objects.get(pk=each).save()
            name, replacement = STEPS[step]
            setattr(transaction, name, replacement)
            HOWS[how](pk, value)
        except BaseException as error:
            print(f"{how}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else f"{how} ended before it was {step}"


def main() -> None:
    worker.say("ready")
    for line in iter(sys.stdin.readline, ""):
        match line.split():
            case ["die", step, how, pk, value, prefix]:
                worker.say(die(step, how, int(pk), int(value), prefix))
            case ["unmarked"]:
                transaction._mark = lambda *_, **__: None
                worker.say("unmarked")
            case ["written", pk]:
                _written.append(int(pk))
                worker.say("written")
            case ["lease", seconds]:
                process.MARK_LEASE = float(seconds)
                worker.say("lease")


if __name__ == "__main__":
    main()
