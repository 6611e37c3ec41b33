"""How soon other processes know of a ``save()``: all have heard of it, all answer with it."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from bench import site
from bench.arena import Place
from bench.report import Report, duration

READERS = 3
SAVES = 1_000
WARM_UP = 50
MESSAGES = 2  # of a save: before COMMIT that it is coming, and after it
PAUSE = 20e-6  # seconds between two looks: readers that never slept would be in each other's way


def prepare(place: Place) -> int:
    """Make this process one of the site; give a product's key."""
    site.smart(place, store="redis", database="postgres")
    site.make_tables(10)
    from bench.shop.models import Product

    return Product.objects.order_by("pk").values_list("pk", flat=True)[0]


def read(ours: Connection, place: Place) -> None:
    """Tell when an answer is remembered, when its end is heard of, and when it is another one."""
    pk = prepare(place)
    from bench.shop.models import Product
    from djsmartcache import process, smart_cached

    @smart_cached(key="heard", ttl=None)
    def stock() -> int:
        return Product.objects.get(pk=pk).stock

    def messages() -> int:
        return process.cache().stats()["messages"]

    while ours.recv():
        old = stock()
        while not process.cache().trusted():
            time.sleep(PAUSE)
        told = messages() + MESSAGES
        ours.send("remembered")
        while messages() < told:
            time.sleep(PAUSE)
        heard = time.monotonic()
        while stock() == old:
            time.sleep(PAUSE)
        ours.send((heard, time.monotonic()))


def write(ours: Connection, place: Place) -> None:
    """Save at each request; tell when that began and when it returned."""
    pk = prepare(place)
    from bench.shop.models import Product

    product = Product.objects.get(pk=pk)
    while ours.recv():
        product.stock += 1
        began = time.monotonic()
        product.save()
        ours.send((began, time.monotonic()))


def measure(place: Place) -> list[Report]:
    spawning = multiprocessing.get_context("spawn")
    ends: list[tuple[Any, Connection]] = []
    for target in (write, *[read] * READERS):
        ours, theirs = spawning.Pipe()
        process = spawning.Process(target=target, args=(theirs, place))
        process.start()
        ends.append((process, ours))
    writer, *readers = (end for _, end in ends)
    heard: list[float] = []
    answered: list[float] = []
    saving: list[float] = []
    for number in range(WARM_UP + SAVES):
        for reader in readers:
            reader.send(True)
        for reader in readers:
            reader.recv()
        writer.send(True)
        began, returned = writer.recv()
        times = [reader.recv() for reader in readers]
        if number >= WARM_UP:
            saving.append(returned - began)
            heard.append(max(when for when, _ in times) - began)
            answered.append(max(when for _, when in times) - began)
    for process, end in ends:
        end.send(False)
        process.join(30)
    report = Report(
        f"Until {READERS} other processes know of one save()",
        ("since save() was called, until", "median", "p99"),
        "the last of them hears of it at most 1 ms after save() has returned, by the median",
    )
    for name, seconds in (
        ("save() has returned", saving),
        ("the last has heard of it", heard),
        ("the last has answered with it, computed anew", answered),
    ):
        quantiles = statistics.quantiles(seconds, n=100)
        late, median = quantiles[98], statistics.median(seconds)
        report.rows.append((name, duration(median * 1e9), duration(late * 1e9)))
    later = [one - other for one, other in zip(heard, saving, strict=True)]
    median = statistics.median(later)
    verdict = "reached" if median <= 0.001 else "NOT reached"
    report.reached.append(
        f"the last hears of it {median * 1e3:.2f} ms after save() has returned (at most 1; "
        f"p99 {statistics.quantiles(later, n=100)[98] * 1e3:.2f} ms): {verdict}"
    )
    return [report]
