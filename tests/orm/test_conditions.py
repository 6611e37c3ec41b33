"""Entries found by column values: dropped by rows that had those values or have them, by no
others."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db import transaction as django_transaction
from django.db.models import Exists, F, Lookup, OuterRef, Q, Window
from django.db.models.functions import Now, Random, RowNumber
from django.test.utils import CaptureQueriesContext

from djsmartcache.orm import conditions, writes
from djsmartcache.orm.state import internal
from tests.orm.conftest import Recorded, read
from tests.testapp.models import (
    Category,
    Club,
    LegacyMembership,
    Membership,
    Person,
    Product,
    Restaurant,
    Review,
    Tag,
    Ticket,
)

pytestmark = pytest.mark.usefixtures("shop")


class Shelf:
    """Products in two categories, a third that is empty, and entries found by each."""

    def __init__(self) -> None:
        self.light, self.wood, self.empty = (
            Category.objects.create(name=name) for name in ("light", "wood", "empty")
        )
        self.lamp = Product.objects.create(name="lamp", category=self.light)
        self.desk = Product.objects.create(name="desk", category=self.wood)
        self.read()
        # The first write after columns are registered is the one that learns of them.
        Product.objects.create(name="teacher")
        self.read()

    def read(self) -> None:
        self.in_light, self.in_wood, self.in_empty = (
            read(lambda c=category: list(Product.objects.filter(category=c)))
            for category in (self.light, self.wood, self.empty)
        )
        self.nowhere = read(lambda: list(Product.objects.filter(category=None)))

    def dropped(self) -> str:
        entries = {
            "light": self.in_light,
            "wood": self.in_wood,
            "empty": self.in_empty,
            "none": self.nowhere,
        }
        return " ".join(name for name, entry in entries.items() if not entry.fresh)


def move(shelf: Shelf, to: Category | None) -> None:
    shelf.lamp.category = to
    shelf.lamp.save()


WRITES: dict[str, tuple[Callable[[Shelf], Any], str]] = {
    "save": (lambda shelf: shelf.lamp.save(), "light"),
    "move": (lambda shelf: move(shelf, shelf.empty), "light empty"),
    "move to nowhere": (lambda shelf: move(shelf, None), "light none"),
    "an old instance moves": (
        lambda shelf: (
            Product.objects.filter(pk=shelf.lamp.pk).update(category=shelf.empty),
            shelf.read(),
            move(shelf, shelf.light),
        ),
        "light empty",
    ),
    "update by condition": (
        lambda shelf: Product.objects.filter(category=shelf.wood).update(stock=5),
        "wood",
    ),
    "update of the condition": (
        lambda shelf: Product.objects.filter(category=shelf.wood).update(category=shelf.empty),
        "wood empty",
    ),
    "update of distinct rows": (
        lambda shelf: Product.objects.filter(category=shelf.wood).distinct().update(stock=5),
        "light wood empty none",
    ),
    "update by range": (
        lambda shelf: Product.objects.filter(name__startswith="d").update(stock=5),
        "wood",
    ),
    "update that meets nothing": (
        lambda shelf: Product.objects.filter(name__startswith="z").update(stock=5),
        "",
    ),
    "delete": (lambda shelf: shelf.desk.delete(), "wood"),
    "delete by condition": (
        lambda shelf: Product.objects.filter(category=shelf.wood).delete(),
        "wood",
    ),
    "create": (
        lambda shelf: Product.objects.create(name="x", category=shelf.empty),
        "empty",
    ),
    "bulk_create": (
        lambda shelf: Product.objects.bulk_create(
            [Product(name="x", category=shelf.empty), Product(name="y", category=shelf.wood)]
        ),
        "wood empty",
    ),
    "bulk_update": (
        lambda shelf: Product.objects.bulk_update([shelf.lamp, shelf.desk], ["stock"]),
        "light wood",
    ),
    "set null": (lambda shelf: shelf.light.delete(), "light none"),
    "upsert": (
        lambda shelf: Product.objects.bulk_create(
            [Product(pk=shelf.lamp.pk, name="x")],
            update_conflicts=True,
            unique_fields=None if connection.vendor == "mysql" else ["id"],
            update_fields=["name"],
        ),
        "light",
    ),
    "by hand": (
        lambda shelf: connection.cursor().execute("UPDATE testapp_product SET stock = 4"),
        "light wood empty none",
    ),
}


@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "atomic"])
@pytest.mark.parametrize("way", WRITES)
def test_only_conditions_of_old_and_new_rows_are_dropped(way: str, inside: bool) -> None:
    shelf = Shelf()
    write, expected = WRITES[way]
    if way == "upsert" and connection.vendor == "mysql":
        # It may have met another row in any unique column.
        expected = "light wood empty none"
    if inside and way != "an old instance moves":
        with django_transaction.atomic():
            write(shelf)
    else:
        write(shelf)
    assert shelf.dropped() == expected


def test_a_condition_registered_meanwhile_is_dropped_too() -> None:
    shelf = Shelf()
    with django_transaction.atomic():
        shelf.lamp.stock = 3
        shelf.lamp.save()
        threads_reading = threading.Thread(target=register, args=(found := [],))
        threads_reading.start()
        threads_reading.join()
        assert found[0].fresh
    assert not found[0].fresh


def register(found: list[Recorded]) -> None:
    found.append(read(lambda: list(Product.objects.filter(stock=0, listed=True))))
    connection.close()


def test_rows_that_came_to_match_while_a_statement_waited_are_not_missed(monkeypatch: Any) -> None:
    shelf = Shelf()
    take_old = writes.Write.take_old

    def overtaken(write: writes.Write) -> int:
        found = take_old(write)
        # As though another transaction had committed a row between the two statements.
        write._run("UPDATE testapp_product SET stock = 77 WHERE id = %s", [shelf.lamp.pk])
        return found

    Product.objects.filter(pk=shelf.desk.pk).update(stock=77)
    shelf.read()
    monkeypatch.setattr(writes.Write, "take_old", overtaken)
    Product.objects.filter(stock=77).update(category=shelf.empty)
    assert shelf.dropped() == "light wood empty none"


@pytest.mark.parametrize("deletes", [False, True], ids=["update", "delete"])
def test_rows_that_another_table_chooses_are_not_those_of_a_moment_before(deletes: bool) -> None:
    shelf = Shelf()
    Tag.objects.create(name="lamp")
    of_lamp, of_desk = (
        read(lambda p=product: list(Product.objects.filter(pk=p.pk)))
        for product in (shelf.lamp, shelf.desk)
    )

    def overtaken(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("UPDATE", "DELETE")):
            # As though another transaction had committed it between the two statements.
            with internal(connection), connection.cursor() as cursor:
                cursor.cursor.execute("UPDATE testapp_tag SET name = 'desk'")
        return execute(sql, params, many, context)

    chosen = Product.objects.filter(Exists(Tag.objects.filter(name=OuterRef("name"))))
    with connection.execute_wrapper(overtaken):
        if deletes:
            chosen._raw_delete(chosen.db)
        else:
            chosen.update(category=shelf.empty)
    assert not of_desk.fresh
    assert not of_lamp.fresh  # nothing tells which it was
    assert shelf.dropped() == "light wood empty none"


class Coin(Lookup):  # type: ignore[type-arg]
    """A lookup of the project's own, of which nobody knows what it makes."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        function = {"sqlite": "abs(random() % 2)", "postgresql": "floor(random() * 2)"}
        return f"{function.get(connection.vendor, 'FLOOR(RAND() * 2)')} = 1", []


