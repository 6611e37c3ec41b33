"""At which precision a read is recorded, and what is never stored."""

from __future__ import annotations

import contextlib
import contextvars
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import Count, Exists, F, Func, IntegerField, OuterRef, Q, Sum, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import ExtractYear, Now, Random, RowNumber

from djsmartcache import _core
from djsmartcache.orm import scopes
from djsmartcache.orm.dependencies import Computation, computation, current
from tests.orm.conftest import read
from tests.testapp.models import (
    Category,
    CheapProduct,
    Country,
    ListedProduct,
    Place,
    Product,
    Restaurant,
    Review,
    Tag,
    Ticket,
)

pytestmark = [
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),
]

ROW, CONDITION, TABLE = "row", "condition", "table"
UUID = uuid.UUID("12345678123456781234567812345678")


def of_text(precise: str) -> str:
    """Give what a condition on text comes to: MySQL's collations are not known."""
    return TABLE if connection.vendor == "mysql" else precise


def precision(computed: Computation, model: type[Any]) -> str:
    """Say how a computation depends on a model's table."""
    assert computed.forbidden is None, computed.forbidden
    tags = {tag for tag, _ in computed.tags()}
    found = scopes.table_tags(connection, model._meta.db_table)
    kinds = {TABLE: found.table, ROW: found.bulk, CONDITION: found.condition_bulk}
    held = [kind for kind, tag in kinds.items() if tag in tags]
    assert len(held) <= 1
    return held[0] if held else ""


PRODUCTS: dict[str, tuple[Callable[[], Any], str]] = {
    "get": (lambda: Product.objects.filter(pk=1).first(), ROW),
    "pk as text": (lambda: list(Product.objects.filter(pk="1")), ROW),
    "pk in": (lambda: list(Product.objects.filter(pk__in=[1, 2, 3])), ROW),
    "too many pks": (lambda: list(Product.objects.filter(pk__in=range(200))), TABLE),
    "in_bulk": (lambda: Product.objects.in_bulk([1, 2]), ROW),
    "proxy": (lambda: list(CheapProduct.objects.filter(pk=1)), ROW),
    "values": (lambda: list(Product.objects.filter(pk=1).values("name")), ROW),
    "exists": (lambda: Product.objects.filter(pk=1).exists(), ROW),
    "count": (lambda: Product.objects.filter(pk=1).count(), ROW),
    "aggregate": (lambda: Product.objects.filter(pk=1).aggregate(Sum("stock")), ROW),
    "count of a slice": (lambda: Product.objects.filter(pk=1)[:5].count(), ROW),
    "pk and a range": (lambda: list(Product.objects.filter(pk=1, stock__gt=5)), ROW),
    "pk or a range": (lambda: list(Product.objects.filter(Q(pk=1) | Q(stock__gt=5))), TABLE),
    "not pk": (lambda: list(Product.objects.exclude(pk=1)), TABLE),
    "double negation": (lambda: list(Product.objects.filter(~Q(~Q(pk=1)))), TABLE),
    "one column": (lambda: list(Product.objects.filter(category_id=1)), CONDITION),
    "two columns": (lambda: list(Product.objects.filter(category=1, listed=True)), CONDITION),
    "related manager": (lambda: list(Category(pk=1).products.all()), CONDITION),
    "ordered slice": (
        lambda: list(Product.objects.filter(category=1).order_by("-stock")[:3]),
        CONDITION,
    ),
    "null": (lambda: list(Product.objects.filter(category=None)), CONDITION),
    "not null": (lambda: list(Product.objects.filter(category__isnull=False)), TABLE),
    "column and range": (
        lambda: list(Product.objects.filter(category=1, stock__lt=3)),
        CONDITION,
    ),
    "column in": (lambda: list(Product.objects.filter(category__in=[1, 2])), CONDITION),
    "text": (lambda: list(Product.objects.filter(name="lamp")), CONDITION),
    "case-insensitive": (lambda: list(Product.objects.filter(name__iexact="lamp")), TABLE),
    "json": (lambda: list(Product.objects.filter(details={"a": 1})), TABLE),
    "range": (lambda: list(Product.objects.filter(stock__gt=1)), TABLE),
    "all": (lambda: list(Product.objects.all()), TABLE),
    "column to column": (lambda: list(Product.objects.filter(stock=F("price"))), TABLE),
    "annotated": (
        lambda: list(Product.objects.filter(pk=1).annotate(double=F("stock") * 2)),
        ROW,
    ),
    "window": (
        lambda: list(Product.objects.filter(pk=1).annotate(row=Window(RowNumber()))),
        ROW,
    ),
    "self subquery": (
        lambda: list(
            Product.objects.filter(pk=1).annotate(
                twin=Exists(Product.objects.filter(name=OuterRef("name")))
            )
        ),
        TABLE,
    ),
    "subquery of pks": (
        lambda: list(Product.objects.filter(pk__in=Product.objects.filter(stock=1))),
        TABLE,
    ),
    "union": (
        lambda: list(Product.objects.filter(pk=1).union(Product.objects.filter(stock=2))),
        TABLE,
    ),
    "join": (lambda: list(Product.objects.filter(category__name="light")), TABLE),
    "select_related by pk": (
        lambda: list(Product.objects.select_related("category").filter(pk=1)),
        ROW,
    ),
    "count of children": (
        lambda: list(Product.objects.filter(pk=1).annotate(n=Count("reviews"))),
        ROW,
    ),
    "raw fragment": (
        lambda: list(
            Product.objects.filter(pk=1).annotate(
                n=RawSQL("(SELECT COUNT(*) FROM testapp_product)", ())
            )
        ),
        TABLE,
    ),
    "extra table": (
        lambda: list(
            Product.objects.filter(pk=1).extra(
                tables=["testapp_review"], where=["testapp_review.id > 0"]
            )
        ),
        TABLE,
    ),
    "year": (
        lambda: list(Product.objects.annotate(y=ExtractYear("since")).filter(pk=1)),
        ROW,
    ),
}


