"""What is in the tables of the matrix, and how it gets back there behind the cache's back."""

from __future__ import annotations

import contextlib
import datetime
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connection, models, transaction

from tests.matrix.models import (
    Author,
    Book,
    Chapter,
    Contribution,
    Copy,
    Country,
    Cover,
    Critic,
    Discount,
    Film,
    Genre,
    Holding,
    Loan,
    Medium,
    Offer,
    Publisher,
    Quote,
    Remark,
    Review,
    Series,
    Shelf,
    Ticket,
    Vendor,
)

BOOKS = 14
KEPT = "kept_"


def ticket(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


def book(pk: int | None, **more: Any) -> Book:
    """Make one that is like number 0 but for what is said."""
    given = {"isbn": f"isbn-{pk}", "title": f"Book {pk}", "publisher_id": 1, "pages": 100, **more}
    return Book(pk=pk, **given)


def fill() -> None:
    """Put the rows into empty tables."""
    Publisher.objects.bulk_create(
        Publisher(pk=pk, name=f"House {pk}", city=city, founded=1900 + 10 * pk, parent_id=parent)
        for pk, city, parent in ((1, "Wien", None), (2, "Graz", 1), (3, "Linz", 1), (4, "Graz", 2))
    )
    Author.objects.bulk_create(
        Author(
            pk=pk,
            name=f"Author {pk}",
            country="at" if pk % 2 else "de",
            born=None if pk == 6 else datetime.date(1950 + pk, 1, 1),
        )
        for pk in range(1, 8)
    )
    Author.objects.get(pk=1).friends.set([2, 3])
    Series.objects.bulk_create(Series(pk=pk, name=f"Series {pk}") for pk in range(1, 4))
    Genre.objects.bulk_create(
        Genre(pk=pk, name=name) for pk, name in enumerate(("crime", "poems", "travel", "war"), 1)
    )
    Book.objects.bulk_create(
        book(
            pk,
            publisher_id=1 + pk % 3,
            editor_id=None if pk % 4 == 0 else 1 + pk % 6,
            series_id=1 + pk % 3,
            price=Decimal(10 * pk) / 4,
            pages=100 + 10 * (pk % 5),
            rating=None if pk % 5 == 4 else pk % 5,
            published=datetime.date(2000 + pk, 1 + pk % 12, 1),
            in_print=pk % 3 != 0,
            data={"size": pk % 3},
        )
        for pk in range(1, BOOKS + 1)
    )
    for pk in range(1, BOOKS + 1):
        Book(pk=pk).genres.set([1 + pk % 3] if pk % 2 else [1 + pk % 3, 1 + (pk + 1) % 3])
    Contribution.objects.bulk_create(
        Contribution(pk=pk, book_id=pk, author_id=1 + pk % 5, role="author" if pk % 4 else "artist")
        for pk in range(1, BOOKS)
    )
    Chapter.objects.bulk_create(
        Chapter(pk=pk, book_id=1 + pk // 3, title=f"Chapter {pk}", number=1 + pk % 3)
        for pk in range(1, 25)
    )
    Cover.objects.bulk_create(
        Cover(pk=pk, book_id=pk, color="red" if pk % 2 else "blue") for pk in range(1, 9)
    )
    Critic.objects.bulk_create(Critic(pk=pk, name=f"Critic {pk}") for pk in range(1, 4))
    Review.objects.bulk_create(
        Review(pk=pk, book_id=1 + pk % 7, critic_id=1 + pk % 2, stars=1 + pk % 5)
        for pk in range(1, 16)
    )
    Loan.objects.bulk_create(Loan(pk=pk, book_id=4 + pk, reader=f"Reader {pk}") for pk in (1, 2))
    Shelf.objects.bulk_create(Shelf(pk=pk, name=f"Shelf {pk}") for pk in range(1, 4))
    Copy.objects.bulk_create(Copy(pk=pk, book_id=6 + pk, shelf_id=pk) for pk in (1, 2))
    types = ContentType.objects.get_for_models(Book, Author)
    Remark.objects.bulk_create(
        Remark(
            pk=pk,
            content_type=types[Author if pk % 3 == 0 else Book],
            object_id=1 + pk % 4,
            text=f"Remark {pk}",
        )
        for pk in range(1, 10)
    )
    for pk in range(1, 5):
        Film(pk=pk, name=f"Film {pk}", year=1990 + pk, minutes=60 + 10 * pk).save(force_insert=True)
    Medium.objects.bulk_create(
        Medium(pk=pk, name=f"Medium {pk}", year=1990 + pk) for pk in (11, 12)
    )
    Ticket.objects.bulk_create(
        Ticket(pk=ticket(pk), subject=f"Ticket {pk % 2}") for pk in range(1, 5)
    )
    Country.objects.bulk_create(Country(code=code, name=code.upper()) for code in ("at", "de"))
    Holding.objects.bulk_create(
        Holding(shelf_id=shelf, genre_id=genre, count=shelf * genre)
        for shelf in (1, 2)
        for genre in (1, 2, 3)
    )
    Vendor.objects.bulk_create(Vendor(pk=pk, name=f"Vendor {pk}") for pk in range(1, 4))
    Offer.objects.bulk_create(
        Offer(pk=pk, vendor_id=1 + pk % 3, price=10 * pk) for pk in range(1, 7)
    )
    Discount.objects.bulk_create(Discount(pk=pk, offer_id=pk, percent=5 * pk) for pk in range(1, 7))
    Quote.objects.bulk_create(
        Quote(pk=pk, vendor_id=1 + pk % 3, text=f"Quote {pk}") for pk in range(1, 5)
    )


Unseen = Callable[[], AbstractContextManager[Any]]
"""A block whose SQL the cache does not notice."""


def _models() -> list[type[models.Model]]:
    found = apps.get_app_config("matrix").get_models(include_auto_created=True)
    return [model for model in found if not model._meta.proxy]


def _columns(model: type[models.Model]) -> str:
    quote = connection.ops.quote_name
    return ", ".join(
        quote(field.column) for field in model._meta.local_concrete_fields if not field.generated
    )


def touch() -> None:
    """Save a row of each table as it is."""
    for model in _models():
        found = model._base_manager.order_by("pk").first()
        assert found is not None, f"{model} has no rows"
        found.save(force_update=True)


def keep(unseen: Unseen) -> None:
    """Remember the rows as they are."""
    with unseen(), connection.cursor() as cursor:
        for model in _models():
            table = model._meta.db_table
            cursor.execute(f"DROP TABLE IF EXISTS {KEPT}{table}")
            cursor.execute(f"CREATE TABLE {KEPT}{table} AS SELECT {_columns(model)} FROM {table}")
        _reset_sequences(cursor)


def forget(unseen: Unseen) -> None:
    """Empty the tables, and drop what was remembered."""
    with unseen(), transaction.atomic(), _unchecked() as cursor:
        for model in _models():
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
    with unseen(), connection.cursor() as cursor:
        for model in _models():
            cursor.execute(f"DROP TABLE IF EXISTS {KEPT}{model._meta.db_table}")


def restore(unseen: Unseen) -> None:
    """Bring back the rows, and the numbers of those that come next."""
    with unseen(), transaction.atomic(), _unchecked() as cursor:
        for model in _models():
            table = model._meta.db_table
            cursor.execute(f"DELETE FROM {table}")
            columns = _columns(model)
            cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {KEPT}{table}")
        _reset_sequences(cursor)


def _reset_sequences(cursor: Any) -> None:
    for sql in connection.ops.sequence_reset_sql(no_style(), _models()):
        cursor.execute(sql)


@contextlib.contextmanager
def _unchecked() -> Iterator[Any]:
    """Give a cursor to which foreign keys are nothing."""
    off, on = {
        "sqlite": ("PRAGMA defer_foreign_keys = ON", ""),
        "postgresql": ("SET session_replication_role = replica", "RESET session_replication_role"),
        "mysql": ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(off)
        yield cursor
        if on:
            cursor.execute(on)
