"""Which names are tables, and what their names are."""

from __future__ import annotations

import pytest
from django.db import connection, connections, models, transaction
from django.test.utils import isolate_apps

from djsmartcache.orm import catalog, schema, scopes
from tests.orm.conftest import read
from tests.testapp.models import Product


@isolate_apps("tests.testapp")
def test_models_that_disagree_on_a_key_name_rows_by_none() -> None:
    class One(models.Model):  # noqa: DJ008
        class Meta:
            app_label = "testapp"
            db_table = "shared"

    class Other(models.Model):  # noqa: DJ008
        code = models.CharField(max_length=9, primary_key=True)

        class Meta:
            app_label = "testapp"
            db_table = "shared"
            managed = False

    registry = catalog.Registry([One, Other])
    assert registry.key_column(One) is None
    assert registry.key_column(Other) is None
    assert catalog.Registry([One]).key_column(One) == "id"


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_only_permanent_tables_are_plain() -> None:
    schema.forget(connection)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE scratch (id integer)")
    assert catalog.is_plain(connection, "django_migrations")
    assert catalog.is_plain(connection, "testapp_product")
    assert not catalog.is_plain(connection, "testapp_listedproduct")
    assert not catalog.is_plain(connection, "scratch")
    connection.close()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMPORARY TABLE testapp_tag AS SELECT 1 AS id",
        "CREATE TEMP VIEW testapp_tag AS SELECT 1 AS id",
        "SELECT 1 AS id INTO TEMP testapp_tag",
        "SELECT 1 AS id INTO TEMPORARY TABLE testapp_tag",
    ],
)
def test_temporary_tables_hide_permanent_ones(sql: str) -> None:
    if connection.vendor == "mysql" or (connection.vendor == "sqlite" and "INTO" in sql):
        pytest.skip("it has no such statement, or does not tell")
    other = connection.copy()
    assert catalog.is_plain(connections["default"], "testapp_tag")
    assert catalog.is_plain(other, "testapp_tag")
    with connection.cursor() as cursor:
        cursor.execute(sql)
    assert not catalog.is_plain(connections["default"], "testapp_tag")
    assert catalog.is_plain(other, "testapp_tag")
    assert catalog.is_plain(connections["default"], "testapp_product")
    connection.close()
    assert catalog.is_plain(connections["default"], "testapp_tag")
    other.close()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_what_a_script_does_to_the_schema_is_known_at_once() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("other drivers take scripts as statements")
    assert not catalog.is_plain(connections["default"], "made_later")
    with connection.cursor() as cursor:
        cursor.executescript("CREATE TABLE made_later (id integer); SELECT 1;")
        try:
            assert catalog.is_plain(connections["default"], "made_later")
            cursor.executescript("CREATE TEMPORARY TABLE testapp_tag AS SELECT 1 AS id;")
            assert not catalog.is_plain(connections["default"], "testapp_tag")
        finally:
            cursor.executescript("DROP TABLE made_later; DROP TABLE IF EXISTS temp.testapp_tag;")
    assert not catalog.is_plain(connections["default"], "made_later")
    connection.close()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_a_temporary_table_is_gone_with_its_transaction() -> None:
    if connection.vendor == "mysql":
        pytest.skip("it does not tell")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE testapp_tag AS SELECT 1 AS id")
        assert not catalog.is_plain(connections["default"], "testapp_tag")
        transaction.set_rollback(True)
    assert catalog.is_plain(connections["default"], "testapp_tag")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_tables_made_later_are_plain_too() -> None:
    assert not catalog.is_plain(connection, "made_later")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE made_later (id integer)")
        try:
            assert catalog.is_plain(connection, "made_later")
        finally:
            cursor.execute("DROP TABLE made_later")
    assert not catalog.is_plain(connection, "made_later")


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_tables_that_sqlite_keeps_for_itself_are_not_plain() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("others have them in schemas of their own")
    names = ("sqlite_sequence", "sqlite_stat1")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        try:
            schema.forget(connection)
            assert schema.of(connection).known.issuperset(names)
            assert not any(catalog.is_plain(connections["default"], name) for name in names)
        finally:
            cursor.execute("DROP TABLE sqlite_stat1")