@pytest.mark.parametrize("query", PRODUCTS)
def test_precision(query: str) -> None:
    function, expected = PRODUCTS[query]
    expected = of_text(expected) if query == "text" else expected
    assert precision(read(function).computed, Product) == expected


class TestOtherTables:
    def test_joined_tables(self) -> None:
        made = read(
            lambda: list(Product.objects.filter(pk=1).annotate(n=Count("reviews")))
        ).computed
        assert precision(made, Review) == CONDITION
        made = read(lambda: list(Product.objects.filter(reviews__text__contains="a"))).computed
        assert precision(made, Review) == TABLE

    def test_a_condition_on_an_inner_joined_table(self) -> None:
        made = read(lambda: list(Product.objects.filter(category__name="light"))).computed
        assert precision(made, Category) == of_text(CONDITION)

    def test_a_condition_on_an_outer_joined_table_is_none(self) -> None:
        made = read(lambda: list(Product.objects.filter(category__name=None))).computed
        assert precision(made, Category) == TABLE

    def test_a_row_joined_to_itself(self) -> None:
        root = Category.objects.create(name="root")
        leaf = Category.objects.create(name="leaf", parent=root)
        made = read(lambda: Category.objects.select_related("parent").get(pk=leaf.pk))
        assert precision(made.computed, Category) == TABLE
        root.name = "other"
        root.save()
        assert not made.fresh

    def test_subqueries_count_as_a_whole(self) -> None:
        has_reviews = Exists(Review.objects.filter(product=OuterRef("pk")))
        made = read(lambda: list(Product.objects.filter(has_reviews))).computed
        assert precision(made, Review) == TABLE

    def test_many_to_many(self) -> None:
        made = read(lambda: list(Product(pk=1).tags.all())).computed
        assert precision(made, Tag) == TABLE
        assert precision(made, Product.tags.through) == CONDITION

    def test_fragments_written_by_hand_are_parsed(self) -> None:
        fragment = RawSQL("SELECT product_id FROM testapp_review, testapp_place", ())
        made = read(lambda: list(Product.objects.filter(pk__in=fragment))).computed
        assert precision(made, Review) == TABLE
        assert precision(made, Place) == TABLE

    def test_a_child_by_pk_depends_on_one_row_of_each_table(self) -> None:
        made = read(lambda: list(Restaurant.objects.filter(pk=1))).computed
        assert precision(made, Restaurant) == ROW
        assert precision(made, Place) == ROW

    def test_keys_of_other_types(self) -> None:
        assert precision(read(lambda: list(Ticket.objects.filter(pk=UUID))).computed, Ticket) == ROW
        made = read(lambda: list(Country.objects.filter(pk="at"))).computed
        assert precision(made, Country) == of_text(ROW)

    def test_no_query_is_no_dependency(self) -> None:
        made = read(lambda: list(Product.objects.filter(pk__in=[]))).computed
        assert made.tags() == []
        assert made.forbidden is None


