"""Every shape of query, with arguments of which a write concerns some and others not.

A shape gives plain values, so that two answers can be compared. None depends on an order that the
database chooses.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connection
from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    F,
    FilteredRelation,
    Max,
    Min,
    Model,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import Lower, Rank, RowNumber, TruncYear, Upper

from tests.matrix.models import (
    Author,
    Bestseller,
    Book,
    Chapter,
    Contribution,
    Country,
    Cover,
    Critic,
    Discount,
    Film,
    Genre,
    Holding,
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
from tests.matrix.rows import ticket

SHAPES: dict[str, Callable[[Any], Any]] = {}
CELLS: list[tuple[str, Any]] = []
"""(shape, argument) of every entry."""


Shape = Callable[[Any], Any]


def shape(*arguments: Any) -> Callable[[Shape], Shape]:
    def register(function: Shape) -> Shape:
        SHAPES[function.__name__] = function
        CELLS.extend((function.__name__, argument) for argument in arguments or (None,))
        return function

    return register


def answer(name: str, argument: Any) -> Any:
    return SHAPES[name](argument)


def fields(found: Model | None) -> Any:
    """Give what an instance has loaded."""
    if found is None:
        return None
    return sorted((name, value) for name, value in vars(found).items() if name[0] != "_")


def rows(found: Iterable[Any]) -> list[Any]:
    return [fields(each) if isinstance(each, Model) else each for each in found]


def pks(found: QuerySet[Any]) -> list[Any]:
    return list(found.order_by("pk").values_list("pk", flat=True).distinct())


# --- one row


@shape(1, 2, 5, 8, 12, 14, 900)
def by_pk(pk: int) -> Any:
    return fields(Book.objects.filter(pk=pk).first())


@shape(1, 2, 9, 12)
def get(pk: int) -> Any:
    try:
        return fields(Book.objects.get(pk=pk))
    except Book.DoesNotExist:
        return "none"


@shape("isbn-1", "isbn-2", "isbn-9", "isbn-new")
def by_unique(isbn: str) -> Any:
    return fields(Book.objects.filter(isbn=isbn).first())


@shape((1, 2), (9, 10), (12, 900))
def in_bulk(wanted: list[int]) -> Any:
    return sorted((pk, fields(each)) for pk, each in Book.objects.in_bulk(wanted).items())


@shape(1, 2, 9)
def exists_by_pk(pk: int) -> Any:
    return Book.objects.filter(pk=pk).exists()


@shape(1, 3)
def by_uuid(number: int) -> Any:
    return fields(Ticket.objects.filter(pk=ticket(number)).first())


@shape("at", "de", "ch")
def by_text_key(code: str) -> Any:
    return fields(Country.objects.filter(pk=code).first())


@shape((1, 1), (2, 3))
def by_two_columns(key: tuple[int, int]) -> Any:
    return fields(Holding.objects.filter(pk=tuple(key)).first())


@shape(1, 2, 4)
def child_row(pk: int) -> Any:
    return fields(Film.objects.filter(pk=pk).first())


@shape(1, 2, 11)
def parent_row(pk: int) -> Any:
    return fields(Medium.objects.filter(pk=pk).first())


@shape(1, 4)
def parent_to_child(pk: int) -> Any:
    return fields(Medium.objects.select_related("film").filter(film__pk=pk).first())


@shape(1, 2, 8)
def proxy_row(pk: int) -> Any:
    return fields(Bestseller.objects.filter(pk=pk).first())


@shape(1, 2, 3)
def publisher_row(pk: int) -> Any:
    return fields(Publisher.objects.filter(pk=pk).first())


@shape(1, 2, 3)
def author_row(pk: int) -> Any:
    return fields(Author.objects.filter(pk=pk).first())


@shape(1, 2, 3)
def critic_row(pk: int) -> Any:
    return fields(Critic.objects.filter(pk=pk).first())


@shape(1, 7)
def cover_of(pk: int) -> Any:
    return fields(Cover.objects.filter(book=pk).first())


@shape(1, 2)
def vendor_row(pk: int) -> Any:
    return fields(Vendor.objects.filter(pk=pk).first())


# --- equalities


@shape(1, 2, 3, 4, None)
def by_foreign_key(pk: int | None) -> Any:
    return rows(Book.objects.filter(publisher=pk).order_by("pk"))


@shape(1, 2, 3)
def by_editor(pk: int) -> Any:
    return rows(Book.objects.filter(editor_id=pk).order_by("pk"))


@shape(1, 2, 3)
def by_series(pk: int) -> Any:
    return pks(Book.objects.filter(series_id=pk))


@shape((1, 1), (2, 2), (3, 4))
def by_two_equalities(both: tuple[int, int]) -> Any:
    return rows(Book.objects.filter(publisher=both[0], rating=both[1]).order_by("pk"))


@shape(True, False)
def by_boolean(value: bool) -> Any:
    return pks(Book.objects.filter(in_print=value))


@shape(1, 2, 3)
def by_rating(value: int) -> Any:
    return rows(Book.objects.filter(rating=value).order_by("pk"))


@shape("2.50", "10.00", "35.00")
def by_decimal(value: str) -> Any:
    return pks(Book.objects.filter(price=value))


@shape(2002, 2011)
def by_date(year: int) -> Any:
    return pks(Book.objects.filter(published=datetime.date(year, 1 + (year - 2000) % 12, 1)))


@shape("Book 1", "Book 2", "Book 9", "changed")
def by_text(title: str) -> Any:
    return rows(Book.objects.filter(title=title).order_by("pk"))


@shape(200, 220, 280, 2000)
def by_generated(value: int) -> Any:
    return pks(Book.objects.filter(twice=value))


@shape("Wien", "Graz", "Linz")
def by_city(city: str) -> Any:
    return rows(Publisher.objects.filter(city=city).order_by("pk"))


@shape(1, 2, 6)
def chapters_of(pk: int) -> Any:
    return rows(Chapter.objects.filter(book=pk).order_by("number", "pk"))


@shape(1, 2, 7)
def reviews_of(pk: int) -> Any:
    return rows(Review.objects.filter(book=pk).order_by("pk"))


@shape(1, 2)
def reviews_by(pk: int) -> Any:
    return pks(Review.objects.filter(critic=pk))


@shape(1, 2, 3)
def offers_of(pk: int) -> Any:
    return rows(Offer.objects.filter(vendor=pk).order_by("pk"))


@shape(1, None)
def quotes_of(pk: int | None) -> Any:
    return rows(Quote.objects.filter(vendor=pk).order_by("pk"))


@shape(1, 2, 9)
def contributions_to(pk: int) -> Any:
    return rows(Contribution.objects.filter(book=pk).order_by("pk"))


@shape("Ticket 0", "Ticket 1")
def tickets_about(subject: str) -> Any:
    return pks(Ticket.objects.filter(subject=subject))


# --- other conditions


@shape((0, 1), (2, 3), (4, 9))
def by_range(ends: tuple[int, int]) -> Any:
    return pks(Book.objects.filter(rating__range=tuple(ends)))


@shape(105, 135, 1000)
def by_comparison(pages: int) -> Any:
    return pks(Book.objects.filter(pages__gt=pages))


@shape((1, 3), (2, 1))
def either(both: tuple[int, int]) -> Any:
    return pks(Book.objects.filter(Q(publisher=both[0]) | Q(rating=both[1])))


@shape((1, 2), (13, 14))
def either_row(both: tuple[int, int]) -> Any:
    return rows(Book.objects.filter(Q(pk=both[0]) | Q(pk=both[1])).order_by("pk"))


@shape((1, 3), (2, 1))
def either_or_range(both: tuple[int, int]) -> Any:
    return pks(Book.objects.filter(Q(publisher=both[0], pages__gt=110) | Q(publisher=both[1])))


@shape(1, 2)
def negated(pk: int) -> Any:
    return pks(Book.objects.filter(~Q(publisher=pk), rating=2))


@shape(1, 3)
def excluded(rating: int) -> Any:
    return pks(Book.objects.exclude(rating=rating))


@shape((1, 3), (2, 2))
def excluded_within(both: tuple[int, int]) -> Any:
    return pks(Book.objects.filter(publisher=both[0]).exclude(rating=both[1]))


@shape((1, 2), (3, 4))
def by_list(ratings: list[int]) -> Any:
    return pks(Book.objects.filter(rating__in=ratings))


@shape((1, 4), (2, 3))
def by_list_of_keys(publishers: list[int]) -> Any:
    return pks(Book.objects.filter(publisher__in=publishers))


@shape(True, False)
def by_null(value: bool) -> Any:
    return pks(Book.objects.filter(rating__isnull=value))


@shape("BOOK 1", "book 9")
def ignoring_case(title: str) -> Any:
    return pks(Book.objects.filter(title__iexact=title))


@shape("ook 1", "chang")
def containing(part: str) -> Any:
    return pks(Book.objects.filter(title__contains=part))


@shape(0, 2)
def by_json(size: int) -> Any:
    return pks(Book.objects.filter(data__size=size))


@shape(2003, 2012)
def by_year(year: int) -> Any:
    return pks(Book.objects.filter(published__year=year))


@shape()
def by_column(_: None) -> Any:
    return pks(Book.objects.filter(pages__gt=F("price") * 5))


# --- joins


@shape("Wien", "Graz")
def forwards(city: str) -> Any:
    return rows(Book.objects.filter(publisher__city=city).order_by("pk"))


@shape("House 1", "House 2")
def forwards_twice(name: str) -> Any:
    return pks(Chapter.objects.filter(book__publisher__name=name))


@shape((1, 1), (2, 3))
def forwards_and_own(both: tuple[int, int]) -> Any:
    return pks(Book.objects.filter(publisher=both[0], editor__pk=both[1]))


@shape(1, 3)
def by_row_of_other(pk: int) -> Any:
    return rows(Chapter.objects.filter(book__pk=pk, book__in_print=True).order_by("pk"))


@shape(1, 4)
def backwards(stars: int) -> Any:
    return pks(Book.objects.filter(reviews__stars=stars))


@shape(True, False)
def without_partner(value: bool) -> Any:
    return pks(Book.objects.filter(cover__isnull=value))


@shape("crime", "travel", "war")
def by_many_to_many(name: str) -> Any:
    return pks(Book.objects.filter(genres__name=name))


@shape(1, 4)
def by_many_to_many_key(pk: int) -> Any:
    return pks(Book.objects.filter(genres=pk))


@shape(1, 3)
def excluding_many_to_many(pk: int) -> Any:
    return pks(Book.objects.exclude(genres=pk))


@shape(1, 2, 9)
def genres_of(pk: int) -> Any:
    return rows(Book(pk=pk).genres.order_by("pk"))


@shape(1, 4)
def books_in(pk: int) -> Any:
    return pks(Genre(pk=pk).books.all())


@shape(1, 4)
def friends_of(pk: int) -> Any:
    return pks(Author(pk=pk).friends.all())


@shape("author", "artist")
def through_model(role: str) -> Any:
    return pks(Author.objects.filter(contribution__role=role))


@shape(1, 2)
def contributors_of(pk: int) -> Any:
    return pks(Book(pk=pk).contributors.all())


@shape(1, 2)
def generic(pk: int) -> Any:
    return rows(Book(pk=pk).remarks.order_by("pk"))


@shape("Remark 1", "Remark 3")
def by_generic(text: str) -> Any:
    return pks(Book.objects.filter(remarks__text=text))


@shape()
def generic_targets(_: None) -> Any:
    found = Remark.objects.prefetch_related("target").order_by("pk")
    return [(remark.text, fields(remark.target)) for remark in found]


@shape(1, 2)
def self_join(pk: int) -> Any:
    return pks(Publisher.objects.filter(parent__pk=pk))


@shape(90, 1993)
def by_parent_and_child(value: int) -> Any:
    return pks(Film.objects.filter(Q(minutes=value) | Q(year=value)))


@shape(1991, 1994)
def by_parents_field(year: int) -> Any:
    return rows(Film.objects.filter(year=year).order_by("pk"))


@shape(2)
def filtered_relation(stars: int) -> Any:
    good = FilteredRelation("reviews", condition=Q(reviews__stars__gte=stars))
    found = Book.objects.annotate(good=good).filter(good__isnull=False)
    return pks(found)


# --- subqueries and annotations


@shape(1, 5)
def with_exists(stars: int) -> Any:
    reviews = Review.objects.filter(book=OuterRef("pk"), stars=stars)
    return pks(Book.objects.filter(Exists(reviews)))


@shape(1)
def without_exists(number: int) -> Any:
    return pks(Book.objects.filter(~Exists(Chapter.objects.filter(book=OuterRef("pk")))))


@shape(1, 3)
def with_subquery(pk: int) -> Any:
    last = Review.objects.filter(book=OuterRef("pk")).order_by("-pk").values("stars")[:1]
    found = Book.objects.filter(publisher=pk).annotate(last=Subquery(last))
    return list(found.order_by("pk").values_list("pk", "last"))


@shape("Graz", "Wien")
def in_subquery(city: str) -> Any:
    return pks(Book.objects.filter(publisher__in=Publisher.objects.filter(city=city)))


@shape(1, 2)
def counting(pk: int) -> Any:
    found = Publisher.objects.filter(pk=pk).annotate(n=Count("books"))
    return list(found.values_list("pk", "n"))


@shape(1)
def grouped(least: int) -> Any:
    found = Book.objects.values("publisher").annotate(n=Count("pk")).filter(n__gt=least)
    return list(found.order_by("publisher"))


@shape()
def cases(_: None) -> Any:
    kind = Case(When(rating__gte=3, then=Value("good")), default=Value("bad"))
    return list(Book.objects.annotate(kind=kind).order_by("pk").values_list("pk", "kind"))


@shape("BOOK 1", "CHANGED")
def by_annotation(title: str) -> Any:
    return pks(Book.objects.annotate(up=Upper("title")).filter(up=title))


@shape()
def windows(_: None) -> Any:
    rank = Window(Rank(), partition_by="publisher", order_by=F("pages").desc())
    number = Window(RowNumber(), order_by="pk")
    found = Book.objects.annotate(rank=rank, number=number)
    return list(found.order_by("pk").values_list("pk", "rank", "number"))


@shape(1)
def by_window(rank: int) -> Any:
    ranked = Window(RowNumber(), partition_by="publisher", order_by=("-pages", "pk"))
    return pks(Book.objects.annotate(rank=ranked).filter(rank=rank))


@shape(1, 2)
def aggregated(pk: int) -> Any:
    found = Book.objects.filter(publisher=pk).aggregate(
        Sum("pages"), Max("rating"), Min("price"), n=Count("pk")
    )
    return sorted(found.items())


@shape()
def aggregated_join(_: None) -> Any:
    found = Publisher.objects.aggregate(pages=Sum("books__pages"), years=Avg("founded"))
    return [(name, float(value or 0)) for name, value in sorted(found.items())]


@shape(2)
def aggregated_subquery(size: int) -> Any:
    return sorted(Book.objects.order_by("-pages", "pk")[:size].aggregate(Sum("pages")).items())


@shape(1, 2, 3)
def count(pk: int) -> Any:
    return Book.objects.filter(publisher=pk).count()


@shape()
def count_all(_: None) -> Any:
    return Book.objects.count()


@shape(3, 9)
def exists(rating: int) -> Any:
    return Book.objects.filter(rating=rating).exists()


# --- what is taken of the rows


@shape(1, 2)
def values(pk: int) -> Any:
    return list(Book.objects.filter(publisher=pk).order_by("pk").values("title", "pages"))


@shape(1, 2)
def values_of_related(pk: int) -> Any:
    found = Book.objects.filter(editor=pk).order_by("pk")
    return list(found.values_list("pk", "editor__name", "publisher__city"))


@shape(1, 2)
def distinct(pk: int) -> Any:
    found = Book.objects.filter(publisher=pk).values_list("pages", flat=True)
    return list(found.distinct().order_by("pages"))


@shape(1, 3)
def ordered_by_related(pk: int) -> Any:
    found = Book.objects.filter(series=pk).order_by("publisher__name", "editor__name", "pk")
    return list(found.values_list("pk", flat=True))


@shape(2, 5)
def sliced(size: int) -> Any:
    return rows(Book.objects.order_by("-pages", "pk")[1:size])


@shape(1, 3)
def sliced_condition(pk: int) -> Any:
    return rows(Book.objects.filter(publisher=pk).order_by("-pages", "pk")[:2])


@shape((1, 2), (2, 3))
def union(both: tuple[int, int]) -> Any:
    first, second = (Book.objects.filter(publisher=pk).values_list("pk") for pk in both)
    return list(first.union(second).order_by("pk"))


@shape((1, 2), (3, 1))
def intersection(both: tuple[int, int]) -> Any:
    first = Book.objects.filter(publisher=both[0]).values_list("pk")
    return sorted(first.intersection(Book.objects.filter(rating=both[1]).values_list("pk")))


@shape((1, 2), (3, 1))
def difference(both: tuple[int, int]) -> Any:
    first = Book.objects.filter(publisher=both[0]).values_list("pk")
    return sorted(first.difference(Book.objects.filter(rating=both[1]).values_list("pk")))


@shape(1, 2, 9)
def joined_rows(pk: int) -> Any:
    found = Book.objects.select_related("publisher", "editor", "cover").filter(pk=pk)
    return [
        (
            fields(each),
            fields(each.publisher),
            fields(each.editor),
            fields(getattr(each, "cover", None)),
        )
        for each in found
    ]


@shape(1, 3)
def prefetched(pk: int) -> Any:
    chapters = Prefetch("chapters", Chapter.objects.order_by("pk"))
    found = Book.objects.prefetch_related(chapters, "genres").filter(publisher=pk)
    return [
        (fields(each), rows(each.chapters.all()), sorted(genre.name for genre in each.genres.all()))
        for each in found.order_by("pk")
    ]


@shape(1, 2)
def prefetched_row(pk: int) -> Any:
    good = Review.objects.filter(stars__gte=3).select_related("critic").order_by("pk")
    found: Any = Book.objects.prefetch_related(Prefetch("reviews", good, to_attr="good"))
    return [
        [(review.stars, review.critic.name) for review in each.good] for each in found.filter(pk=pk)
    ]


@shape(1, 2)
def only(pk: int) -> Any:
    found = Book.objects.only("title").filter(pk=pk)
    return [(fields(each), each.pages) for each in found]


@shape(1)
def deferred(pk: int) -> Any:
    return rows(Book.objects.defer("title", "data").filter(publisher=pk).order_by("pk"))


@shape()
def first(_: None) -> Any:
    return fields(Book.objects.order_by("title").first())


@shape(1, 2)
def last(pk: int) -> Any:
    return fields(Book.objects.filter(publisher=pk).order_by("pk").last())


@shape(1)
def earliest(pk: int) -> Any:
    found = Book.objects.filter(published__isnull=False)
    return found.earliest("published").pk, found.latest("published").pk


@shape(2)
def iterated(size: int) -> Any:
    return rows(Book.objects.order_by("pk").iterator(chunk_size=size))


@shape(1)
def iterated_in_a_loop(pk: int) -> Any:
    async def collect() -> list[int]:
        return [each.pk async for each in Book.objects.filter(publisher=pk).order_by("pk")]

    return async_to_sync(collect)()


@shape()
def dates(_: None) -> Any:
    by_year = Book.objects.annotate(year=TruncYear("published")).values_list("year", flat=True)
    return list(Book.objects.dates("published", "month")), list(by_year.order_by("pk"))


@shape()
def every_row(_: None) -> Any:
    return rows(Book.objects.order_by("pk"))


@shape(1, 2)
def proxies(pk: int) -> Any:
    return pks(Bestseller.objects.filter(publisher=pk))


# --- written by hand


@shape(1, 2)
def raw(pk: int) -> Any:
    sql = "SELECT id, title FROM matrix_book WHERE publisher_id = %s ORDER BY id"
    return rows(Book.objects.raw(sql, [pk]))


@shape(1, 2)
def by_cursor(pk: int) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*), MAX(pages) FROM matrix_book WHERE series_id = %s", [pk])
        return list(cursor.fetchone())


@shape(110)
def by_cte(pages: int) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH long_ones AS (SELECT id, publisher_id FROM matrix_book WHERE pages > %s)"
            " SELECT p.id, COUNT(l.id) FROM matrix_publisher p"
            " LEFT JOIN long_ones l ON l.publisher_id = p.id GROUP BY p.id ORDER BY p.id",
            [pages],
        )
        return [list(row) for row in cursor.fetchall()]


@shape(1, 2)
def extra(pk: int) -> Any:
    found = Book.objects.filter(publisher=pk).extra(
        select={"n": "SELECT COUNT(*) FROM matrix_chapter c WHERE c.book_id = matrix_book.id"}
    )
    return list(found.order_by("pk").values_list("pk", "n"))


@shape(1)
def extra_condition(pk: int) -> Any:
    return pks(Book.objects.extra(where=["publisher_id = %s"], params=[pk]))


@shape()
def lowered(_: None) -> Any:
    return sorted(Book.objects.values_list(Lower("title"), flat=True))


# --- of the other tables


@shape()
def small_tables(_: None) -> Any:
    return [rows(model.objects.order_by("pk")) for model in (Series, Shelf, Genre, Critic)]


@shape()
def discounts(_: None) -> Any:
    found = Discount.objects.order_by("pk").values_list("percent", "offer__price")
    return list(found.filter(offer__vendor__name__contains="Vendor"))


@shape(1, 2)
def holdings(pk: int) -> Any:
    return rows(Holding.objects.filter(shelf=pk).order_by("genre_id"))
