"""Writers that Django does not see, and all that their writes may make stale.

Test modules import the fixtures by name.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db.models import Sum

from djsmartcache import process, smart_cached
from djsmartcache.orm import outbox
from tests.testapp.models import (
    Category,
    Club,
    Country,
    Person,
    Place,
    Product,
    Restaurant,
    Review,
    Stock,
    Tag,
    Ticket,
)

Sql = Callable[..., list[Any]]


def manage(*words: str) -> str:
    told = io.StringIO()
    call_command("smartcache", *words, stdout=told)
    return told.getvalue()


@pytest.fixture
def stranger(database: dict[str, Any]) -> Iterator[psycopg.Connection[Any]]:
    """A session of which Django knows nothing."""
    with psycopg.connect(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        dbname=database["NAME"],
        autocommit=True,
    ) as made:
        yield made


@pytest.fixture
def sql(stranger: psycopg.Connection[Any]) -> Sql:
    def sql(text: str, *parameters: Any) -> list[Any]:
        cursor = stranger.execute(text, parameters or None)
        return cursor.fetchall() if cursor.description else []

    return sql


@pytest.fixture
def watched(shop: None) -> Iterator[None]:
    manage("install_triggers")
    yield
    manage("remove_triggers")


def notes() -> list[tuple[str, bool, Any]]:
    """Give what waits in the outbox: table, whether rows may be gone, keys as text."""
    with closing(outbox.session("default")) as own:
        rows = outbox.run(
            own, f"SELECT relation, deletes, keys::text FROM {outbox.TABLE} ORDER BY id"
        )
    return [tuple(row) for row in rows]


@smart_cached(ttl=None)
def stock(pk: int) -> int | None:
    return Product.objects.filter(pk=pk).values_list("stock", flat=True).first()


@smart_cached(ttl=None)
def named(name: str) -> list[int]:
    return sorted(Product.objects.filter(name=name).values_list("pk", flat=True))


@smart_cached(ttl=None)
def total() -> int | None:
    found: int | None = Product.objects.aggregate(total=Sum("stock"))["total"]
    return found


@smart_cached(ttl=None)
def reviews() -> list[str]:
    return sorted(Review.objects.values_list("text", flat=True))


@smart_cached(ttl=None)
def tags_of(pk: int) -> list[str]:
    return sorted(Tag.objects.filter(products=pk).values_list("name", flat=True))


@smart_cached(ttl=None)
def subject(pk: uuid.UUID) -> str | None:
    return Ticket.objects.filter(pk=pk).values_list("subject", flat=True).first()


@smart_cached(ttl=None)
def country(code: str) -> str | None:
    return Country.objects.filter(pk=code).values_list("name", flat=True).first()


@smart_cached(ttl=None)
def restaurant(pk: int) -> tuple[str, int] | None:
    found = Restaurant.objects.filter(pk=pk).first()
    return None if found is None else (found.name, found.seats)


@smart_cached(ttl=None)
def counted(place: int, product: int) -> int | None:
    found = Stock.objects.filter(place_id=place, product_id=product)
    return found.values_list("count", flat=True).first()


@smart_cached(ttl=None)
def members(club: int) -> list[str]:
    return sorted(Person.objects.filter(clubs=club).values_list("name", flat=True))


TICKET = uuid.UUID(int=7)
CALLS: list[tuple[Any, tuple[Any, ...]]] = [
    *((stock, (pk,)) for pk in (1, 2, 3, 9)),
    *((named, (name,)) for name in ("lamp", "desk", "chair", "new")),
    (total, ()),
    (reviews, ()),
    (tags_of, (1,)),
    (subject, (TICKET,)),
    (country, ("de",)),
    (restaurant, (1,)),
    (counted, (1, 1)),
    (members, (1,)),
]
"""All that may be stale."""


def fill() -> None:
    category = Category.objects.create(pk=1, name="home")
    for pk, name in enumerate(("lamp", "desk", "chair"), start=1):
        Product.objects.create(pk=pk, name=name, stock=pk, category=category)
    Review.objects.create(product_id=2, text="fine")
    Product.objects.get(pk=1).tags.add(Tag.objects.create(name="small"))
    Ticket.objects.create(pk=TICKET, subject="open")
    Country.objects.create(code="de", name="Germany")
    Place.objects.create(pk=5, name="square")
    Restaurant.objects.create(pk=1, name="Diner", seats=10)
    Stock.objects.create(place_id=1, product_id=1, count=7)
    Club.objects.create(pk=1, name="club").members.add(Person.objects.create(name="Ann"))
    # Takes back the marks that stand, whose end would drop what is to be found stale.
    process.close()


def stale() -> list[str]:
    return [
        f"{function.__name__}{arguments} is {had}, not {has}"
        for function, arguments in CALLS
        if (had := function(*arguments)) != (has := function.uncached(*arguments))
    ]


def warm() -> None:
    manage("relay", "--once")  # what filled the shop
    for _ in range(2):
        assert stale() == []