class TestNeverStored:
    READS: dict[str, Callable[[], Any]] = {
        "random order": lambda: list(Product.objects.order_by("?")),
        "the time of the query": lambda: list(Product.objects.annotate(now=Now())),
        "a random number": lambda: list(Product.objects.annotate(number=Random())),
        "a view": lambda: list(ListedProduct.objects.all()),
        "a view by hand": lambda: list(Product.objects.raw("SELECT * FROM testapp_listedproduct")),
        "today": lambda: list(
            Product.objects.raw("SELECT * FROM testapp_product WHERE 'now' <> ''")
        ),
        "a current date": lambda: list(
            Product.objects.raw("SELECT * FROM testapp_product WHERE since = CURRENT_DATE")
        ),
    }

    @pytest.mark.parametrize("what", READS)
    def test_what_changes_by_itself(self, what: str) -> None:
        assert read(self.READS[what]).computed.forbidden

    CALLS: dict[str, tuple[str, ...]] = {
        "sqlite": (
            *("random()", "unixepoch()", "time()", "date()", "datetime()", "julianday()"),
            *(
                "strftime('%%Y')",
                'date("now")',
                "rand()",
                "changes()",
                "last_insert_rowid()",
                "sqlite_version()",
            ),
        ),
        "postgresql": (
            *(
                "'now '::timestamptz",
                "random()",
                "now()",
                "age(since)",
                "clock_timestamp()",
                "pg_backend_pid()",
            ),
            *("pg_total_relation_size('testapp_tag')", "inet_client_addr()", "gen_random_uuid()"),
            *("query_to_xml('TABLE testapp_tag', true, false, '')", "txid_current()"),
            *("table_to_xml('testapp_tag', true, false, '')", "pg_try_advisory_xact_lock(1)"),
            *("nextval('testapp_tag_id_seq')", "setval('testapp_tag_id_seq', 9)"),
            *("set_config('a.b', 'c', true)", "current_setting('timezone')", "current_schema()"),
        ),
        "mysql": ("rand()", "now()", "uuid()", "connection_id()", "unix_timestamp()", "user()"),
    }

    def test_functions_that_change_by_themselves(self) -> None:
        Product.objects.create(name="lamp", since="2026-01-01")
        for call in self.CALLS[connection.vendor]:
            sql = f"SELECT id, {call} AS called FROM testapp_product"
            assert read(lambda sql=sql: list(Product.objects.raw(sql))).computed.forbidden, call

    CONSTANT: dict[str, tuple[str, ...]] = {
        "sqlite": (
            "date(since)",
            "strftime('%%Y', since)",
            "upper(name)",
            "json_extract('1', '$')",
        ),
        "postgresql": (
            *("date_trunc('month', since)", "to_char(since, 'YYYY')", "upper(name)", "md5(name)"),
            *("coalesce(since, date '2026-01-01')", "jsonb_build_object('a', stock)"),
            *("extract(year from since)", "greatest(stock, 1)", "to_tsvector('simple', name)"),
        ),
        "mysql": ("date_format(since, '%%Y')", "upper(name)", "convert(stock, decimal(9, 2))"),
    }

    def test_functions_that_do_not(self) -> None:
        Product.objects.create(name="lamp", since="2026-01-01")
        for call in self.CONSTANT[connection.vendor]:
            sql = f"SELECT id, {call} AS called FROM testapp_product"
            assert read(lambda sql=sql: list(Product.objects.raw(sql))).fresh, call

    def test_functions_of_the_user(self) -> None:
        Product.objects.create(name="lamp")
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            connection.connection.create_function("total_stock", 0, lambda: 0)
        elif connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                # What it is declared to be may be wrong.
                cursor.execute(
                    "CREATE FUNCTION pg_temp.total_stock() RETURNS bigint IMMUTABLE LANGUAGE sql"
                    " AS 'SELECT sum(stock) FROM testapp_product'"
                )
        else:
            pytest.skip("its functions need rights of their own")
        name = "pg_temp.total_stock" if connection.vendor == "postgresql" else "total_stock"
        total = Func(function=name, output_field=IntegerField())
        assert read(lambda: list(Product.objects.annotate(t=total))).computed.forbidden
        assert read(lambda: list(Product.objects.filter(stock__gte=total))).computed.forbidden
        assert read(
            lambda: list(Product.objects.raw(f"SELECT id, {name}() AS t FROM testapp_product"))
        ).computed.forbidden
        connection.close()

    def test_functions_of_the_user_with_names_in_quotes(self) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("quotes make no difference, or it needs rights of its own")
        Product.objects.create(name="lamp")
        for name in ('"Lower"', '"coalesce"'):
            sql = f"SELECT id, {name}(name) AS called FROM testapp_product"
            with connection.cursor() as cursor:
                cursor.execute(
                    f"CREATE FUNCTION {name}(text) RETURNS text LANGUAGE sql"
                    " AS 'SELECT max(name) FROM testapp_tag'"
                )
                try:
                    made = read(lambda sql=sql: list(Product.objects.raw(sql)))
                finally:
                    cursor.execute(f"DROP FUNCTION {name}(text)")
            assert made.computed.forbidden, name
        sql = 'SELECT id, "lower"(name) AS called FROM testapp_product'
        assert read(lambda: list(Product.objects.raw(sql))).fresh

    SETTINGS: dict[str, tuple[str, str]] = {  # one that matters, and one that does not
        "sqlite": ("PRAGMA case_sensitive_like = ON", "PRAGMA cache_size = 100"),
        "postgresql": ("SET timezone = 'Asia/Tokyo'", "SET statement_timeout = '60s'"),
        "mysql": ("SET time_zone = '+09:00'", "SET foreign_key_checks = 1"),
    }

    def test_what_is_read_under_settings_made_by_hand(self, settings: Any) -> None:
        matters, does_not = self.SETTINGS[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(does_not)
            assert read(lambda: list(Product.objects.all())).fresh
            cursor.execute(matters)
        assert read(lambda: list(Product.objects.all())).computed.forbidden
        settings.SMARTCACHE_NAMESPACE = lambda: "tokyo"  # it tells them apart
        assert read(lambda: list(Product.objects.all())).fresh
        settings.SMARTCACHE_NAMESPACE = ""
        connection.close()
        assert read(lambda: list(Product.objects.all())).fresh

    def test_settings_of_every_connection_are_none_of_one(self) -> None:
        def prepare(connection: Any, **_: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute(self.SETTINGS[connection.vendor][0])

        connection.close()
        connection_created.connect(prepare)
        try:
            for _ in range(2):
                connection.ensure_connection()
                assert read(lambda: list(Product.objects.all())).fresh
                connection.close()
        finally:
            connection_created.disconnect(prepare)

    def test_settings_of_a_transaction_end_with_it(self) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("others have none")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL timezone = 'Asia/Tokyo'")
            assert read(lambda: list(Product.objects.all())).computed.forbidden
        assert read(lambda: list(Product.objects.all())).fresh

    def test_what_no_statement_tells(self) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("others prepare otherwise, or not")

        def prepared() -> Any:
            cursor.execute("EXECUTE all_names")
            return cursor.fetchall()

        with connection.cursor() as cursor:
            cursor.execute("PREPARE all_names AS SELECT name FROM testapp_product")
            made = read(prepared)
            cursor.execute("DEALLOCATE all_names")
        assert made.computed.forbidden

    def test_locked_rows(self) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("no row locks")
        with transaction.atomic():
            made = read(lambda: list(Product.objects.select_for_update().filter(pk=1)))
        assert made.computed.forbidden

    def test_tables_that_the_settings_name(self, settings: Any) -> None:
        settings.SMARTCACHE_UNCACHABLE_TABLES = ["testapp_tag"]
        assert read(lambda: list(Tag.objects.all())).computed.forbidden
        assert read(lambda: list(Product.objects.all())).computed.forbidden is None

    def test_temporary_tables(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE scratch (id integer)")
        sql = "SELECT 1 AS id FROM scratch"
        assert read(lambda: list(Product.objects.raw(sql))).computed.forbidden
        connection.close()

    def test_tables_that_no_model_has_are_found_in_the_database(self) -> None:
        sql = "SELECT id FROM django_migrations"
        made = read(lambda: list(Product.objects.raw(sql)))
        assert made.fresh
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = 'never'")
        assert not made.fresh

    def test_a_table_that_a_cte_of_its_name_reads(self) -> None:
        schema = {"sqlite": "main.", "postgresql": "public."}.get(connection.vendor, "")
        sql = (
            f"WITH django_migrations AS (SELECT id FROM {schema}django_migrations)"
            " SELECT id FROM django_migrations"
        )
        made = read(lambda: list(Product.objects.raw(sql)))
        assert made.fresh
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = 'never'")
        assert not made.fresh

    def test_a_view_that_a_cte_of_its_name_reads(self) -> None:
        sql = (
            "WITH testapp_listedproduct AS (SELECT id FROM testapp_listedproduct)"
            " SELECT id FROM testapp_listedproduct"
        )
        if connection.vendor == "sqlite":
            sql = sql.replace("(SELECT id FROM ", "(SELECT id FROM main.")
        assert read(lambda: list(Product.objects.raw(sql))).computed.forbidden

    PARTS: tuple[str, ...] = (
        "(SELECT MAX(m.id) FROM testapp_tag t, django_migrations m)",
        "(SELECT MAX(m.id) FROM testapp_tag t LEFT JOIN testapp_place p ON 1 = 1,"
        " django_migrations m)",
        "(SELECT MAX(id) FROM/* all */django_migrations)",
    )

    def test_tables_in_fragments_that_no_model_has(self) -> None:
        parts = self.PARTS
        if connection.vendor != "mysql":
            parts += ('(SELECT MAX(id) FROM"django_migrations")',)
        if connection.vendor == "sqlite":
            parts += ("(SELECT MAX(id) FROM (django_migrations))",)
        reads = [
            read(lambda part=part: list(Product.objects.annotate(x=RawSQL(part, [])).values("x")))
            for part in parts
        ]
        where = ["testapp_product.id = django_migrations.id"]
        extra = Product.objects.extra(tables=["django_migrations"], where=where)
        reads.append(read(lambda: list(extra)))
        assert all(made.fresh for made in reads)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = 'never'")
        assert [made.fresh for made in reads] == [False] * len(reads)

    def test_a_table_read_without_a_select(self) -> None:
        if connection.vendor == "sqlite":
            sql = "(1, 'a') IN testapp_tag"
        elif connection.vendor == "postgresql":
            sql = "EXISTS (TABLE testapp_tag OFFSET 1)"
        else:
            pytest.skip("it has no such form")
        for name in "ab":
            Tag.objects.create(name=name)
        tags = Tag.objects.filter(name="a").annotate(x=RawSQL(sql, []))
        made = read(lambda: list(tags))
        assert precision(made.computed, Tag) == TABLE


class TestComputations:
    def test_tokens_are_taken_before_the_query(self) -> None:
        product = Product.objects.create(name="lamp")
        held: list[int] = []

        def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            found = current()
            assert found is not None
            held.append(len(found.tags()))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(watch):
            read(lambda: Product.objects.get(pk=product.pk))
        assert held == [2]

    def test_inner_computations_add_to_the_outer(self) -> None:
        with computation() as outer:
            list(Tag.objects.all())
            with computation(b"inner", 8) as inner:
                list(Place.objects.all())
                inner.limit(5)
            assert len(inner.tags()) == 1
        assert dict(inner.tags()).items() <= dict(outer.tags()).items()
        assert (_core.key_tag(b"inner"), 8) in outer.tags()
        assert outer.remaining is not None
        assert outer.remaining <= 5

    def test_a_tag_with_two_tokens_is_not_stored(self) -> None:
        with computation() as outer:
            list(Tag.objects.all())
            Tag.objects.create(name="between")
            with computation() as inner:
                list(Tag.objects.all())
        assert inner.forbidden is None
        assert outer.forbidden

    def test_answers_pass_on_what_they_were_made_from(self) -> None:
        with computation() as outer:
            outer.inherit([(1, 2)], 9.0)
            outer.inherit([(1, 2), (3, 4)], None)
        assert outer.tags() == [(1, 2), (3, 4)]
        assert outer.forbidden is None
        assert outer.remaining is not None
        assert outer.remaining <= 9.0
        with computation() as outer:
            outer.inherit([(1, 2)])
            outer.inherit([(1, 3)])
        assert outer.forbidden

    def test_what_forbids_an_inner_one_forbids_the_outer(self) -> None:
        with computation() as outer:
            with computation() as inner:
                inner.forbid("it is random")
            assert outer.forbidden == "it is random"

    def test_an_exception_hands_on_what_was_read(self) -> None:
        with computation() as outer:
            with pytest.raises(Product.DoesNotExist), computation():
                Product.objects.get(pk=1)
            found = outer.tags()
        assert found
        assert current() is None

    async def test_tasks_and_threads_add_to_the_same_one(self) -> None:
        # In a thread of its own: one left by an earlier test may hold another database.
        async with ThreadSensitiveContext(), contextlib.AsyncExitStack() as stack:
            made = stack.enter_context(computation())
            await sync_to_async(list)(Tag.objects.all())
            async for _ in Place.objects.all():
                pass
        assert {precision(made, Tag), precision(made, Place)} == {TABLE}

    def test_a_straggler_adds_nothing(self) -> None:
        with computation() as made:
            context = contextvars.copy_context()
        context.run(lambda: list(Tag.objects.all()))
        assert made.tags() == []

    def test_the_store_being_down_is_not_stored(self, monkeypatch: Any) -> None:
        from djsmartcache import process

        class Down:
            def take(self, *_: Any) -> None:
                return None

        monkeypatch.setattr(process, "cache", Down)
        assert read(lambda: list(Tag.objects.all())).computed.forbidden


class TestDeclared:
    def test_models_instances_and_querysets(self) -> None:
        product = Product.objects.create(name="lamp")
        other = Product.objects.create(name="desk")
        with computation() as made:
            made.depends_on([Tag, product, Place.objects.filter(name="Oak")])
        assert precision(made, Tag) == TABLE
        assert precision(made, Product) == ROW
        assert precision(made, Place) == of_text(CONDITION)
        again = read(lambda: current().depends_on([product]))  # type: ignore[union-attr]
        other.save()
        assert again.fresh
        product.save()
        assert not again.fresh

    def test_a_child_is_its_parents_too(self) -> None:
        restaurant = Restaurant.objects.create(name="Oak")
        made = read(lambda: current().depends_on([restaurant]))  # type: ignore[union-attr]
        Place.objects.filter(pk=restaurant.pk).update(name="Elm")
        assert not made.fresh

    def test_nothing_else(self) -> None:
        with computation() as made, pytest.raises(TypeError, match="'tags'"):
            made.depends_on(["tags"])

    def test_names_of_the_user(self) -> None:
        from djsmartcache.orm import transaction

        found = read(lambda: current().user_tags(["a", "b"]))  # type: ignore[union-attr]
        transaction.note_anywhere([scopes.user_tag("c")])
        assert found.fresh
        transaction.note_anywhere([scopes.user_tag("b")])
        assert not found.fresh


class TestDatabases:
    def test_a_service_is_the_database_it_names(
        self, database: dict[str, Any], store: Any, shop: None, tmp_path: Any, monkeypatch: Any
    ) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("libpq's services")
        file = tmp_path / "services"
        file.write_text(
            f"[shop]\nhost={database['HOST']}\nport={database['PORT']}\n"
            f"user={database['USER']}\ndbname={database['NAME']}\n"
        )
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        other = connections["default"].copy("service")
        other.settings_dict.update(dict.fromkeys(("HOST", "PORT", "USER", "NAME"), ""))
        other.settings_dict["OPTIONS"] = {"service": "shop"}
        try:
            assert scopes.database(other) == scopes.database(connection)
        finally:
            other.close()

    def test_the_plain_case_needs_no_connection(self, shop: None) -> None:
        connection.close()
        assert scopes.database(connection)
        assert connection.connection is None

    def test_a_name_among_the_options_counts(self, shop: None) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("psycopg's options")
        other = connections["default"].copy("other")
        other.settings_dict["OPTIONS"] = {"dbname": "elsewhere"}
        assert scopes.database(other) == "postgresql:elsewhere"
