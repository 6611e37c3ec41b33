"""What the database itself changes along with the table that a statement names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, models, transaction
from django.test.utils import isolate_apps

from djsmartcache.orm import catalog, schema
from tests.orm.conftest import Recorded, read
from tests.testapp.models import ListedProduct, Product, Tag

pytestmark = [
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),
]


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


@contextmanager
def made(*statements: str, drop: str) -> Iterator[None]:
    """Make tables, and drop them in the end."""
    run(*statements)
    try:
        yield
    finally:
        run(*drop.split(";"))


def count(table: str) -> Recorded:
    def counted() -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {table}")
            found: int = cursor.fetchone()[0]
            return found

    return read(counted)


@pytest.fixture
def kennel(shop: None) -> Iterator[None]:
    """Tables of no model; the database changes pets and toys with their owners."""
    constraint = "FOREIGN KEY (owner) REFERENCES owner (id)"
    with made(
        "CREATE TABLE owner (id integer PRIMARY KEY, name varchar(9))",
        f"CREATE TABLE pet (id integer PRIMARY KEY, owner integer, {constraint} ON DELETE CASCADE)",
        "CREATE TABLE toy (id integer PRIMARY KEY, pet integer,"
        " FOREIGN KEY (pet) REFERENCES pet (id) ON DELETE SET NULL)",
        f"CREATE TABLE tally (owner integer, {constraint} ON UPDATE CASCADE)",
        f"CREATE TABLE guarded (owner integer, {constraint})",
        "INSERT INTO owner VALUES (1, 'Ann')",
        drop="DROP TABLE guarded; DROP TABLE tally; DROP TABLE toy; DROP TABLE pet;"
        "DROP TABLE owner",
    ):
        yield


TABLES = ("owner", "pet", "toy", "tally", "guarded")


def dropped(*statements: str) -> set[str]:
    """Say of which tables the readers are dropped."""
    held = {table: count(table) for table in TABLES}
    run(*statements)
    return {table for table, of_table in held.items() if not of_table.fresh}


@contextmanager
def tree(reaction: str) -> Iterator[type[models.Model]]:
    """Make a table whose rows refer to others of it."""
    with isolate_apps("tests.testapp"):

        class Branch(models.Model):  # noqa: DJ008
            id = models.IntegerField(primary_key=True)
            parent = models.IntegerField(null=True)

            class Meta:
                app_label = "testapp"
                managed = False
                db_table = "branch"

        columns = "id integer PRIMARY KEY, parent integer"
        key = f"FOREIGN KEY (parent) REFERENCES branch (id) ON DELETE {reaction}"
        with made(f"CREATE TABLE branch ({columns}, {key})", drop="DROP TABLE branch"):
            yield Branch


@pytest.mark.parametrize("reaction", ["CASCADE", "SET NULL"])
def test_a_row_takes_others_of_its_table_along(reaction: str) -> None:
    with tree(reaction) as branch:
        root, leaf, other = (
            branch.objects.create(id=number, parent=parent)
            for number, parent in ((1, None), (2, 1), (3, None))
        )
        of_leaf = read(lambda: list(branch.objects.filter(pk=leaf.pk)))
        other.save()
        assert of_leaf.fresh
        root.delete()
        assert not of_leaf.fresh


@pytest.mark.usefixtures("kennel")
class TestForeignKeys:
    def test_deleting_rows_changes_what_refers_to_them(self) -> None:
        assert dropped("DELETE FROM owner") == {"owner", "pet", "toy"}

    def test_updating_rows_changes_what_refers_to_them(self) -> None:
        assert dropped("UPDATE owner SET name = 'Bob'") == {"owner", "tally"}

    def test_a_new_row_changes_nothing_else(self) -> None:
        assert dropped("INSERT INTO owner VALUES (2, 'Bob')") == {"owner"}

    def test_a_row_that_replaces_another_deletes_it(self) -> None:
        if connection.vendor == "postgresql":
            pytest.skip("no REPLACE")
        assert dropped("REPLACE INTO owner VALUES (1, 'Bob')") == {"owner", "pet", "toy", "tally"}

    @isolate_apps("tests.testapp")
    def test_the_orm_follows_only_what_it_changes(self) -> None:
        class Owner(models.Model):  # noqa: DJ008
            id = models.IntegerField(primary_key=True)
            name = models.CharField(max_length=9)

            class Meta:
                app_label = "testapp"
                managed = False
                db_table = "owner"

        pets, tallies = count("pet"), count("tally")
        owner = Owner.objects.create(id=2, name="Bob")
        owner.name = "Carl"
        owner.save()
        assert pets.fresh
        assert tallies.fresh
        Owner.objects.filter(pk=2).update(id=3)
        assert pets.fresh
        assert not tallies.fresh
        Owner.objects.filter(pk=3).delete()
        assert not pets.fresh

    def test_those_made_by_another_process_are_followed_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pets = count("pet")
        known = schema.of(connection)
        schema._schemas = {key: schema.Schema() for key in schema._schemas}
        monkeypatch.setattr(schema, "clock", lambda: known.read_at + schema.MAX_AGE + 1)
        run("DELETE FROM owner")
        assert not pets.fresh


class TestViews:
    """``testapp_listedproduct`` is a view of the table of products."""

    def test_its_rows_are_its_tables(self) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("takes no writes")
        product = Product.objects.create(name="lamp")
        of_product, tags = read(lambda: Product.objects.get(pk=product.pk)), count("testapp_tag")
        ListedProduct.objects.filter(pk=product.pk).update(name="desk")
        assert not of_product.fresh
        of_product = read(lambda: Product.objects.get(pk=product.pk))
        assert of_product.value.name == "desk"
        run("UPDATE testapp_listedproduct SET name = 'chair'")
        assert not of_product.fresh
        assert tags.fresh

    def test_views_of_views_and_their_cascades(self) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("takes no writes")
        with made(
            "CREATE TABLE base (id integer PRIMARY KEY)",
            "CREATE TABLE leaf (base integer,"
            " FOREIGN KEY (base) REFERENCES base (id) ON DELETE CASCADE)",
            "CREATE VIEW inner_view AS SELECT * FROM base",
            "CREATE VIEW outer_view AS SELECT * FROM inner_view",
            drop="DROP VIEW outer_view; DROP VIEW inner_view; DROP TABLE leaf; DROP TABLE base",
        ):
            base, leaf = count("base"), count("leaf")
            run("DELETE FROM outer_view")
            assert not base.fresh
            assert not leaf.fresh

    def test_triggers_in_place_of_a_write_may_change_anything(self) -> None:
        if connection.vendor == "mysql":
            pytest.skip("has none")
        trigger = (
            "CREATE TRIGGER instead INSTEAD OF UPDATE ON shown BEGIN"
            " INSERT INTO testapp_tag (name) VALUES ('new'); END"
        )
        if connection.vendor == "postgresql":
            run(
                "CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN INSERT INTO testapp_tag (name) VALUES ('new'); RETURN NEW; END $$"
            )
            trigger = (
                "CREATE TRIGGER instead INSTEAD OF UPDATE ON shown"
                " FOR EACH ROW EXECUTE FUNCTION instead()"
            )
        drop = "DROP VIEW shown"
        if connection.vendor == "postgresql":
            drop += ";DROP FUNCTION instead()"
        with made("CREATE VIEW shown AS SELECT 1 AS a", trigger, drop=drop):
            tags = count("testapp_tag")
            run("UPDATE shown SET a = 2")
            assert not tags.fresh

    def test_a_trigger_may_store_something_else_than_was_sent(self) -> None:
        if connection.vendor == "mysql":
            pytest.skip("its rows are not known at all")
        create = (
            "CREATE TRIGGER amends AFTER INSERT ON testapp_product BEGIN"
            " UPDATE testapp_product SET stock = 7 WHERE id = NEW.id; END"
        )
        drop = "DROP TRIGGER amends"
        if connection.vendor == "postgresql":
            run(
                "CREATE FUNCTION amend() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN NEW.stock = 7; RETURN NEW; END $$"
            )
            create = (
                "CREATE TRIGGER amends BEFORE INSERT ON testapp_product"
                " FOR EACH ROW EXECUTE FUNCTION amend()"
            )
            drop += " ON testapp_product;DROP FUNCTION amend()"
        with made(create, drop=drop):
            for _ in range(2):  # the first write after columns are registered learns of them
                of_seven = read(lambda: Product.objects.filter(stock=7).count())
                Product.objects.bulk_create([Product(name="x", stock=5)], ignore_conflicts=True)
                assert not of_seven.fresh

    def test_rules_are_followed(self) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("has none")
        with made(
            "CREATE TABLE ruled (id integer)",
            "CREATE RULE also AS ON INSERT TO ruled"
            " DO ALSO INSERT INTO testapp_tag (name) VALUES ('new')",
            drop="DROP TABLE ruled",
        ):
            tags = count("testapp_tag")
            run("INSERT INTO ruled VALUES (1)")
            assert not tags.fresh

    def test_names_that_nobody_knows_may_be_any_table(self) -> None:
        tags = count("testapp_tag")
        with pytest.raises(Exception, match="elsewhere"):
            run("UPDATE elsewhere SET x = 1")
        connection.close()
        assert not tags.fresh

    def test_a_view_in_place_of_a_table_is_seen_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with made("CREATE VIEW was_table AS SELECT 1 AS a", drop="DROP VIEW was_table"):
            known = schema.of(connection)
            known.tables |= {"was_table"}
            assert catalog.is_plain(connection, "was_table")
            monkeypatch.setattr(schema, "clock", lambda: known.read_at + schema.MAX_AGE + 1)
            assert not catalog.is_plain(connection, "was_table")

    def test_a_table_with_a_dot_in_its_name_is_a_table(self) -> None:
        quote = connection.ops.quote_name
        table = quote("sales.2024")
        with made(f"CREATE TABLE {table} (id integer)", drop=f"DROP TABLE {table}"):
            sales = count(table)
            assert sales.fresh
            run(f"INSERT INTO {table} VALUES (1)")
            assert not sales.fresh

    def test_temporary_tables_are_nobody_elses(self) -> None:
        if connection.vendor == "mysql":
            pytest.skip("does not tell")
        run("CREATE TEMPORARY TABLE scratch (id integer)")
        tags = count("testapp_tag")
        run("INSERT INTO scratch VALUES (1)", "DELETE FROM scratch")
        assert tags.fresh
        run("DROP TABLE scratch")

    def test_defined_names_are_no_tables(self) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("its syntax")
        tags = count("testapp_tag")
        run(
            "WITH gone AS (DELETE FROM testapp_review RETURNING *)"
            " INSERT INTO testapp_place (name) SELECT text FROM gone"
        )
        assert tags.fresh


class TestInheritance:
    @pytest.fixture(autouse=True)
    def tables(self, shop: None) -> Iterator[None]:
        if connection.vendor != "postgresql":
            pytest.skip("has none")
        with made(
            "CREATE TABLE event (id integer, day integer) PARTITION BY RANGE (day)",
            "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE ancestor (id integer)",
            "CREATE TABLE heir () INHERITS (ancestor)",
            drop="DROP TABLE event; DROP TABLE heir; DROP TABLE ancestor",
        ):
            yield

    def test_a_written_partition_is_seen_in_its_parent(self) -> None:
        whole, heirs = count("event"), count("ancestor")
        run("INSERT INTO event_1 VALUES (1, 1)", "INSERT INTO heir VALUES (1)")
        assert not whole.fresh
        assert not heirs.fresh

    def test_a_written_parent_is_seen_in_its_partitions(self) -> None:
        part, heirs = count("event_1"), count("heir")
        run("INSERT INTO event VALUES (1, 1)", "UPDATE ancestor SET id = 2")
        assert not part.fresh
        assert not heirs.fresh

    def test_a_truncated_partition_is_seen_in_its_parent(self) -> None:
        whole = count("event")
        run("TRUNCATE event_1")
        assert not whole.fresh

    def test_a_partition_attached_later_is_seen_in_both(self) -> None:
        run("CREATE TABLE event_3 (id integer, day integer)")
        part = count("event_3")
        whole = count("event")
        run("ALTER TABLE event ATTACH PARTITION event_3 FOR VALUES FROM (20) TO (30)")
        assert not part.fresh
        assert not whole.fresh
        part = count("event_3")
        run("DELETE FROM event")
        assert not part.fresh


def test_asking_is_no_query_of_the_users() -> None:
    schema.forget(connection)
    connection.force_debug_cursor = True
    try:
        before = len(connection.queries)
        Tag.objects.create(name="new")
        made_queries = [query["sql"] for query in connection.queries[before:]]
    finally:
        connection.force_debug_cursor = False
    assert not [sql for sql in made_queries if "pg_class" in sql or "sqlite_master" in sql]


@pytest.mark.parametrize("end", ["commit", "rollback", "COMMIT", "ROLLBACK", "CLOSE"])
def test_what_is_read_of_a_schema_before_its_change_ends_is_read_again(end: str) -> None:
    if not connection.features.can_rollback_ddl:
        pytest.skip("its changes are committed at once")
    before = schema.of(connection)

    def change() -> None:
        run("CREATE TABLE remade (id integer)")
        assert schema.known(connection) is None
        assert schema.of(connection) is not before, "as another thread may that sees none of it"

    if end.isupper():
        run("BEGIN")
        change()
        connection.close() if end == "CLOSE" else run(end)
    else:
        with transaction.atomic():
            change()
            transaction.set_rollback(end == "rollback")
    try:
        assert schema.known(connection) is None
    finally:
        if end.lower() == "commit":
            run("DROP TABLE remade")


def test_a_transaction_of_sqlite_begins_with_its_write() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a limit of SQLite")
    schema.forget(connection)
    seen: list[bool] = []
    original = schema.query

    def query(*args: object) -> list[object]:
        # Only a writer has it: a reader could be refused the lock afterwards.
        connection.connection.execute("UPDATE testapp_tag SET name = name WHERE 0")
        seen.append(connection.connection.in_transaction)
        return original(*args)  # type: ignore[arg-type]

    schema.query = query  # type: ignore[assignment]
    try:
        with transaction.atomic():
            Tag.objects.create(name="new")
    finally:
        schema.query = original
    assert seen
