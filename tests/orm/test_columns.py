"""Columns that compare otherwise than their fields say: no entry outlives a row that it was made
of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.test.utils import isolate_apps

from djsmartcache.orm import columns, schema
from tests.orm.conftest import read
from tests.orm.test_schema import run
from tests.testapp.models import Category, Country, Product, Review

pytestmark = [
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),
]

CI = "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
# By the name of the case: what is done before, the column, what is looked for, what a row has that
# the database takes for the same, and what undoes it.
Case = tuple[str, str, Any, Any, str]
TEXTS: dict[str, dict[str, Case]] = {
    "sqlite": {
        "letters of both cases": ("", "varchar(20) COLLATE NOCASE", "ALICE", "alice", ""),
        "trailing blanks": ("", 'text collate"rtrim"', "alice", "alice  ", ""),
        "numbers": ("", "integer", "05", "5", ""),
        "numbers by name": ("", "decimal(9, 2)", "1.50", "1.5", ""),
    },
    "postgresql": {
        "a type that folds": (
            "CREATE EXTENSION IF NOT EXISTS citext", "citext", "ALICE", "alice",
            "DROP EXTENSION citext",
        ),
        "a collation that folds": (
            CI, "varchar(20) COLLATE folding", "ALICE", "alice", "DROP COLLATION folding",
        ),
        "a domain that folds": (
            f"{CI}; CREATE DOMAIN folded AS text COLLATE folding", "folded", "ALICE", "alice",
            "DROP DOMAIN folded; DROP COLLATION folding",
        ),
        "a domain of another domain": (
            "CREATE EXTENSION IF NOT EXISTS citext; CREATE DOMAIN inner_one AS citext;"
            " CREATE DOMAIN outer_one AS inner_one",
            "outer_one", "ALICE", "alice",
            "DROP DOMAIN outer_one; DROP DOMAIN inner_one; DROP EXTENSION citext",
        ),
        "trailing blanks": ("", "char(20)", "alice", "alice  ", ""),
        "numbers": ("", "integer", "05", "5", ""),
    },
    "mysql": {
        "letters of both cases": (
            "", "varchar(20) COLLATE utf8mb4_general_ci", "ALICE", "alice", "",
        ),
        "letters with accents": ("", "text COLLATE utf8mb4_unicode_ci", "élan", "elan", ""),
        "trailing blanks": ("", "varchar(20) COLLATE utf8mb4_bin", "alice", "alice  ", ""),
        "numbers": ("", "integer", "05", "5", ""),
    },
}  # fmt: skip
CASES = sorted({case for cases in TEXTS.values() for case in cases})


def statements(*texts: str) -> list[str]:
    return [part for text in texts for part in text.split(";") if part.strip()]


@isolate_apps("tests.testapp")
def model_of(kind: models.Field[Any, Any]) -> Any:
    """A model that Django has made the table of, as far as it knows."""

    class Holder(models.Model):  # noqa: DJ008
        value = kind

        class Meta:
            app_label = "testapp"
            db_table = "holder"

    return Holder


@pytest.fixture
def holder(shop: None) -> Iterator[Any]:
    """Make the table of a model with a column of this type; give the model."""
    undone: list[str] = []

    def make(column: str, kind: models.Field[Any, Any], before: str = "", after: str = "") -> Any:
        run(*statements(before))
        undone.extend(statements(after))
        key = {
            "sqlite": "integer PRIMARY KEY AUTOINCREMENT",
            "postgresql": "bigserial PRIMARY KEY",
            "mysql": "bigint PRIMARY KEY AUTO_INCREMENT",
        }[connection.vendor]
        run(f"CREATE TABLE holder (id {key}, value {column})")
        undone.insert(0, "DROP TABLE holder")
        return model_of(kind)

    yield make
    run(*undone)


def outlives(model: Any, wanted: Any, stored: Any) -> bool:
    """Whether an entry found by a value outlives a change of the row that it was found in."""

    def count() -> int:
        found: int = model.objects.filter(value=wanted).count()
        return found

    read(count)
    other = model.objects.create(value=stored)  # the writer learns what is looked for
    model.objects.filter(pk=other.pk).delete()
    entry = read(count)
    made_row = model.objects.create(value=stored)
    if entry.fresh:
        return True
    entry = read(count)
    assert entry.value == 1, "the database takes them for equal"
    model.objects.filter(pk=made_row.pk).update(value=None)
    return entry.fresh


@pytest.mark.parametrize("case", CASES)
def test_text_that_the_database_takes_for_equal_drops_entries_of_the_other(
    case: str, holder: Any
) -> None:
    known = TEXTS[connection.vendor].get(case)
    if known is None:
        pytest.skip("not of this database")
    before, column, wanted, stored, after = known
    model = holder(column, models.CharField(max_length=20, null=True), before, after)
    assert not outlives(model, wanted, stored)


def test_a_table_whose_columns_compare_bytes_has_conditions(holder: Any) -> None:
    collation = " COLLATE utf8mb4_bin" if connection.vendor == "mysql" else ""
    model = holder(f"varchar(20){collation}", models.CharField(max_length=20, null=True))
    read(lambda: model.objects.filter(value="ALICE").count())
    model.objects.create(value="teacher")
    entry = read(lambda: model.objects.filter(value="ALICE").count())
    model.objects.create(value="alice")
    assert entry.fresh
    model.objects.create(value="ALICE")
    assert not entry.fresh


def test_numbers_in_a_column_of_another_type_have_no_conditions(holder: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("it compares numbers as numbers")
    model = holder("numeric(9, 1)", models.IntegerField(null=True))
    read(lambda: model.objects.filter(value=5).count())
    model.objects.create(value=7)
    entry = read(lambda: model.objects.filter(value=5).count())
    model.objects.create(value=6)
    assert not entry.fresh


def test_a_truth_of_sqlite_may_be_any_number_but_0() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("others have a type for it, or a number that the driver leaves alone")

    def names() -> list[str]:
        return [product.name for product in Product.objects.filter(listed=True)]

    lamp = Product.objects.create(name="lamp")
    read(names)
    Product.objects.create(name="teacher", listed=False)
    for write in (
        lambda: Product.objects.filter(pk=lamp.pk).update(name="new"),
        lambda: Product.objects.filter(name__startswith="n").update(name="newer"),
    ):
        run("UPDATE testapp_product SET listed = 2 WHERE name <> 'teacher'")
        entry = read(names)
        write()
        # Django before 6.1 asks whether the column is true, later whether it is 1.
        assert entry.value == names() or not entry.fresh


def test_text_that_is_made_short_is_found_by_what_is_left() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("it stores text of any length")
    short = "a" + " " * 99
    read(lambda: Category.objects.filter(name=short).count())
    Category.objects.create(name="teacher")
    entry = read(lambda: Category.objects.filter(name=short).count())
    Category.objects.bulk_create([Category(name=short + "  ")], ignore_conflicts=True)
    assert Category.objects.filter(name=short).count() == 1
    assert not entry.fresh


class Asked:
    """The queries of the package's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sql: list[str] = []
        original = schema.query

        def query(on: Any, sql: str, *parameters: Any) -> list[Any]:
            self.sql.append(sql)
            return original(on, sql, *parameters)

        monkeypatch.setattr(schema, "query", query)

    @property
    def columns(self) -> int:
        return sum("pg_attribute a ON a.attrelid = c.oid" in sql for sql in self.sql) + sum(
            "table_xinfo" in sql or "data_type" in sql for sql in self.sql
        )


