"""A process of a site on which everything is cached, told what to do while its store fails.

Commands come as lines of standard input, answers go as lines to standard output. Whatever is
raised is an answer: its name and what it says.

- `look PK...`: what the site says of products, one for each way of asking: JSON
- `add PK`, `aadd PK`: two more of a product and two more reviews of it, from a task for `aadd`;
  "saved"
- `state`: pending, available, trusted, and how many answers came from memory: JSON
- `overfill COUNT BYTES`: store so many values of that size, and take ten tokens for each, again and
  again while the other commands are obeyed, "filling"; 0: end that, "over"
- `stop PK`: add one, and stop this process when the COMMIT is marked and about to be sent; "saved"
- `lease SECONDS`: how long marks last
- `churn PK SECONDS`: a child adds without end and stores values beside it, until it is killed after
  that time; how many of its writes had returned
- `die PK SECONDS`: one statement that takes so long adds one, and commits by itself; who sent it
  is killed before it tells anybody; "killed"
- `limit BYTES`: let no file grow beyond that; 0: any
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.orm import worker  # sets Django up, which what follows needs

# isort: split
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.db import transaction as django_transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from djsmartcache import cache_set, process, smart_cached
from djsmartcache.orm import transaction
from tests.testapp.models import Product, Review

loop = asyncio.new_event_loop()
say = worker.say


@smart_cached(ttl=None)
def stock(pk: int) -> int:
    return Product.objects.get(pk=pk).stock


@smart_cached(ttl=None)
async def astock(pk: int) -> int:
    return (await Product.objects.aget(pk=pk)).stock


@smart_cached(ttl=None)
def reviews(pk: int) -> int:
    return Review.objects.filter(product_id=pk).count()


@smart_cached(ttl=None)
async def areviews(pk: int) -> int:
    return await Review.objects.filter(product_id=pk).acount()


@smart_cached(ttl=None)
def page(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse(f"{stock(pk)} {reviews(pk)}")


@smart_cached(ttl=None)
async def apage(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse(f"{await astock(pk)} {await areviews(pk)}")


def look(pk: int) -> dict[str, str]:
    """Ask in every way; each answer is stock and reviews, and both count the same writes."""

    async def from_task() -> tuple[str, str]:
        request = RequestFactory().get(f"/task/{pk}")
        return (
            f"{await astock(pk)} {await areviews(pk)}",
            (await apage(request, pk)).content.decode(),
        )

    function, view = loop.run_until_complete(from_task())
    return {
        "function": f"{stock(pk)} {reviews(pk)}",
        "view": page(RequestFactory().get(f"/thread/{pk}"), pk).content.decode(),
        "async function": function,
        "async view": view,
    }


def add(pk: int) -> None:
    product = Product.objects.get(pk=pk)
    product.stock += 1
    product.save()
    Review.objects.create(product=product, text="good")


def add_atomically(pk: int) -> None:
    with django_transaction.atomic():
        Product.objects.filter(pk=pk).update(stock=F("stock") + 1)
        Review.objects.create(product_id=pk, text="good")


async def aadd(pk: int) -> None:
    product = await Product.objects.aget(pk=pk)
    product.stock += 1
    await product.asave()
    await Review.objects.acreate(product=product, text="good")


async def aadd_atomically(pk: int) -> None:
    await sync_to_async(add_atomically)(pk)


def add_slowly(pk: int, seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH slept AS (SELECT pg_sleep(%s)), one_more AS"
            " (UPDATE testapp_product SET stock = stock + 1 WHERE id = %s)"
            " INSERT INTO testapp_review (product_id, text) SELECT %s, 'good' FROM slept",
            [seconds, pk, pk],
        )


def state() -> dict[str, Any]:
    cache = process.cache()
    return {
        "pending": cache.pending,
        "available": cache.available,
        "trusted": cache.trusted(),
        "hits": cache.stats()["local_hits"],
        "failed": cache.stats()["store_errors"],
    }


_filling: list[tuple[threading.Event, threading.Thread]] = []


def overfill(count: int, size: int) -> str:
    if not count:
        while _filling:
            over, filler = _filling.pop()
            over.set()
            filler.join()
        return "over"
    over = threading.Event()

    def fill() -> None:
        for number in itertools.cycle(range(count)):
            cache_set(f"filling:{number}", os.urandom(size))
            first = int.from_bytes(os.urandom(4), "big")
            process.cache().take(range(first, first + 10), [])
            if over.wait(0.001):
                return

    _filling.append((over, threading.Thread(target=fill, daemon=True)))
    _filling[-1][1].start()
    return "filling"


def fork(run: Callable[[], None]) -> int:
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            run()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    return child


def churn(pk: int, seconds: float) -> int:
    done, doing = os.pipe()

    def run() -> None:
        def store() -> None:
            for number in range(1_000_000):
                cache_set(f"churn:{number % 50}", os.urandom(20_000))

        threading.Thread(target=store, daemon=True).start()
        while True:
            add_atomically(pk)
            os.write(doing, b".")

    child = fork(run)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(doing)
    with os.fdopen(done, "rb") as told:
        count = len(told.read())
    assert os.WIFSIGNALED(status), "it ended by itself"
    return count


def die(pk: int, seconds: float) -> str:
    def run() -> None:
        transaction.bump = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        add_slowly(pk, seconds)

    _, status = os.waitpid(fork(run), 0)
    return "killed" if os.WIFSIGNALED(status) else "ended"


def stop(pk: int) -> None:
    mark = transaction._mark

    def mark_and_stop(*args: Any, **kwargs: Any) -> None:
        mark(*args, **kwargs)
        transaction._mark = mark
        os.kill(os.getpid(), signal.SIGSTOP)

    transaction._mark = mark_and_stop
    add_atomically(pk)


def act(words: list[str]) -> object:
    match words:
        case ["look", *keys]:
            return json.dumps([look(int(pk)) for pk in keys])
        case ["add", pk]:
            add(int(pk))
            add_atomically(int(pk))
            return "saved"
        case ["aadd", pk]:
            loop.run_until_complete(aadd(int(pk)))
            loop.run_until_complete(aadd_atomically(int(pk)))
            return "saved"
        case ["state"]:
            return json.dumps(state())
        case ["overfill", count, size]:
            return overfill(int(count), int(size))
        case ["stop", pk]:
            stop(int(pk))
            return "saved"
        case ["lease", seconds]:
            process.MARK_LEASE = float(seconds)
            process.configure()
            return "lease"
        case ["churn", pk, seconds]:
            return churn(int(pk), float(seconds))
        case ["die", pk, seconds]:
            return die(int(pk), float(seconds))
        case ["limit", size]:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(size) or hard, hard))
            return "limited"
    raise AssertionError(f"{words} is no command")


def answer(words: list[str]) -> object:
    try:
        return act(words)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")


def main() -> None:
    say("ready")
    for line in iter(sys.stdin.readline, ""):
        say(answer(line.split()))


if __name__ == "__main__":
    main()