STEADY: dict[str, tuple[Callable[[], Any], bool]] = {
    "own columns": (lambda: Q(stock__lt=F("price") + 1), True),
    "what Django makes of them": (lambda: Q(since__year=2024, name__icontains="a"), True),
    "any of these": (lambda: Q(pk__in=[1, 2]) | ~Q(category__in={3, 4}), True),
    "JSON": (lambda: Q(details__color="red") & Q(details={"a": [1]}), True),
    "nothing": (lambda: Q(category=None), True),
    "chance": (lambda: Q(stock__lt=Random()), False),
    "the clock": (lambda: Q(since__lt=Now()), False),
    "another table": (lambda: Q(pk__in=Review.objects.values("product")), False),
    "inside of a list": (lambda: Q(stock__in=[1, Random()]), False),
    "negated": (lambda: ~(Q(stock=1) & ~Q(stock__gt=Random() * 2)), False),
    "unknown": (lambda: Coin(F("stock"), 1), False),
}


@pytest.mark.parametrize("name", STEADY)
def test_which_clauses_find_a_row_again(name: str) -> None:
    clause, steady = STEADY[name]
    query = Product.objects.filter(clause()).query
    assert conditions.is_steady(query.where, query.base_table) is steady


def test_images_make_no_writer_fail_that_did_not_fail_without() -> None:
    shelf = Shelf()
    barrier = threading.Barrier(3)
    failed: list[Exception] = []

    def write() -> None:
        try:
            barrier.wait(30)
            for _ in range(20):
                Product.objects.filter(category=shelf.wood).update(stock=F("stock") + 1)
                with django_transaction.atomic():
                    Product.objects.filter(category=shelf.wood).update(stock=F("stock") + 1)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert Product.objects.get(pk=shelf.desk.pk).stock == 120


