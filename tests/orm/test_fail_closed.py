"""SMARTCACHE_ON_REDIS_DOWN = "fail_closed": nothing is committed that others would not be told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from django.db import transaction as django_transaction

from djsmartcache import SmartCacheError, WriteRefused, cache_set, invalidate_tags, process
from djsmartcache.orm import transaction
from djsmartcache.orm.state import state_of
from tests.servers import RedisServer
from tests.testapp.models import Product

pytestmark = [
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("store", ["redis"], indirect=True),
]


@pytest.fixture
def lamp(shop: None, settings: Any) -> Iterator[Product]:
    settings.SMARTCACHE_ON_REDIS_DOWN = "fail_closed"
    yield Product.objects.create(name="lamp")
    settings.SMARTCACHE_ON_REDIS_DOWN = "fail_open"


@pytest.fixture
def down(lamp: Product, redis_server: RedisServer) -> Iterator[RedisServer]:
    redis_server.stop()
    yield redis_server
    redis_server.start()


def stock(product: Product) -> int:
    return Product.objects.values_list("stock", flat=True).get(pk=product.pk)


def atomically(product: Product) -> None:
    with django_transaction.atomic():
        Product.objects.filter(pk=product.pk).update(stock=5)


def by_itself(product: Product) -> None:
    Product.objects.filter(pk=product.pk).update(stock=5)


def saved(product: Product) -> None:
    product.stock = 5
    product.save()


def by_hand(product: Product) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE testapp_product SET stock = 5")


def by_commit(product: Product) -> None:
    django_transaction.set_autocommit(False)
    try:
        by_itself(product)
        django_transaction.commit()
    finally:
        django_transaction.rollback()
        django_transaction.set_autocommit(True)


WAYS = pytest.mark.parametrize("way", [atomically, by_itself, saved, by_hand, by_commit])


@WAYS
def test_a_write_is_refused_while_the_store_is_down(
    lamp: Product, down: RedisServer, way: Callable[[Product], None]
) -> None:
    with pytest.raises(WriteRefused, match="fail_closed") as caught:
        way(lamp)
    assert isinstance(caught.value, DatabaseError)
    assert isinstance(caught.value, SmartCacheError)
    assert stock(lamp) == 0
    assert not transaction.in_transaction(connection)


@WAYS
def test_it_is_saved_by_default(
    lamp: Product, down: RedisServer, way: Callable[[Product], None], settings: Any
) -> None:
    settings.SMARTCACHE_ON_REDIS_DOWN = "fail_open"
    way(lamp)
    assert stock(lamp) == 5


def test_reads_and_explicit_stores_are_not_refused(lamp: Product, down: RedisServer) -> None:
    with django_transaction.atomic():
        assert stock(lamp) == 0
    assert cache_set("key", 1) is False
    invalidate_tags("name")


def test_once_it_is_back_writes_are_saved(lamp: Product, down: RedisServer) -> None:
    with pytest.raises(WriteRefused):
        saved(lamp)
    down.start()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            saved(lamp)
        except WriteRefused:
            continue  # the circuit breaker looks again in a moment
        break
    assert stock(lamp) == 5
    assert state_of(connections["default"]).mark is None


def test_who_could_not_bump_returns_when_the_mark_is_over(
    lamp: Product, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MARK_LEASE", 1.0)
    process.configure()
    bump = transaction.bump

    def cut_off(*args: Any) -> None:
        redis_server.pause()
        bump(*args)

    monkeypatch.setattr(transaction, "bump", cut_off)
    began = time.monotonic()
    saved(lamp)
    assert time.monotonic() - began >= 1.0
    redis_server.resume()


def test_or_when_the_store_is_back(
    lamp: Product, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MARK_LEASE", 600.0)
    process.configure()
    bump = transaction.bump

    def cut_off(*args: Any) -> None:
        redis_server.pause()
        threading.Timer(0.5, redis_server.resume).start()
        bump(*args)

    monkeypatch.setattr(transaction, "bump", cut_off)
    began = time.monotonic()
    saved(lamp)
    assert not process.cache().pending
    assert time.monotonic() - began < 300.0
