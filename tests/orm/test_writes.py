"""Every way to write is noticed, and leaves alone what it cannot have changed."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, IntegrityError, connection
from django.db.models import Case, F, IntegerField, Value, When

from tests.orm.conftest import Recorded, read
from tests.testapp.models import (
    Category,
    CheapProduct,
    Club,
    Country,
    Membership,
    Note,
    Person,
    Place,
    Product,
    Restaurant,
    Review,
    Stock,
    Tag,
    Ticket,
)

pytestmark = pytest.mark.usefixtures("shop")


def two_products() -> tuple[Product, Product]:
    return Product.objects.create(name="lamp"), Product.objects.create(name="desk")


def by_pk(product: Product) -> Recorded:
    return read(lambda: Product.objects.get(pk=product.pk))


def everything() -> Recorded:
    return read(lambda: list(Product.objects.all()))


def in_a_thread(function: Callable[[], Recorded]) -> Recorded:
    """Read over another connection."""
    found: list[Recorded] = []

    def run() -> None:
        found.append(function())
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


class TestKnownRows:
    """A write of one product drops what was read of it, not what was read of another."""

    WRITES: dict[str, Callable[[Product], Any]] = {
        "save": lambda product: product.save(),
        "save of one field": lambda product: product.save(update_fields=["stock"]),
        "save of an expression": lambda product: (
            setattr(product, "stock", F("stock") + 1),
            product.save(),
        ),
        "update by pk": lambda product: Product.objects.filter(pk=product.pk).update(
            stock=F("stock") + 1
        ),
        "update by pk and more": lambda product: Product.objects.filter(
            pk__in=[product.pk], stock__gte=0
        ).update(stock=9),
        "bulk_update": lambda product: Product.objects.bulk_update([product], ["stock"]),
        "delete": lambda product: product.delete(),
        "delete by pk": lambda product: Product.objects.filter(pk=product.pk).delete(),
        "update_or_create": lambda product: Product.objects.update_or_create(
            pk=product.pk, defaults={"stock": 5}
        ),
        "save through a proxy": lambda product: CheapProduct.objects.get(pk=product.pk).save(),
        "update of a case": lambda product: Product.objects.filter(pk=product.pk).update(
            stock=Case(When(stock=0, then=Value(7)), default=Value(8), output_field=IntegerField())
        ),
    }

    @pytest.mark.parametrize("way", WRITES)
    def test_only_the_row_written_is_dropped(self, way: str) -> None:
        lamp, desk = two_products()
        of_lamp, of_desk, of_all = by_pk(lamp), by_pk(desk), everything()
        assert of_lamp.fresh
        assert of_desk.fresh
        assert of_all.fresh
        self.WRITES[way](lamp)
        assert not of_lamp.fresh
        assert not of_all.fresh
        assert of_desk.fresh

    def test_a_new_row_drops_the_answer_that_there_was_none(self) -> None:
        lamp, _ = two_products()
        of_lamp = by_pk(lamp)
        missing = read(lambda: Product.objects.filter(pk=lamp.pk + 100).first())
        of_all = everything()
        Product.objects.create(pk=lamp.pk + 100, name="chair")
        assert not missing.fresh
        assert not of_all.fresh
        assert of_lamp.fresh

    def test_bulk_create_leaves_other_rows_alone(self) -> None:
        lamp, _ = two_products()
        of_lamp, of_all = by_pk(lamp), everything()
        Product.objects.bulk_create([Product(name="a"), Product(name="b")])
        assert of_lamp.fresh
        assert not of_all.fresh

    def test_keys_made_by_python_are_known(self) -> None:
        ticket, other = Ticket.objects.create(subject="a"), Ticket.objects.create(subject="b")
        of_other = read(lambda: Ticket.objects.get(pk=other.pk))
        new = Ticket(subject="c")
        missing = read(lambda: Ticket.objects.filter(pk=str(new.pk)).exists())
        ticket.save()
        assert of_other.fresh
        assert missing.fresh
        new.save()
        assert of_other.fresh
        assert not missing.fresh

    def test_keys_of_text_are_known(self) -> None:
        for code in ("at", "de"):
            Country.objects.create(code=code, name=code)
        austria, germany = (
            read(lambda code=code: Country.objects.get(pk=code)) for code in ("at", "de")
        )
        Country.objects.filter(pk="at").update(name="Austria")
        assert germany.fresh or connection.vendor == "mysql"
        assert not austria.fresh

    def test_composite_keys_are_noticed(self) -> None:
        lamp, _ = two_products()
        place = Place.objects.create(name="hall")
        held = Stock.objects.create(place=place, product=lamp, count=1)
        found = read(lambda: Stock.objects.get(pk=(place.pk, lamp.pk)).count)
        by_columns = read(lambda: Stock.objects.get(place=place, product=lamp).count)
        held.count = 2
        held.save()
        assert not found.fresh
        assert not by_columns.fresh
        found = read(lambda: Stock.objects.filter(place=place).count())
        held.delete()
        assert not found.fresh


class TestUnknownRows:
    WRITES: dict[str, Callable[[Product], Any]] = {
        "update by range": lambda product: Product.objects.filter(stock__lt=100).update(stock=1),
        "update of all": lambda product: Product.objects.update(stock=1),
        "delete by range": lambda product: Product.objects.filter(stock__lt=100).delete(),
        "raw delete": lambda product: Product.objects.filter(stock__lt=100)._raw_delete("default"),
        "update over a join": lambda product: Product.objects.filter(tags__name="new").update(
            stock=1
        ),
        "update by subquery": lambda product: Product.objects.filter(
            pk__in=Product.objects.filter(stock=0)
        ).update(stock=1),
        "update of a primary key": lambda product: Product.objects.filter(pk=product.pk).update(
            id=product.pk + 100
        ),
        "upsert": lambda product: Product.objects.bulk_create(
            [Product(pk=product.pk, name="other")],
            update_conflicts=True,
            unique_fields=None if connection.vendor == "mysql" else ["id"],
            update_fields=["name"],
        ),
        "create unless there": lambda product: Product.objects.bulk_create(
            [Product(pk=product.pk, name="other")], ignore_conflicts=True
        ),
    }

    @pytest.mark.parametrize("way", WRITES)
    def test_every_reader_is_dropped(self, way: str) -> None:
        lamp, _ = two_products()
        lamp.tags.add(Tag.objects.create(name="new"))
        Review.objects.create(product=lamp, text="good")
        lamp.reviews.all().delete()
        lamp.tags.clear()
        lamp.tags.add(Tag.objects.get())
        if way == "raw delete":
            lamp.tags.clear()
        if way == "update of a primary key":
            lamp.tags.clear()
        of_lamp, of_all = by_pk(lamp), everything()
        of_name = read(lambda: Product.objects.filter(name="lamp").count())
        of_next = read(lambda: Product.objects.filter(pk=lamp.pk + 100).first())
        self.WRITES[way](lamp)
        assert not of_lamp.fresh
        assert not of_all.fresh
        assert not of_name.fresh
        # Django finds the rows to delete first, and names them.
        named = ["delete by range", "create unless there"]
        # MariaDB tells which they were.
        if connection.vendor != "mysql" or connection.features.can_return_rows_from_bulk_insert:
            named.append("upsert")
        assert of_next.fresh is (way in named)

    def test_other_tables_are_left_alone(self) -> None:
        two_products()
        tags = read(lambda: list(Tag.objects.all()))
        Product.objects.update(stock=4)
        assert tags.fresh


class TestRelations:
    M2M: dict[str, Callable[[Product, Tag], Any]] = {
        "add": lambda product, tag: product.tags.add(Tag.objects.create(name="more")),
        "remove": lambda product, tag: product.tags.remove(tag),
        "set": lambda product, tag: product.tags.set([]),
        "clear": lambda product, tag: product.tags.clear(),
        "create": lambda product, tag: product.tags.create(name="more"),
        "add from the other side": lambda product, tag: tag.products.add(
            Product.objects.create(name="x")
        ),
        "remove from the other side": lambda product, tag: tag.products.remove(product),
        "set from the other side": lambda product, tag: tag.products.set([]),
        "clear from the other side": lambda product, tag: tag.products.clear(),
        "delete of the tag": lambda product, tag: tag.delete(),
        "delete of the product": lambda product, tag: product.delete(),
    }

    @pytest.mark.parametrize("way", M2M)
    def test_many_to_many_changes_are_seen_from_both_sides(self, way: str) -> None:
        lamp, _ = two_products()
        tag = Tag.objects.create(name="new")
        lamp.tags.add(tag)
        forwards = read(lambda: list(lamp.tags.all()))
        backwards = read(lambda: list(tag.products.all()))
        prefetched = read(lambda: list(Product.objects.prefetch_related("tags")))
        joined = read(lambda: list(Product.objects.filter(tags__name="new")))
        self.M2M[way](lamp, tag)
        assert not forwards.fresh
        assert not backwards.fresh
        assert not prefetched.fresh
        assert not joined.fresh

    def test_a_through_model_of_its_own(self) -> None:
        club, person = Club.objects.create(name="chess"), Person.objects.create(name="Ann")
        members = read(lambda: list(club.members.all()))
        joined = Membership.objects.create(club=club, person=person)
        assert not members.fresh
        members = read(lambda: list(person.clubs.all()))
        joined.delete()
        assert not members.fresh

    def test_cascades_are_seen(self) -> None:
        lamp, desk = two_products()
        Review.objects.create(product=lamp, text="good")
        reviews = read(lambda: Review.objects.count())
        of_desk = by_pk(desk)
        lamp.delete()
        assert not reviews.fresh
        assert of_desk.fresh

    def test_set_null_is_seen(self) -> None:
        lamp, _ = two_products()
        category = Category.objects.create(name="light")
        lamp.category = category
        lamp.save()
        of_lamp = by_pk(lamp)
        category.delete()
        assert not of_lamp.fresh

    def test_select_related_is_seen(self) -> None:
        lamp, desk = two_products()
        lamp.category = Category.objects.create(name="light")
        lamp.save()
        found = read(lambda: Product.objects.select_related("category").get(pk=lamp.pk))
        desk.save()
        assert found.fresh
        lamp.category.name = "lights"
        lamp.category.save()
        assert not found.fresh

    def test_generic_relations_are_seen(self) -> None:
        lamp, _ = two_products()
        Note.objects.create(target=lamp, text="good")
        notes = read(lambda: [note.text for note in lamp.notes.all()])
        targets = read(lambda: [note.target.name for note in Note.objects.all()])
        lamp.notes.create(text="bad")
        assert not notes.fresh
        assert not targets.fresh
        targets = read(lambda: [note.target.name for note in Note.objects.all()])
        lamp.name = "torch"
        lamp.save()
        assert not targets.fresh

    def test_content_types_from_memory_count_as_read(self) -> None:
        ContentType.objects.get_for_model(Product)
        found = read(lambda: ContentType.objects.get_for_model(Product).pk)
        extra = ContentType.objects.create(app_label="gone", model="gone")
        assert not found.fresh
        extra.delete()


class TestInheritance:
    def test_parents_and_children_are_both_written(self) -> None:
        restaurant = Restaurant.objects.create(name="Oak", seats=10)
        other = Restaurant.objects.create(name="Elm", seats=10)
        child = read(lambda: Restaurant.objects.get(pk=restaurant.pk))
        parent = read(lambda: Place.objects.get(pk=restaurant.pk))
        of_other = read(lambda: Place.objects.get(pk=other.pk))
        restaurant.name = "Ash"
        restaurant.save()
        assert not child.fresh
        assert not parent.fresh
        assert of_other.fresh

    def test_update_of_a_parents_field_is_seen(self) -> None:
        restaurant = Restaurant.objects.create(name="Oak", seats=10)
        child = read(lambda: Restaurant.objects.get(pk=restaurant.pk).name)
        parent = read(lambda: Place.objects.get(pk=restaurant.pk).name)
        Restaurant.objects.filter(seats=10).update(name="Ash")
        assert not child.fresh
        assert not parent.fresh

    def test_a_write_through_the_parent_is_seen_in_the_child(self) -> None:
        restaurant = Restaurant.objects.create(name="Oak", seats=10)
        child = read(lambda: Restaurant.objects.get(pk=restaurant.pk).name)
        Place.objects.filter(pk=restaurant.pk).update(name="Ash")
        assert not child.fresh

    def test_deleting_a_child_is_seen_in_the_parent(self) -> None:
        restaurant = Restaurant.objects.create(name="Oak", seats=10)
        parent = read(lambda: Place.objects.filter(pk=restaurant.pk).exists())
        restaurant.delete()
        assert not parent.fresh


class TestRawSql:
    WRITES = {
        "update": "UPDATE testapp_product SET stock = 5",
        "quoted": 'UPDATE "testapp_product" SET stock = 5',
        "other case": "update TestApp_Product set stock = 5",
        "with a comment": "/* nightly */ UPDATE testapp_product SET stock = 5 -- all",
        "delete": "DELETE FROM testapp_product WHERE stock > 1000",
        "insert from select": "INSERT INTO testapp_product (name, stock, price, listed, details)"
        " SELECT name, 1, 1, listed, details FROM testapp_product",
    }

    @pytest.mark.parametrize("way", WRITES)
    def test_the_table_written_is_dropped(self, way: str) -> None:
        lamp, _ = two_products()
        of_lamp, tags = by_pk(lamp), read(lambda: list(Tag.objects.all()))
        sql = self.WRITES[way]
        if connection.vendor == "mysql":
            sql = sql.replace('"', "`").replace("TestApp_Product", "testapp_product")
        with connection.cursor() as cursor:
            cursor.execute(sql)
        assert not of_lamp.fresh
        assert tags.fresh

    def test_executemany_is_seen(self) -> None:
        lamp, _ = two_products()
        of_lamp = by_pk(lamp)
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE testapp_product SET stock = %s WHERE id = %s", [(1, lamp.pk)]
            )
        assert not of_lamp.fresh

    def test_reads_by_hand_are_dependencies(self) -> None:
        def count() -> int:
            with connection.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM testapp_product WHERE stock < %s", [10])
                found: int = cursor.fetchone()[0]
                return found

        lamp, _ = two_products()
        counted = read(count)
        Tag.objects.create(name="new")
        assert counted.fresh
        lamp.save()
        assert not counted.fresh

    def test_raw_querysets_are_dependencies(self) -> None:
        lamp, _ = two_products()
        found = read(lambda: list(Product.objects.raw("SELECT * FROM testapp_product")))
        lamp.save()
        assert not found.fresh

    def test_a_cte_that_is_named_like_a_table_does_not_hide_it(self) -> None:
        lamp, _ = two_products()
        sql = (
            "WITH testapp_product AS (SELECT * FROM testapp_product WHERE stock = 0)"
            " SELECT * FROM testapp_product"
        )
        if connection.vendor == "sqlite":
            sql = sql.replace("FROM testapp_product WHERE", "FROM main.testapp_product WHERE")
        found = read(lambda: list(Product.objects.raw(sql)))
        lamp.save()
        assert not found.fresh

    def test_rows_returned_by_a_write_are_seen(self) -> None:
        if connection.vendor == "mysql":
            pytest.skip("its UPDATE returns none")
        lamp, _ = two_products()
        of_lamp = by_pk(lamp)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE testapp_product SET stock = 5 RETURNING id")
            # SQLite commits when the last row is read or the cursor closed.
            meanwhile = in_a_thread(lambda: by_pk(lamp))
        assert not of_lamp.fresh
        assert meanwhile.fresh is (meanwhile.value.stock == 5)

    def test_calls_of_the_driver_are_seen(self) -> None:
        if connection.vendor == "mysql":
            pytest.skip("its driver has none")
        lamp, _ = two_products()
        of_lamp, tags = by_pk(lamp), read(lambda: list(Tag.objects.all()))
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.executescript("UPDATE testapp_product SET stock = 1; SELECT 1;")
            else:
                columns = "(name, stock, price, listed, details)"
                with cursor.copy(f"COPY testapp_product {columns} FROM STDIN") as copy:
                    assert of_lamp.fresh
                    copy.write_row(("copied", 1, 1, True, "{}"))
        assert not of_lamp.fresh
        assert tags.fresh

    @pytest.mark.parametrize("kind", ["composed", "bytes"])
    def test_sql_that_is_no_text_is_understood(
        self, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("a driver's own")
        from psycopg import sql

        def made(text: str) -> Any:
            if kind == "bytes":
                return text.format(table='"testapp_product"').encode()
            return sql.SQL(text).format(table=sql.Identifier("testapp_product"))

        def names() -> Any:
            with connection.cursor() as cursor:
                cursor.execute(made("SELECT name FROM {table} WHERE stock < %s"), [9])
                return cursor.fetchall()

        product = Product.objects.create(name="lamp")
        tags = read(lambda: list(Tag.objects.all()))
        found = read(names)
        assert found.value == [("lamp",)]
        product.save()
        assert not found.fresh
        for way in ("execute", "stream", "copy"):
            found = read(names)
            with connection.cursor() as cursor:
                if way == "copy":
                    with cursor.copy(made("COPY {table} FROM STDIN")):
                        pass
                else:
                    statement = made("UPDATE {table} SET stock = 1 RETURNING id")
                    assert list(getattr(cursor, way)(statement))
            assert not found.fresh, way
        assert tags.fresh
        assert not caplog.records

    def test_stored_procedures_may_have_written_anything(self) -> None:
        two_products()
        tags = read(lambda: list(Tag.objects.all()))
        with connection.cursor() as cursor, contextlib.suppress(Exception):
            cursor.callproc("now")
        assert not tags.fresh

    def test_unparsable_writes_drop_everything(self) -> None:
        two_products()
        tags = read(lambda: list(Tag.objects.all()))
        with connection.cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("CALL refresh_everything()")
        if connection.vendor == "postgresql":
            connection.close()
        assert not tags.fresh


def test_async_methods_are_seen() -> None:
    from asgiref.sync import async_to_sync

    lamp, desk = two_products()
    of_lamp, of_desk = by_pk(lamp), by_pk(desk)
    lamp.stock = 7
    async_to_sync(lamp.asave)()
    assert not of_lamp.fresh
    assert of_desk.fresh


def test_a_refused_insert_raises_as_ever() -> None:
    Tag.objects.create(name="one")
    with pytest.raises(IntegrityError):
        Tag.objects.create(name="one")


def test_dates_survive() -> None:
    day = datetime.date(2026, 1, 1)
    product = Product.objects.create(name="lamp", since=day)
    found = read(lambda: Product.objects.filter(since=day).count())
    other = read(lambda: Product.objects.filter(since=datetime.date(2026, 1, 2)).count())
    assert found.value == 1
    product.since = datetime.date(2026, 1, 2)
    product.save()
    assert not found.fresh
    assert not other.fresh


class TestConflicts:
    """What is done about conflicts leaves readers of other rows alone."""

    def learn(self, function: Callable[[], Any]) -> Recorded:
        """Read, and let the writers of this process know how."""
        read(function)
        Product.tags.through.objects.filter(pk=0).update(tag=1)
        Review.objects.create(product=Product.objects.create(name="first"), text="first")
        Product.objects.filter(pk=0).update(stock=1)
        return read(function)

    M2M: dict[str, Callable[[Product, Tag], Any]] = {
        "add": lambda product, tag: product.tags.add(tag),
        "set": lambda product, tag: product.tags.set([tag]),
        "add from the other side": lambda product, tag: tag.products.add(product),
    }

    @pytest.mark.parametrize("way", M2M)
    def test_tags_of_one_product_are_not_those_of_another(self, way: str) -> None:
        lamp, desk = two_products()
        tag = Tag.objects.create(name="new")
        desk.tags.add(tag)
        read(lambda: list(Tag(pk=tag.pk).products.all()))
        of_desk = self.learn(lambda: list(Product(pk=desk.pk).tags.all()))
        of_lamp = read(lambda: list(Product(pk=lamp.pk).tags.all()))
        of_tag = read(lambda: list(Tag(pk=tag.pk).products.all()))
        self.M2M[way](lamp, tag)
        assert of_desk.fresh
        assert not of_lamp.fresh
        assert not of_tag.fresh

    def test_rows_created_unless_there(self) -> None:
        lamp, desk = two_products()
        of_desk = self.learn(lambda: list(Review.objects.filter(product=desk)))
        of_lamp = read(lambda: list(Review.objects.filter(product=lamp)))
        by_key = read(lambda: Review.objects.filter(pk=99).first())
        Review.objects.bulk_create([Review(product=lamp, text="a")], ignore_conflicts=True)
        assert of_desk.fresh
        assert not of_lamp.fresh
        assert not by_key.fresh
        of_lamp = read(lambda: list(Review.objects.filter(product=lamp)))
        by_key = read(lambda: Review.objects.filter(pk=98).first())
        Review.objects.bulk_create([Review(pk=99, product=lamp, text="a")], ignore_conflicts=True)
        assert of_desk.fresh
        assert not of_lamp.fresh
        assert by_key.fresh

    def test_values_that_the_database_makes_are_not_guessed(self) -> None:
        lamp, _ = two_products()
        reviews = self.learn(lambda: list(Review.objects.filter(product=lamp)))
        made: Any = Review(text="a")
        made.product_id = Value(lamp.pk)
        Review.objects.bulk_create([made], ignore_conflicts=True)
        assert not reviews.fresh

    def test_upserts_by_primary_key(self) -> None:
        if connection.vendor == "mysql":
            pytest.skip("resolves conflicts of any column")
        light, dark = (Category.objects.create(name=name) for name in ("light", "dark"))
        lamp = Product.objects.create(name="lamp", category=light)
        desk = Product.objects.create(name="desk", category=dark)
        in_light = self.learn(lambda: list(Product.objects.filter(category=light)))
        in_dark = read(lambda: list(Product.objects.filter(category=dark)))
        in_none = read(lambda: list(Product.objects.filter(category=None)))
        of_desk, of_lamp = by_pk(desk), by_pk(lamp)
        lamp.category = None
        options: Any = {
            "update_conflicts": True,
            "unique_fields": ["id"],
            "update_fields": ["category"],
        }
        Product.objects.bulk_create([lamp], **options)
        assert not of_lamp.fresh
        assert not in_light.fresh
        assert not in_none.fresh
        assert of_desk.fresh
        assert in_dark.fresh
        in_light = read(lambda: list(Product.objects.filter(category=light)))
        added = Product(pk=lamp.pk + 100, name="new", category=light)
        Product.objects.bulk_create([lamp, added], **options)
        assert not in_light.fresh
        assert of_desk.fresh


@pytest.mark.parametrize("how", ["create", "bulk", "upsert"])
def test_a_key_that_the_database_makes_shorter_is_found_under_the_short_one(how: str) -> None:
    absent = read(lambda: list(Country.objects.filter(pk="at")))
    named = read(lambda: list(Country.objects.filter(name="Austria")))
    long = Country(code="at ", name="Austria")  # of PostgreSQL's varchar(2)
    if how == "create":
        long.save(force_insert=True)
    elif how == "bulk":
        Country.objects.bulk_create([long])
    else:
        Country.objects.bulk_create(
            [long],
            update_conflicts=True,
            unique_fields=None if connection.vendor == "mysql" else ["code"],
            update_fields=["name"],
        )
    assert not named.fresh
    if Country.objects.filter(pk="at").exists():
        assert not absent.fresh