def test_many_rows_are_dropped_as_a_whole(monkeypatch: Any) -> None:
    shelf = Shelf()
    monkeypatch.setattr(writes, "MAX_IMAGES", 1)
    Product.objects.filter(category__isnull=False).update(stock=1)
    assert shelf.dropped() == "light wood empty none"


def test_rows_known_by_images_leave_other_rows_alone() -> None:
    shelf = Shelf()
    of_lamp = read(lambda: Product.objects.get(pk=shelf.lamp.pk))
    of_desk = read(lambda: Product.objects.get(pk=shelf.desk.pk))
    Product.objects.filter(category=shelf.wood).update(stock=1)
    assert of_lamp.fresh
    assert not of_desk.fresh


def test_a_table_without_conditions_is_written_as_ever() -> None:
    category = Category.objects.create(name="light")
    statements = Statements()
    with connection.execute_wrapper(statements):
        category.save()
    assert len(statements.seen) == 1


@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "atomic"])
def test_a_role_that_may_not_lock_writes_as_ever(inside: bool) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no roles")
    review = Review.objects.create(product=Product.objects.create(name="lamp"), text="a")
    other = Review.objects.create(product=review.product, text="b")
    read(lambda: list(Review.objects.filter(text="a")))
    review.save()
    entry = read(lambda: list(Review.objects.filter(text="a")))
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE clerk")
        cursor.execute("GRANT SELECT, INSERT, DELETE ON testapp_review TO clerk")
        cursor.execute("SET ROLE clerk")
    try:
        with django_transaction.atomic() if inside else contextlib.nullcontext():
            assert Review.objects.filter(text="a").delete()[0] == 1
            statements = Statements()
            with connection.execute_wrapper(statements):
                Review.objects.filter(pk=other.pk)._raw_delete("default")
            assert len(statements.seen) == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP OWNED BY clerk")
            cursor.execute("DROP ROLE clerk")
    assert not entry.fresh


@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "atomic"])
def test_users_who_count_queries_find_their_own(inside: bool) -> None:
    shelf = Shelf()
    shelf.lamp.stock = 4
    connection.close()
    connection.ensure_connection()
    with (
        django_transaction.atomic() if inside else contextlib.nullcontext(),
        CaptureQueriesContext(connection) as queries,
    ):
        shelf.lamp.save()
    assert [query["sql"].partition(" ")[0] for query in queries.captured_queries] == ["UPDATE"]


class Statements:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.seen.append(sql)
        return execute(sql, params, many, context)


class Letter(str, enum.Enum):
    A = "a"


