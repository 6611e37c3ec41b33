"""Every kind of write, each a function that is called on the rows as `rows` put them.

What raises because the database or Django refuses it is a write as well: it may change nothing.
"""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, migrations, models, router, transaction
from django.db.migrations.state import ProjectState
from django.db.models import Case, F, OuterRef, ProtectedError, RestrictedError, Subquery, When

from tests.matrix.models import (
    Author,
    Bestseller,
    Book,
    Chapter,
    Contribution,
    Copy,
    Country,
    Cover,
    Critic,
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
from tests.matrix.rows import book, ticket

EVERYWHERE = frozenset(["sqlite", "postgresql", "mysql"])


@dataclass(frozen=True)
class Write:
    name: str
    group: str
    run: Callable[[], Any]
    vendors: frozenset[str]
    commits: bool
    """It ends the transaction it is made in, or makes one of its own: only done in autocommit."""
    refused: tuple[type[Exception], ...]
    undo: Callable[[], Any] | None

    def __call__(self) -> None:
        if not self.refused:
            self.run()
            return
        try:
            self.run()
        except self.refused:
            return
        raise AssertionError(f"{self.name} was not refused")


WRITES: dict[str, Write] = {}
_group = ""

Run = Callable[[], Any]


def write(
    *vendors: str,
    commits: bool = False,
    refused: tuple[type[Exception], ...] = (),
    undo: Run | None = None,
) -> Callable[[Run], Run]:
    def register(function: Run) -> Run:
        name = function.__name__
        found = frozenset(vendors) or EVERYWHERE
        WRITES[name] = Write(name, _group, function, found, commits, refused, undo)
        return function

    return register


def available(vendor: str) -> list[Write]:
    return [each for each in WRITES.values() if vendor in each.vendors]


def execute(sql: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


# --- save
_group = "save"


@write()
def save_new() -> None:
    book(None, isbn="isbn-new", publisher_id=2, rating=3).save()


@write()
def save() -> None:
    found = Book.objects.get(pk=1)
    found.title = "changed"
    found.save()


@write()
def save_moving() -> None:
    """From the rows of some conditions to those of others."""
    found = Book.objects.get(pk=2)
    found.publisher_id, found.rating, found.editor_id = 1, 4, 2
    found.save()


@write()
def save_an_older_instance() -> None:
    found = Book.objects.get(pk=2)
    Book.objects.filter(pk=2).update(publisher=2, rating=1)
    found.title = "changed"
    found.save()


@write()
def save_a_part() -> None:
    found = Book.objects.only("title").get(pk=1)
    found.pages = 1000
    found.save()


@write()
def save_update_fields() -> None:
    found = Book.objects.get(pk=1)
    found.title, found.pages = "not stored", 1000
    found.save(update_fields=["pages"])


@write()
def save_expression() -> None:
    found = Book.objects.get(pk=1)
    found.pages = F("pages") + 30
    found.save()


@write()
def save_force_insert() -> None:
    book(900, rating=3).save(force_insert=True)


@write()
def save_force_update() -> None:
    found = Book.objects.get(pk=1)
    found.in_print = False
    found.save(force_update=True)


@write()
def save_under_another_key() -> None:
    found = Book.objects.get(pk=1)
    found.pk, found.isbn = 900, "isbn-new"
    found.save()


@write()
def save_to_null() -> None:
    found = Book.objects.get(pk=1)
    found.publisher = found.rating = found.editor = None
    found.save()


@write()
def save_of_a_decimal() -> None:
    found = Book.objects.get(pk=4)
    found.price = Decimal("2.499")
    found.save()


@write()
def save_of_a_date() -> None:
    found = Book.objects.get(pk=1)
    found.published = datetime.date(2011, 12, 1)
    found.save()


@write()
def save_of_the_other_tables() -> None:
    for found in (Publisher.objects.get(pk=1), Author.objects.get(pk=2), Critic.objects.get(pk=1)):
        found.name = "changed"
        found.save()


@write()
def save_keys_of_other_types() -> None:
    Ticket(pk=ticket(1), subject="Ticket 0").save(force_update=True)
    Country(code="at", name="Austria").save()
    Country(code="ch", name="Switzerland").save()


@write()
def save_a_key_of_two_columns() -> None:
    found = Holding.objects.get(pk=(1, 1))
    found.count = 50
    found.save()


@write()
def create() -> None:
    Chapter.objects.create(book_id=1, title="new", number=9)
    Review.objects.create(book_id=2, critic_id=1, stars=4)


@write()
def touch() -> None:
    """Change nothing."""
    Book.objects.get(pk=1).save()


# --- delete
_group = "delete"


@write()
def delete() -> None:
    Book.objects.get(pk=1).delete()


@write()
def delete_rows() -> None:
    Chapter.objects.filter(number=2, book__in=[1, 2, 3]).delete()


@write()
def delete_by_join() -> None:
    Review.objects.filter(critic__name="Critic 1", book__publisher__city="Graz").delete()


@write()
def delete_without_collecting() -> None:
    found = Chapter.objects.filter(book=1)
    found._raw_delete(found.db)


@write()
def delete_everything() -> None:
    Review.objects.all().delete()


# --- update
_group = "update"


@write()
def update_row() -> None:
    Book.objects.filter(pk=1).update(title="changed")


@write()
def update_expression() -> None:
    Book.objects.filter(publisher=2).update(pages=F("pages") + 30)


@write()
def update_by_join() -> None:
    Book.objects.filter(publisher__city="Graz").update(title="changed", rating=1)


@write()
def update_by_backward_join() -> None:
    Book.objects.filter(genres__name="crime").update(in_print=False)


@write()
def update_to_subquery() -> None:
    pages = Book.objects.filter(publisher=OuterRef("pk")).order_by("-pages").values("pages")[:1]
    Publisher.objects.filter(pk__lte=2).update(founded=Subquery(pages))


@write()
def update_case() -> None:
    rating = Case(When(pages__gt=120, then=1), default=F("rating"))
    Book.objects.filter(publisher=1).update(rating=rating)


@write()
def update_moving() -> None:
    Book.objects.filter(rating=2).update(publisher=3, rating=4)


@write()
def update_in_its_own_condition() -> None:
    Book.objects.filter(pages__range=(100, 120)).update(pages=F("pages") + 40)


@write()
def update_to_null() -> None:
    Book.objects.filter(publisher=1, editor=3).update(publisher=None, editor=None)


@write()
def update_from_null() -> None:
    Book.objects.filter(rating__isnull=True).update(rating=3)


@write()
def update_everything() -> None:
    Book.objects.update(series=2)


@write()
def update_primary_key() -> None:
    Book.objects.filter(pk=14).update(isbn="isbn-14b")
    Quote.objects.filter(pk=4).update(id=40)
    Country.objects.filter(pk="at").update(code="ch")


@write()
def update_no_row() -> None:
    Book.objects.filter(pk=777).update(title="changed")


@write()
def update_of_the_other_tables() -> None:
    Publisher.objects.filter(city="Graz").update(city="Wien")
    Author.objects.filter(country="de").update(name="changed")
    Offer.objects.filter(price__gte=40).update(vendor=1)


# --- many at once
_group = "many at once"


@write()
def bulk_create() -> None:
    Book.objects.bulk_create(
        [book(None, isbn="isbn-new", publisher_id=3), book(900, rating=3, editor_id=2)]
    )


@write()
def bulk_create_in_batches() -> None:
    Review.objects.bulk_create(
        [Review(book_id=2, critic_id=2, stars=stars) for stars in (1, 2, 4)], batch_size=2
    )


@write()
def bulk_create_ignoring_conflicts() -> None:
    new = [book(None, isbn="isbn-2"), book(None, isbn="isbn-new", publisher_id=2)]
    Book.objects.bulk_create(new, ignore_conflicts=True)


def _upsert(rows: list[Any], fields: list[str], unique: list[str]) -> None:
    # MySQL takes any unique column.
    known = connection.features.supports_update_conflicts_with_target
    type(rows[0]).objects.bulk_create(
        rows,
        update_conflicts=True,
        update_fields=fields,
        unique_fields=unique if known else None,
    )


@write()
def bulk_create_updating_conflicts() -> None:
    rows = [
        book(None, isbn="isbn-2", title="changed", publisher_id=1),
        book(None, isbn="isbn-new", title="changed", publisher_id=1),
    ]
    _upsert(rows, ["title", "publisher"], ["isbn"])


@write()
def bulk_create_updating_rows() -> None:
    rows = [
        book(2, title="changed", rating=4, publisher_id=2, isbn="isbn-2"),
        book(900, isbn="isbn-new", title="changed", rating=4),
    ]
    _upsert(rows, ["title", "rating", "publisher"], ["id"])


@write()
def bulk_update() -> None:
    found = list(Book.objects.filter(pk__in=[1, 2]))
    for each in found:
        each.publisher_id, each.rating = 3, 3
    Book.objects.bulk_update(found, ["publisher", "rating"])


@write()
def get_or_create() -> None:
    Genre.objects.get_or_create(name="crime")
    Genre.objects.get_or_create(name="new")
    Book.objects.get_or_create(isbn="isbn-new", defaults={"title": "changed", "publisher_id": 1})


@write()
def update_or_create() -> None:
    Book.objects.update_or_create(isbn="isbn-2", defaults={"rating": 4, "publisher_id": 3})
    Book.objects.update_or_create(isbn="isbn-new", defaults={"title": "changed"})


# --- relations
_group = "relations"


@write()
def many_to_many_add() -> None:
    Book.objects.get(pk=1).genres.add(1, Genre.objects.get(pk=4))


@write()
def many_to_many_add_from_the_other_side() -> None:
    Genre.objects.get(pk=4).books.add(1, 2)


@write()
def many_to_many_remove() -> None:
    Book.objects.get(pk=2).genres.remove(3)


@write()
def many_to_many_remove_from_the_other_side() -> None:
    Genre.objects.get(pk=1).books.remove(*Book.objects.filter(publisher=1))


@write()
def many_to_many_set() -> None:
    Book.objects.get(pk=1).genres.set([1, 4])


@write()
def many_to_many_set_from_the_other_side() -> None:
    Genre.objects.get(pk=4).books.set([1, 9])


@write()
def many_to_many_clear() -> None:
    Book.objects.get(pk=2).genres.clear()


@write()
def many_to_many_clear_from_the_other_side() -> None:
    Genre.objects.get(pk=1).books.clear()


@write()
def many_to_many_create() -> None:
    Book.objects.get(pk=1).genres.create(name="new")


@write()
def many_to_many_with_oneself() -> None:
    author = Author.objects.get(pk=1)
    author.friends.add(4)
    author.friends.remove(2)


@write()
def through_create() -> None:
    Contribution.objects.create(book_id=1, author_id=5, role="artist")


@write()
def through_add() -> None:
    Book.objects.get(pk=1).contributors.add(6, through_defaults={"role": "artist"})


@write()
def through_update() -> None:
    Contribution.objects.filter(role="artist", book__lt=8).update(role="author", author=2)


@write()
def through_delete() -> None:
    Contribution.objects.filter(book=1).delete()
    Book.objects.get(pk=2).contributors.clear()


@write()
def reverse_add() -> None:
    Publisher.objects.get(pk=1).books.add(*Book.objects.filter(pk__in=[1, 2]))


@write()
def reverse_add_one_by_one() -> None:
    Publisher.objects.get(pk=1).books.add(*Book.objects.filter(pk__in=[1, 2]), bulk=False)


@write()
def reverse_remove() -> None:
    Author.objects.get(pk=2).edited.remove(Book.objects.get(pk=1))


@write()
def reverse_set() -> None:
    Author.objects.get(pk=2).edited.set(Book.objects.filter(pk__in=[2, 3]))


@write()
def reverse_clear() -> None:
    Publisher.objects.get(pk=2).books.clear()


@write()
def reverse_create() -> None:
    Publisher.objects.get(pk=4).books.create(isbn="isbn-new", title="changed")


@write()
def one_to_one() -> None:
    cover = Cover.objects.get(book=7)
    cover.book_id = 9
    cover.save()


@write()
def generic_add() -> None:
    Book.objects.get(pk=1).remarks.add(Remark.objects.get(text="Remark 1"))


@write()
def generic_create() -> None:
    Book.objects.get(pk=1).remarks.create(text="new")


@write()
def generic_remove() -> None:
    Book.objects.get(pk=2).remarks.remove(Remark.objects.get(text="Remark 1"))


@write()
def generic_set() -> None:
    Book.objects.get(pk=1).remarks.set(Remark.objects.filter(pk__in=[1, 3]))


@write()
def generic_clear() -> None:
    Book.objects.get(pk=1).remarks.clear()


@write()
def generic_move() -> None:
    remark = Remark.objects.get(pk=1)
    remark.target = Author.objects.get(pk=1)
    remark.save()


# --- cascades
_group = "cascades"


@write()
def cascade() -> None:
    Copy.objects.all().delete()
    Loan.objects.all().delete()
    Publisher.objects.get(pk=2).delete()


@write()
def cascade_of_rows() -> None:
    Book.objects.filter(rating=1, pk__lt=3).delete()


@write()
def cascade_to_null() -> None:
    Author.objects.get(pk=2).delete()


@write()
def cascade_to_null_of_oneself() -> None:
    Copy.objects.all().delete()
    Loan.objects.all().delete()
    Publisher.objects.filter(pk=1).delete()


@write()
def cascade_to_default() -> None:
    Series.objects.get(pk=2).delete()


@write()
def cascade_to_a_value() -> None:
    Critic.objects.get(pk=1).delete()


@write(refused=(RestrictedError,))
def cascade_restricted() -> None:
    Book.objects.get(pk=7).delete()


@write(refused=(ProtectedError,))
def cascade_protected() -> None:
    Book.objects.get(pk=5).delete()


@write()
def cascade_of_the_restricted() -> None:
    Shelf.objects.get(pk=1).delete()


@write()
def cascade_generic() -> None:
    Author.objects.filter(pk__in=[1, 4]).delete()


@write()
def database_cascade() -> None:
    Vendor.objects.get(pk=1).delete()


@write()
def database_cascade_of_rows() -> None:
    Vendor.objects.filter(name__in=["Vendor 2", "Vendor 3"]).delete()


# --- inheritance
_group = "inheritance"


@write()
def child_create() -> None:
    Film.objects.create(name="new", year=1991, minutes=90)


@write()
def child_save() -> None:
    film = Film.objects.get(pk=1)
    film.year, film.minutes = 1994, 95
    film.save()


@write()
def child_save_parents_field() -> None:
    film = Film.objects.get(pk=1)
    film.year = 1994
    film.save(update_fields=["year"])


@write()
def child_update() -> None:
    Film.objects.filter(minutes__gte=90).update(year=1991)


@write()
def child_update_both() -> None:
    Film.objects.filter(year=1991).update(name="changed", minutes=90)


@write()
def child_delete() -> None:
    Film.objects.get(pk=1).delete()


@write()
def child_delete_alone() -> None:
    Film.objects.get(pk=1).delete(keep_parents=True)


@write()
def parent_save() -> None:
    medium = Medium.objects.get(pk=1)
    medium.name, medium.year = "changed", 1994
    medium.save()


@write()
def parent_update() -> None:
    Medium.objects.filter(year=1991).update(year=1994)


@write()
def parent_delete() -> None:
    Medium.objects.get(pk=1).delete()


@write()
def child_of_a_parent() -> None:
    film = Film(medium_ptr_id=11, minutes=90)
    film.save_base(raw=True)


@write()
def proxy_save() -> None:
    found = Bestseller.objects.get(pk=1)
    found.rating = 4
    found.save()


@write()
def proxy_update() -> None:
    Bestseller.objects.filter(publisher=1).update(rating=4)


@write()
def proxy_delete() -> None:
    Bestseller.objects.get(pk=2).delete()


# --- SQL by hand
_group = "SQL by hand"


@write()
def sql_update() -> None:
    execute("UPDATE matrix_book SET title = %s WHERE publisher_id = %s", ["changed", 2])


@write()
def sql_delete() -> None:
    execute("DELETE FROM matrix_chapter WHERE book_id = 1")


@write()
def sql_insert() -> None:
    execute("INSERT INTO matrix_review (book_id, critic_id, stars) VALUES (1, 1, 5), (2, 2, 5)")


@write()
def sql_insert_from_select() -> None:
    execute(
        "INSERT INTO matrix_review (book_id, critic_id, stars)"
        " SELECT id, 1, 4 FROM matrix_book WHERE rating = 1"
    )


@write()
def sql_many() -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE matrix_book SET publisher_id = %s WHERE id = %s", [(1, 2), (3, 1), (2, 9)]
        )


@write("postgresql", "sqlite")
def sql_update_from() -> None:
    execute(
        "UPDATE matrix_book SET title = p.name FROM matrix_publisher p"
        " WHERE p.id = publisher_id AND p.city = 'Graz'"
    )


@write("mysql")
def sql_update_joined() -> None:
    execute(
        "UPDATE matrix_book b JOIN matrix_publisher p ON p.id = b.publisher_id"
        " SET b.title = p.name, p.city = 'Wien' WHERE p.city = 'Graz'"
    )


@write("mysql")
def sql_delete_joined() -> None:
    execute(
        "DELETE c, r FROM matrix_chapter c JOIN matrix_review r ON r.book_id = c.book_id"
        " WHERE c.book_id = 2"
    )


@write("postgresql")
def sql_delete_using() -> None:
    execute("DELETE FROM matrix_chapter c USING matrix_book b WHERE b.id = c.book_id AND b.id = 1")


@write("postgresql")
def sql_merge() -> None:
    execute(
        "MERGE INTO matrix_book b USING matrix_publisher p ON p.id = b.publisher_id"
        " WHEN MATCHED AND p.id < 3 THEN UPDATE SET title = p.name, rating = 1"
    )


@write("postgresql")
def sql_cte_that_writes() -> None:
    execute(
        "WITH moved AS (UPDATE matrix_book SET publisher_id = 4 WHERE rating = 1 RETURNING id),"
        " gone AS (DELETE FROM matrix_chapter WHERE book_id IN (SELECT id FROM matrix_book"
        " WHERE rating = 1) RETURNING id)"
        " SELECT COUNT(*) FROM moved"
    )


@write("postgresql", "sqlite")
def sql_update_by_cte() -> None:
    execute(
        "WITH long_ones AS (SELECT id FROM matrix_book WHERE pages > 120)"
        " UPDATE matrix_book SET rating = 1 WHERE id IN (SELECT id FROM long_ones)"
    )


@write("postgresql", "sqlite")
def sql_upsert() -> None:
    execute(
        "INSERT INTO matrix_genre (id, name) VALUES (1, 'new'), (9, 'more')"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name"
    )


@write("mysql")
def sql_upsert_duplicate_key() -> None:
    execute(
        "INSERT INTO matrix_genre (id, name) VALUES (1, 'new'), (9, 'more')"
        " ON DUPLICATE KEY UPDATE name = VALUES(name)"
    )


@write("sqlite", "mysql")
def sql_replace() -> None:
    execute("REPLACE INTO matrix_shelf (id, name) VALUES (3, 'new'), (9, 'more')")


@write("postgresql", "sqlite")
def sql_returning() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE matrix_book SET rating = 3 WHERE id < 4 RETURNING id")
        cursor.fetchall()


@write("postgresql")
def sql_truncate() -> None:
    execute("TRUNCATE matrix_review")


@write("mysql", commits=True)
def sql_truncate_that_commits() -> None:
    execute("TRUNCATE TABLE matrix_review")


@write("postgresql")
def sql_truncate_cascade() -> None:
    execute("TRUNCATE matrix_critic RESTART IDENTITY CASCADE")


@write("postgresql")
def sql_copy() -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY matrix_review (book_id, critic_id, stars) FROM STDIN") as copy,
    ):
        copy.write_row((1, 1, 5))
        copy.write_row((2, 2, 5))