def use(name: str) -> None:
    read(lambda: list(Country.objects.filter(name=name)))
    Country.objects.create(code=name, name=name)
    read(lambda: Country.objects.get(pk=name))
    Country.objects.filter(name=name).update(name="new")
    Country.objects.filter(pk=name).delete()


def test_a_table_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    schema.forget(connection)
    monkeypatch.setattr(columns, "_met", {})
    asked = Asked(monkeypatch)
    use("de")
    assert asked.columns == 1
    use("fr")
    assert asked.columns == 1
    read(lambda: list(Category.objects.filter(name="light")))
    assert asked.columns == 2
    known = schema.of(connection)
    monkeypatch.setattr(schema, "clock", lambda: known.read_at + schema.MAX_AGE + 1)
    use("de")
    read(lambda: list(Category.objects.filter(name="light")))
    assert asked.columns == 3, "all that were met are asked for by one"


def test_where_nothing_can_be_asked_entries_are_of_the_whole_table(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = dict.fromkeys(columns._QUERIES, "SELECT nothing FROM nowhere WHERE a IN ({marks}%s)")
    monkeypatch.setattr(columns, "_QUERIES", broken)
    schema.forget(connection)
    with transaction.atomic():
        Category.objects.create(name="in a transaction that goes on")
        entry_in_vain = read(lambda: list(Category.objects.filter(name="light")))
    assert entry_in_vain.computed.forbidden
    entry = read(lambda: list(Category.objects.filter(name="light")))
    assert Category.objects.count() == 1
    Category.objects.create(name="wood")
    assert not entry.fresh
    assert "could not be listed" in caplog.text
    schema.forget(connection)


def test_a_failed_transaction_is_asked_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("others answer")
    schema.forget(connection)
    asked = Asked(monkeypatch)

    def go_on() -> None:
        with transaction.atomic():
            with contextlib.suppress(DatabaseError):
                run("SELECT 1 / 0")
            Category.objects.filter(name="light").update(name="wood")

    with pytest.raises(DatabaseError, match="aborted"):
        go_on()
    assert asked.sql == []
    assert "could not be listed" not in caplog.text


@pytest.mark.parametrize("way", ["update", "update by text", "delete", "create", "upsert"])
def test_a_transaction_of_sqlite_is_asked_after_it_has_begun_to_write(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a limit of SQLite")
    Country.objects.create(code="de", name="Germany")
    review = Review.objects.create(product=Product.objects.create(name="lamp"), text="a")
    ways = {
        "update": lambda: Country.objects.filter(pk="de").update(name="x"),
        "update by text": lambda: Review.objects.filter(text="a").update(text="b"),
        "delete": lambda: Country.objects.filter(pk="de")._raw_delete("default"),
        "create": lambda: Country.objects.create(code="fr", name="France"),
        "upsert": lambda: Country.objects.bulk_create(
            [Country(code="de", name="x")],
            update_conflicts=True,
            unique_fields=["code"],
            update_fields=["name"],
        ),
    }
    read(lambda: list(Country.objects.filter(name="Germany")))
    read(lambda: list(Review.objects.filter(text="a")))
    review.save()
    schema.forget(connection)
    original = schema.query
    begun: list[bool] = []

    def query(on: Any, sql: str, *parameters: Any) -> list[Any]:
        # Only a writer has the lock: another is refused it.
        other = connection.copy()
        try:
            other.ensure_connection()
            other.connection.execute("PRAGMA busy_timeout = 0")
            other.connection.execute("BEGIN IMMEDIATE")
            begun.append(False)
            other.connection.execute("ROLLBACK")
        except Exception as error:
            begun.append("locked" in str(error))
        finally:
            other.close()
        return original(on, sql, *parameters)

    monkeypatch.setattr(schema, "query", query)
    with transaction.atomic():
        ways[way]()
    assert begun
    assert all(begun)