@pytest.mark.parametrize(
    "name", ["testapp_product", '"testapp_product"', "TestApp_Product", 'public"."testapp_product']
)
def test_a_table_has_one_name(name: str) -> None:
    own = scopes.table_tags(connection, Product._meta.db_table)
    assert scopes.table_tags(connection, name).table == own.table


def test_a_dot_may_be_part_of_a_name() -> None:
    assert scopes.plain("Sales.2024") == "sales.2024"
    assert scopes.plain('shop"."sales.2024') == "sales.2024"
    assert scopes.plain("[dbo] . [Sales]") == "sales"


LONG = {
    "letters": "long_" * 13,
    "letters of two bytes": "СКЛАД_заказанный_товар_поставщика_история",
    "letters whose small ones are longer": "Ⱥ" * 40,
}


@pytest.mark.parametrize("name", LONG.values(), ids=LONG)
def test_a_name_is_as_long_as_postgresql_leaves_it(name: str) -> None:
    cut = name.encode()[:63].decode(errors="ignore")
    assert cut != name
    for one in (name, name.lower(), cut, scopes.plain(name)):
        assert scopes.plain(one) == scopes.plain(name)
    own = scopes.table_tags(connection, name)
    assert scopes.table_tags(connection, scopes.plain(cut)).table == own.table


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("store", ["embedded"], indirect=True)
@pytest.mark.parametrize("name", LONG.values(), ids=LONG)
def test_a_table_of_a_long_name_is_one_table(name: str) -> None:
    if connection.vendor == "mysql":
        pytest.skip("it refuses them")
    with isolate_apps("tests.testapp"):

        class Holder(models.Model):  # noqa: DJ008
            value = models.CharField(max_length=20)

            class Meta:
                app_label = "testapp"
                db_table = name

    with connection.schema_editor() as editor:
        editor.create_model(Holder)
    cut = name if connection.vendor == "sqlite" else name.encode()[:63].decode(errors="ignore")
    try:
        assert catalog.is_plain(connections["default"], scopes.plain(name))
        made = Holder.objects.create(value="old")
        for text in (name, cut):
            for way in (
                lambda: Holder.objects.get(pk=made.pk).value,
                lambda: Holder.objects.filter(value="old").count(),
                lambda text=text: list(Holder.objects.raw(f'SELECT * FROM "{text}"')),
            ):
                entry = read(way)
                assert entry.fresh
                with connection.cursor() as cursor:
                    cursor.execute(f"UPDATE \"{cut}\" SET value = 'old'")
                assert not entry.fresh
                entry = read(way)
                Holder.objects.filter(pk=made.pk).update(value="old")
                assert not entry.fresh
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Holder)


def test_databases_are_told_apart(settings: object) -> None:
    class Connection:
        def __init__(self, vendor: str, name: str, host: str = "") -> None:
            self.vendor = vendor
            self.settings_dict = {"NAME": name, "HOST": host}

    def of(*given: str) -> str:
        return scopes.database(Connection(*given))  # type: ignore[arg-type]

    assert of("postgresql", "shop", "db") == of("postgresql", "shop", "127.0.0.1")
    assert of("postgresql", "shop") != of("postgresql", "test_shop")
    assert of("sqlite", "/tmp/../tmp/a") == of("sqlite", "/tmp/a")
    assert of("sqlite", "/tmp/a") != of("sqlite", "/tmp/b")
    assert of("sqlite", "file:/tmp/a?mode=rw") == of("sqlite", "/tmp/a")
    assert of("sqlite", "file:///tmp/a%20b") == of("sqlite", "/tmp/a b")
    assert of("sqlite", "file://localhost/tmp/a#b") == of("sqlite", "/tmp/a")


def test_a_namespace_has_names_of_its_own_and_no_tables(settings: object) -> None:
    before = scopes.table_tags(connection, "a").table, scopes.user_tag("a")
    settings.SMARTCACHE_NAMESPACE = lambda: "tenant"  # type: ignore[attr-defined]
    after = scopes.table_tags(connection, "a").table, scopes.user_tag("a")
    assert before[0] == after[0]
    assert before[1] != after[1]