@write("postgresql")
def sql_several_statements() -> None:
    execute(
        "UPDATE matrix_book SET rating = 1 WHERE id = 2;"
        " DELETE FROM matrix_chapter WHERE book_id = 1"
    )


@write("sqlite", commits=True)
def sql_script() -> None:
    with connection.cursor() as cursor:
        cursor.executescript(
            "UPDATE matrix_book SET rating = 1 WHERE id = 2;"
            " DELETE FROM matrix_chapter WHERE book_id = 1;"
        )


@write("postgresql", commits=True)
def sql_transaction() -> None:
    execute("BEGIN; UPDATE matrix_book SET rating = 1 WHERE id = 2; COMMIT")


@write("sqlite", "mysql", commits=True)
def sql_transaction_by_statements() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE matrix_book SET rating = 1 WHERE id = 2")
        cursor.execute("COMMIT")


@write("postgresql")
def sql_do() -> None:
    execute("DO $$ BEGIN UPDATE matrix_book SET rating = 1 WHERE id = 2; END $$")


@write()
def sql_database_cascade() -> None:
    """Where the tables do not cascade, it is refused as long as there are offers."""
    if django.VERSION < (6, 1):
        execute("UPDATE matrix_vendor SET name = 'changed' WHERE id = 1")
    else:
        execute("DELETE FROM matrix_vendor WHERE id = 1")