class Shouted(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Number(enum.IntEnum):
    FIVE = 5

    def __str__(self) -> str:
        return "five"


class NewYear(datetime.date):
    def __str__(self) -> str:
        return f"{self.year}-01-01"


VALUES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # What is looked for, a row that has it, a row that has it not.
    "integer": ({"stock": "5"}, {"stock": 5}, {"stock": 6}),
    "boolean": ({"listed": 1}, {"listed": True}, {"listed": False}),
    "text": ({"name": "a"}, {"name": "a"}, {"name": "A"}),
    "an enum of text": ({"name": Letter.A}, {"name": "a"}, {"name": "Letter.A"}),
    "a list of enums": ({"name__in": [Letter.A]}, {"name": "a"}, {"name": "Letter.A"}),
    "a row of enums": ({"name": "a"}, {"name": Letter.A}, {"name": "Letter.A"}),
    "text that prints otherwise": ({"name": Shouted("a")}, {"name": "a"}, {"name": "A"}),
    "an enum of numbers": ({"stock": Number.FIVE}, {"stock": 5}, {"stock": 6}),
    "text with blanks": ({"name": "a"}, {"name": "a"}, {"name": "a "}),
    "empty text": ({"name": ""}, {"name": ""}, {"name": "~"}),
    "date": (
        {"since": "2026-01-01"},
        {"since": datetime.date(2026, 1, 1)},
        {"since": datetime.date(2026, 1, 2)},
    ),
    "no date": ({"since": None}, {"since": None}, {"since": datetime.date(2026, 1, 1)}),
    "several": ({"stock": 1, "name": "a"}, {"stock": 1, "name": "a"}, {"stock": 1, "name": "b"}),
    "in": ({"stock__in": [1, 2]}, {"stock": 2}, {"stock": 3}),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_compared_as_the_database_does(kind: str) -> None:
    wanted, same, other = VALUES[kind]
    if connection.vendor == "mysql" and any(name.startswith("name") for name in wanted):
        pytest.skip("its default collations fold letters: text has no conditions")
    entry = read(lambda: Product.objects.filter(**wanted).count())
    Product.objects.create(**other)
    entry = read(lambda: Product.objects.filter(**wanted).count())
    Product.objects.create(**other)
    assert entry.fresh, "a row that does not match changes nothing"
    made = Product.objects.create(**same)
    assert not entry.fresh
    entry = read(lambda: Product.objects.filter(**wanted).count())
    assert entry.value == 1
    Product.objects.filter(pk=made.pk).update(**other)
    assert not entry.fresh


DECIMALS = {
    "scale": (lambda: Decimal("1.5"), "1.50"),
    "zero below": (lambda: Decimal("-0"), "0"),
    "hundreds": (lambda: Decimal("1E+2"), "100"),
    "less precise callers": (lambda: Decimal("1234.56"), "1234.56"),
}


@pytest.mark.parametrize("kind", DECIMALS)
def test_decimals_are_compared_as_numbers(kind: str) -> None:
    wanted, stored = DECIMALS[kind]

    def count() -> int:
        with decimal.localcontext() as context:
            context.prec = 3
            context.capitals = 0
            return Product.objects.filter(price=wanted()).count()

    entry = read(count)
    Product.objects.create(name="teacher", price=7)
    entry = read(count)
    Product.objects.create(name="a", price=stored)
    assert not entry.fresh


def test_a_date_that_prints_otherwise_is_found_as_the_database_finds_it() -> None:
    def count() -> int:
        return Product.objects.filter(since=NewYear(2026, 3, 4)).count()

    entry = read(count)
    for since in (datetime.date(2026, 3, 4), datetime.date(2026, 1, 1)):
        entry = read(count)
        Product.objects.create(name="x", since=since)
        assert read(count).value == entry.value or not entry.fresh


def test_relations_by_key() -> None:
    product = Product.objects.create(name="lamp")
    other = Product.objects.create(name="desk")
    read(lambda: list(product.reviews.all()))
    Review.objects.create(product=other, text="teaches")
    entry = read(lambda: list(product.reviews.all()))
    prefetched = read(
        lambda: list(Product.objects.filter(pk=product.pk).prefetch_related("reviews"))
    )
    Review.objects.create(product=other, text="elsewhere")
    assert entry.fresh
    assert prefetched.fresh
    Review.objects.create(product=product, text="here")
    assert not entry.fresh
    assert not prefetched.fresh


def test_parents_are_found_by_their_own_columns() -> None:
    read(lambda: list(Restaurant.objects.filter(name="Oak")))
    restaurant = Restaurant.objects.create(name="Elm")
    entry = read(lambda: list(Restaurant.objects.filter(seats=3)))
    restaurant.name = "Ash"
    restaurant.save()
    assert not entry.fresh


def test_models_of_one_table_that_disagree_on_a_column_have_no_conditions_on_it() -> None:
    club, person = Club.objects.create(name="chess"), Person.objects.create(name="Ann")
    entries = []
    for since in (1, 100):
        entries = [
            read(lambda: LegacyMembership.objects.filter(since=100).count()),
            read(lambda: Membership.objects.filter(since=100).count()),
        ]
        Membership.objects.create(club=club, person=person, since=since)
    assert not any(entry.fresh for entry in entries)


def test_keys_made_by_python() -> None:
    if connection.vendor == "mysql":
        pytest.skip("its default collations fold letters: text has no conditions")
    read(lambda: list(Ticket.objects.filter(subject="a")))
    Ticket.objects.create(subject="teacher")
    entry = read(lambda: list(Ticket.objects.filter(subject="a")))
    Ticket.objects.bulk_create([Ticket(subject="b"), Ticket(subject="c")])
    assert entry.fresh
    Ticket.objects.create(subject="a")
    assert not entry.fresh


class TestEither:
    """What is found by one condition or another is dropped by rows that met or meet one of them."""

    def either(self, shelf: Shelf, clause: Q) -> Recorded:
        def function() -> list[Product]:
            return list(Product.objects.filter(clause))

        read(function)
        Product.objects.create(name="teacher")  # the writer that learns of the columns
        return read(function)

    def test_of_two_columns(self) -> None:
        shelf = Shelf()
        found = self.either(shelf, Q(category=shelf.light) | Q(stock=7))
        shelf.desk.listed = False
        shelf.desk.save()
        assert found.fresh
        shelf.lamp.save()
        assert not found.fresh
        found = self.either(shelf, Q(category=shelf.light) | Q(stock=7))
        shelf.desk.stock = 7
        shelf.desk.save()
        assert not found.fresh

    def test_of_rows(self) -> None:
        shelf = Shelf()
        found = self.either(shelf, Q(pk=shelf.lamp.pk) | Q(pk=shelf.lamp.pk + 999))
        shelf.desk.save()
        assert found.fresh
        shelf.lamp.save()
        assert not found.fresh
        found = self.either(shelf, Q(pk=shelf.lamp.pk) | Q(category=shelf.wood, stock__gt=9))
        Product.objects.filter(pk=shelf.desk.pk).update(listed=False)
        assert not found.fresh

    @pytest.mark.parametrize(
        "other",
        [Q(stock__gt=5), ~Q(stock=0), Q(name__iexact="desk"), Q(reviews__text="good"), ~Q(stock=5)],
    )
    def test_a_part_that_reaches_any_row(self, other: Q) -> None:
        shelf = Shelf()
        for clause in (Q(category=shelf.light) | other, other | Q(category=shelf.light)):
            found = self.either(shelf, clause)
            shelf.desk.stock += 10
            shelf.desk.save()
            assert not found.fresh

    def test_within_a_condition(self) -> None:
        shelf = Shelf()
        clause = Q(category=shelf.light) | Q(category=shelf.wood, stock=7)
        found = self.either(shelf, Q(stock__gte=0) & clause & Q(listed=True) | Q(pk=0))
        Product.objects.create(name="chair", category=shelf.empty)
        Product.objects.create(name="table", category=shelf.wood, stock=7)
        assert not found.fresh

    def test_negated(self) -> None:
        shelf = Shelf()
        found = self.either(shelf, ~(Q(category=shelf.light) | Q(category=shelf.wood)))
        Product.objects.create(name="chair", category=shelf.empty)
        assert not found.fresh


class TestSubqueries:
    """A condition counts beside subqueries of other tables, not beside those of its own."""

    def learn(self, function: Callable[[], Any]) -> Recorded:
        read(function)
        Product.objects.create(name="teacher")
        return read(function)

    def test_of_another_table(self) -> None:
        shelf = Shelf()
        reviews = Review.objects.filter(product=OuterRef("pk"))
        found = self.learn(
            lambda: list(Product.objects.filter(Exists(reviews), category=shelf.light))
        )
        shelf.desk.save()
        assert found.fresh
        Review.objects.create(product=shelf.lamp, text="good")
        assert not found.fresh
        found = self.learn(
            lambda: list(Product.objects.filter(~Exists(reviews), category=shelf.light))
        )
        shelf.desk.category = shelf.light
        shelf.desk.save()
        assert not found.fresh

    def test_of_its_own_table(self) -> None:
        shelf = Shelf()
        same = Product.objects.filter(stock=OuterRef("stock")).exclude(pk=OuterRef("pk"))
        found = self.learn(lambda: list(Product.objects.filter(Exists(same), category=shelf.light)))
        shelf.desk.save()
        assert not found.fresh

    @pytest.mark.parametrize("both", [False, True])
    def test_within_a_window(self, both: bool) -> None:
        shelf = Shelf()
        number = Window(RowNumber(), order_by=["-stock", "pk"])
        first = Q(number=1, category=shelf.light)
        clause = first | Q(number=2, category=shelf.light) if both else Q(number=1)
        ranked = Product.objects.annotate(number=number)
        found = self.learn(lambda: list(ranked.filter(clause)))
        shelf.desk.stock = 99
        shelf.desk.save()
        assert not found.fresh


@pytest.mark.parametrize("model", [Review, Product.tags.through])
def test_a_row_that_is_only_referred_to_is_not_read(model: Any) -> None:
    shelf = Shelf()
    found = read(lambda: list(model.objects.filter(product=shelf.lamp.pk)))
    shelf.lamp.save()
    assert found.fresh
    shelf.lamp.reviews.create(text="good")
    shelf.lamp.tags.create(name="new")
    assert not found.fresh