# --- tools
_group = "tools"


@write()
def loaddata() -> None:
    rows = [
        {"model": "matrix.genre", "pk": 1, "fields": {"name": "loaded"}},
        {"model": "matrix.chapter", "fields": {"book": 1, "title": "loaded", "number": 9}},
        {
            "model": "matrix.contribution",
            "pk": 1,
            "fields": {"book": 2, "author": 5, "role": "artist"},
        },
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        path.write_text(json.dumps(rows))
        call_command("loaddata", str(path), verbosity=0)


def _migrate(*operations: Any) -> None:
    before = ProjectState.from_apps(apps)
    with connection.schema_editor(atomic=connection.vendor != "sqlite") as editor:
        for operation in operations:
            after = before.clone()
            operation.state_forwards("matrix", after)
            operation.database_forwards("matrix", editor, before, after)
            before = after


def _data_migration(found: Any, editor: Any) -> None:
    model = found.get_model("matrix", "Book")
    model.objects.using(editor.connection.alias).filter(publisher=2).update(title="changed")
    migrated = model.objects.get(pk=1)
    migrated.rating = 4
    migrated.save()


@write(commits=True)
def migration_of_data() -> None:
    _migrate(migrations.RunPython(_data_migration))


@write(commits=True)
def migration_by_sql() -> None:
    _migrate(migrations.RunSQL("UPDATE matrix_book SET rating = 4 WHERE id < 3"))


@write(commits=True)
def migration_of_the_schema() -> None:
    """Add a column and fill another by its default, which the schema editor does by itself."""
    column = models.IntegerField(default=3)
    _migrate(
        migrations.AddField("chapter", "weight", column),
        migrations.RemoveField("chapter", "weight"),
        migrations.RunSQL("DELETE FROM matrix_chapter WHERE book_id = 1"),
    )


@write()
def of_another_alias() -> None:
    Book.objects.using(router.db_for_write(Book)).filter(pk=1).update(title="changed")


# --- asynchronous
_group = "asynchronous"


@write()
def asave() -> None:
    async def run() -> None:
        found = await Book.objects.aget(pk=1)
        found.publisher_id = 3
        await found.asave()

    async_to_sync(run)()


@write()
def adelete() -> None:
    async def run() -> None:
        await (await Chapter.objects.aget(pk=1)).adelete()
        await Review.objects.filter(book=2).adelete()

    async_to_sync(run)()


@write()
def aupdate() -> None:
    async def run() -> None:
        await Book.objects.filter(publisher=2).aupdate(rating=1)
        await Book.objects.aupdate_or_create(isbn="isbn-1", defaults={"rating": 4})

    async_to_sync(run)()


@write()
def acreate() -> None:
    async def run() -> None:
        await Chapter.objects.acreate(book_id=2, title="new", number=9)
        await Book.objects.abulk_create([book(900, isbn="isbn-new", publisher_id=2)])
        await Genre.objects.aget_or_create(name="new")

    async_to_sync(run)()


@write()
def abulk_update() -> None:
    async def run() -> None:
        found = [each async for each in Book.objects.filter(publisher=1)]
        for each in found:
            each.rating = 1
        await Book.objects.abulk_update(found, ["rating"])

    async_to_sync(run)()


@write()
def arelations() -> None:
    ContentType.objects.get_for_model(Book)  # a loop's thread may not ask for it

    async def run() -> None:
        first = await Book.objects.aget(pk=1)
        await first.genres.aadd(4)
        await first.remarks.acreate(text="new")
        await (await Genre.objects.aget(pk=1)).books.aset([1])
        await (await Publisher.objects.aget(pk=2)).books.aclear()

    async_to_sync(run)()


# --- in blocks
_group = "in blocks"


@write()
def under_a_lock() -> None:
    with transaction.atomic():
        found = Book.objects.select_for_update().get(pk=1)
        found.pages += 20
        found.save()


@write()
def in_a_savepoint() -> None:
    with transaction.atomic():
        Book.objects.filter(pk=1).update(rating=4)
        with transaction.atomic():
            Chapter.objects.filter(book=1).delete()


class _Undone(Exception):
    pass


@write(refused=(_Undone,))
def rolled_back() -> None:
    with transaction.atomic():
        Book.objects.filter(pk=1).update(title="changed")
        raise _Undone


@write()
def beside_a_rolled_back_savepoint() -> None:
    with transaction.atomic():
        Book.objects.filter(pk=1).update(rating=4)
        try:
            with transaction.atomic():
                Book.objects.filter(pk=2).update(title="changed")
                raise _Undone
        except _Undone:
            pass


@write()
def once_committed() -> None:
    def more() -> None:
        Book.objects.filter(pk=2).update(rating=4)

    with transaction.atomic():
        Book.objects.filter(pk=1).update(title="changed")
        transaction.on_commit(more)
