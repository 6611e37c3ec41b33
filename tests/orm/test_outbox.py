"""What the triggers note, whoever writes, and how they come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connection

from djsmartcache.orm import outbox, schema
from djsmartcache.orm.relay import Relay
from tests.orm.strangers import (
    TICKET,
    Sql,
    fill,
    manage,
    notes,
    sql,
    stale,
    stock,
    stranger,
    warm,
    watched,
)

__all__ = ["sql", "stranger", "watched"]

pytestmark = [
    pytest.mark.parametrize("database", ["postgresql"], indirect=True),
    pytest.mark.parametrize("store", ["redis"], indirect=True),
    pytest.mark.usefixtures("shop"),
]


@pytest.fixture
def extra(shop: None, sql: Sql) -> Iterator[Sql]:
    """Run SQL that makes things in the schema `extra`, which is gone afterwards."""
    sql("CREATE SCHEMA extra")
    yield sql
    sql("DROP SCHEMA extra CASCADE")
    schema.forget(connection)


# --- what is noticed


PROCEDURE = (
    "CREATE PROCEDURE extra.sell(pk bigint) LANGUAGE sql AS"
    " 'UPDATE testapp_product SET stock = stock - 1 WHERE id = pk'"
)
FUNCTION = (
    "CREATE FUNCTION extra.sell(pk bigint) RETURNS void LANGUAGE sql AS"
    " 'UPDATE testapp_product SET stock = stock - 1 WHERE id = pk'"
)
TRIGGER = (
    "CREATE FUNCTION extra.reviewed() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN UPDATE testapp_product SET stock = stock + 100 WHERE id = NEW.product_id;"
    " RETURN NULL; END';"
    "CREATE TRIGGER reviewed AFTER INSERT ON testapp_review FOR EACH ROW"
    " EXECUTE FUNCTION extra.reviewed()"
)
VIEW = "CREATE VIEW extra.shown AS SELECT id, stock FROM testapp_product WHERE listed"

WAYS = {
    "insert": "INSERT INTO testapp_product (id, name, stock, price, listed, details)"
    " VALUES (9, 'new', 90, 0, true, '{}')",
    "update": "UPDATE testapp_product SET stock = 50 WHERE id = 1",
    "update of a column": "UPDATE testapp_product SET name = 'chair' WHERE id = 2",
    "update of a key": "UPDATE testapp_product SET id = 9 WHERE id = 3",
    "update of all": "UPDATE testapp_product SET stock = stock + 1",
    "delete": "DELETE FROM testapp_product WHERE id = 3",
    "upsert": "INSERT INTO testapp_country VALUES ('de', 'Deutschland')"
    " ON CONFLICT (code) DO UPDATE SET name = excluded.name",
    "merge": "MERGE INTO testapp_product p USING (VALUES (1), (3)) v(id) ON p.id = v.id"
    " WHEN MATCHED AND p.id = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET stock = 8",
    "truncate": "TRUNCATE testapp_review",
    "truncate that cascades": "TRUNCATE testapp_product CASCADE",
    "a statement in a statement": "WITH gone AS (DELETE FROM testapp_review RETURNING product_id)"
    " UPDATE testapp_product SET stock = 0 WHERE id IN (SELECT product_id FROM gone)",
    "text key": "UPDATE testapp_country SET name = 'Allemagne' WHERE code = 'de'",
    "uuid key": "UPDATE testapp_ticket SET subject = 'closed'",
    "key of two columns": "UPDATE testapp_stock SET count = 70",
    "many to many": "DELETE FROM testapp_product_tags",
    "through model": "DELETE FROM testapp_membership",
    "parent of a model": "UPDATE testapp_place SET name = 'Inn'",
    "child of a model": "UPDATE testapp_restaurant SET seats = 12",
    "procedure": f"{PROCEDURE}; CALL extra.sell(1)",
    "function": f"{FUNCTION}; SELECT extra.sell(1)",
    "view": f"{VIEW}; UPDATE extra.shown SET stock = 3 WHERE id = 2",
    "trigger": f"{TRIGGER}; INSERT INTO testapp_review (product_id, text) VALUES (1, 'good');"
    " DROP TRIGGER reviewed ON testapp_review",
    "a transaction": "BEGIN; SAVEPOINT a; UPDATE testapp_product SET stock = 4 WHERE id = 1;"
    " RELEASE a; SAVEPOINT b; DELETE FROM testapp_review; ROLLBACK TO b; COMMIT",
    "a load": "SET session_replication_role = replica;"
    " UPDATE testapp_product SET stock = 60 WHERE id = 1; RESET session_replication_role",
    "do": "DO 'BEGIN FOR i IN 1..3 LOOP"
    " UPDATE testapp_product SET stock = stock + i WHERE id = i; END LOOP; END'",
}


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("way", WAYS)
def test_what_others_write_is_noticed(extra: Sql, way: str) -> None:
    fill()
    warm()
    extra(WAYS[way])
    assert stale() != [], "nothing was cached: this test proves nothing"
    assert "0 waiting" in manage("relay", "--once")
    assert stale() == []


@pytest.mark.usefixtures("watched")
def test_what_copy_loads_is_noticed(stranger: psycopg.Connection[Any]) -> None:
    fill()
    warm()
    with stranger.cursor().copy("COPY testapp_review (product_id, text) FROM STDIN") as copy:
        copy.write_row((1, "copied"))
    assert stale() != []
    manage("relay", "--once")
    assert stale() == []


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM testapp_product WHERE id = 2", "UPDATE testapp_product SET id = 9 WHERE id = 2"],
)
def test_what_the_database_cascades_is_noticed(sql: Sql, statement: str) -> None:
    sql(
        "ALTER TABLE testapp_review ADD CONSTRAINT cascading FOREIGN KEY (product_id)"
        " REFERENCES testapp_product ON DELETE CASCADE ON UPDATE CASCADE"
    )
    try:
        fill()
        warm()
        sql(statement)
        assert {name for name, _, _ in notes()} == {"testapp_product", "testapp_review"}
        manage("relay", "--once")
        assert stale() == []
    finally:
        sql("ALTER TABLE testapp_review DROP CONSTRAINT cascading")


@pytest.mark.usefixtures("watched")
def test_what_is_rolled_back_is_not_noted(sql: Sql) -> None:
    fill()
    warm()
    sql("BEGIN; UPDATE testapp_product SET stock = 50; ROLLBACK")
    sql("BEGIN; SAVEPOINT a; DELETE FROM testapp_review; ROLLBACK TO a; COMMIT")
    sql("UPDATE testapp_product SET stock = 1 WHERE false")
    sql("DELETE FROM testapp_stock WHERE count = 0")
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql("INSERT INTO testapp_tag (name) VALUES ('small')")
    assert notes() == []


# --- what is noted


@pytest.mark.usefixtures("watched")
def test_rows_are_named_as_readers_name_them(sql: Sql) -> None:
    fill()
    warm()
    sql("UPDATE testapp_product SET stock = 50 WHERE id = 1")
    sql("UPDATE testapp_product SET id = 9 WHERE id = 3")
    sql("DELETE FROM testapp_ticket")
    sql("UPDATE testapp_stock SET count = 70")
    first, moved, *others = notes()
    assert first == ("testapp_product", False, "[1]")
    assert moved[:2] == ("testapp_product", False)
    assert sorted(json.loads(moved[2])) == [3, 9]
    assert others == [
        ("testapp_ticket", True, f'["{TICKET}"]'),
        ("testapp_stock", True, None),
    ]
    before = stock.stats()["misses"]
    manage("relay", "--once")
    assert [stock(pk) for pk in (1, 2, 3, 9)] == [50, 2, None, 3]
    assert stock.stats()["misses"] - before == 3, "the row that nobody wrote was dropped"


@pytest.mark.usefixtures("watched")
def test_of_many_rows_no_keys_are_kept(sql: Sql) -> None:
    most = outbox.MAX_KEYS
    insert = "INSERT INTO testapp_tag (name) SELECT 'tag-' || n FROM generate_series({}, {}) n"
    sql(insert.format(1, most))
    ((_, deletes, keys),) = notes()
    assert not deletes
    assert len(keys.split(",")) == most
    sql("TRUNCATE smartcache_outbox")
    sql(insert.format(most + 1, 2 * most + 1))
    assert notes() == [("testapp_tag", True, None)]
    sql("TRUNCATE smartcache_outbox")
    sql(f"UPDATE testapp_tag SET name = name || 'x' WHERE id <= {most + 1}")
    sql("DELETE FROM testapp_tag")
    assert notes() == [("testapp_tag", True, None)] * 2


@pytest.mark.usefixtures("watched")
def test_a_transaction_of_many_statements_notes_few_rows(sql: Sql) -> None:
    many = outbox.MAX_KEYS + 50
    loop = f"DO 'BEGIN FOR i IN 1..{many} LOOP INSERT INTO testapp_tag (name) VALUES (i); {{}}"
    sql(loop.format("END LOOP; END'"))
    found = notes()
    assert len(found) == outbox.MAX_KEYS + 1
    assert found[-1] == ("testapp_tag", True, None)


@pytest.mark.usefixtures("watched")
def test_a_savepoint_rolled_back_takes_its_notes_along(sql: Sql) -> None:
    many = f"UPDATE testapp_tag SET name = name || 'x' WHERE id <= {outbox.MAX_KEYS + 1}"
    sql(f"INSERT INTO testapp_tag SELECT n, n FROM generate_series(1, {outbox.MAX_KEYS + 1}) n")
    sql("TRUNCATE smartcache_outbox")
    sql(f"BEGIN; SAVEPOINT a; {many}; ROLLBACK TO a; {many}; {many}; COMMIT")
    assert notes() == [("testapp_tag", True, None)]
    sql("UPDATE testapp_tag SET name = 'y' WHERE id = 1")
    assert notes()[1:] == [("testapp_tag", False, "[1]")], "the next transaction begins anew"


@pytest.mark.usefixtures("watched")
def test_a_column_that_has_gone_is_not_the_writers_problem(extra: Sql) -> None:
    fill()
    warm()
    extra("BEGIN; ALTER TABLE testapp_country RENAME COLUMN code TO iso")
    extra("UPDATE testapp_country SET name = 'Allemagne'")
    extra("ALTER TABLE testapp_country RENAME COLUMN iso TO code; COMMIT")
    assert notes() == [("testapp_country", True, None)]
    manage("relay", "--once")
    assert stale() == []


@pytest.mark.usefixtures("watched")
def test_partitions_and_heirs_are_watched(extra: Sql) -> None:
    extra(
        "CREATE TABLE extra.whole (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        " CREATE TABLE extra.low PARTITION OF extra.whole FOR VALUES FROM (0) TO (10);"
        " CREATE TABLE extra.high PARTITION OF extra.whole FOR VALUES FROM (10) TO (20);"
        " CREATE TABLE extra.base (id int PRIMARY KEY);"
        " CREATE TABLE extra.heir () INHERITS (extra.base)"
    )
    manage("install_triggers", "extra.whole", "extra.base")
    extra("INSERT INTO extra.whole VALUES (1, 1), (2, 12)")
    extra("UPDATE extra.whole SET at = 13 WHERE id = 1")
    extra("DELETE FROM extra.high WHERE id = 1")
    extra("TRUNCATE extra.low")
    extra("INSERT INTO extra.heir VALUES (1)")
    extra("UPDATE extra.base SET id = 2")
    assert [name for name, _, _ in notes()] == ["whole", "whole", "high", "low", "heir", "base"]
    with closing(Relay("default", print)) as relay:
        relay._connect(listen=False)
        tags = relay.tags_of([[1, "high", False, None, None]])
        assert relay.tags_of([[1, "whole", False, None, None]]) <= tags, "of a part the whole"


@pytest.mark.usefixtures("watched")
def test_strange_names_are_watched(extra: Sql) -> None:
    extra("""CREATE TABLE extra."We""ird. Table's" ("Key""'s" int PRIMARY KEY)""")
    name = 'extra."We""ird. Table\'s"'
    manage("install_triggers", name)
    extra(f"INSERT INTO {name} VALUES (1)")
    assert notes() == [("We\"ird. Table's", True, None)]
    manage("relay", "--once")
    manage("remove_triggers", name)
    extra(f"INSERT INTO {name} VALUES (2)")
    assert notes() == []
    column = "Key\"'s$smartcache$"
    function, text = outbox.function_of("public", column, True)
    extra(text)
    extra(f"DROP FUNCTION public.{function}()")


# --- coming and going


def triggers(sql: Sql) -> list[Any]:
    return sql(
        "SELECT oid::bigint, tgrelid::bigint, tgname, tgenabled FROM pg_trigger"
        " WHERE tgname LIKE 'smartcache%' ORDER BY oid"
    )


def made(sql: Sql) -> list[Any]:
    """Give all that is in the database because of us."""
    names = "SELECT proname FROM pg_proc WHERE proname LIKE 'smartcache%'"
    tables = "SELECT relname FROM pg_class WHERE relname LIKE 'smartcache%'"
    return [*sql(names), *sql(tables), *triggers(sql)]


def test_install_again_changes_nothing_and_remove_takes_all(sql: Sql) -> None:
    assert made(sql) == []
    manage("install_triggers")
    first = triggers(sql)
    assert {enabled for *_, enabled in first} == {"A"}
    manage("install_triggers")
    assert triggers(sql) == first
    manage("remove_triggers")
    assert made(sql) == []
    assert manage("remove_triggers") == ""


def test_install_puts_right_what_has_changed(sql: Sql) -> None:
    manage("install_triggers")
    before = made(sql)
    sql("DROP TRIGGER smartcache_update ON testapp_tag")
    sql("ALTER TABLE testapp_review DISABLE TRIGGER USER")
    manage("install_triggers", "--no-notify")
    names = {(relation, name, enabled) for _, relation, name, enabled in triggers(sql)}
    assert len(names) == len([row for row in before if len(row) == 4])
    assert {enabled for *_, enabled in names} == {"A"}
    functions = [row[0] for row in made(sql) if len(row) == 1]
    assert len(functions) == len(set(functions)) == len([r for r in before if len(r) == 1])
    assert [row for row in made(sql) if len(row) == 1] != [r for r in before if len(r) == 1]
    manage("remove_triggers")
    assert made(sql) == []


def test_printed_sql_does_the_same(sql: Sql) -> None:
    printed = manage("install_triggers", "--print-sql")
    assert manage("install_triggers", "--dry-run") == printed
    assert made(sql) == []
    sql(printed)
    by_hand = triggers(sql)
    assert by_hand
    manage("install_triggers")
    assert triggers(sql) == by_hand, "it was not as it should be"
    removal = manage("remove_triggers", "--print-sql")
    assert triggers(sql) == by_hand
    sql(removal)
    assert triggers(sql) == []
    manage("remove_triggers")


def test_what_waits_is_relayed_before_the_outbox_goes(watched: None, sql: Sql) -> None:
    fill()
    warm()
    sql("UPDATE testapp_product SET stock = 50")
    manage("remove_triggers")
    assert stale() == []


def test_triggers_of_ours_cost_no_precision(watched: None) -> None:
    fill()
    schema.forget(connection)
    assert "testapp_product" not in schema.of(connection).triggered


@pytest.mark.usefixtures("watched")
def test_who_may_write_a_table_needs_no_right_on_the_outbox(extra: Sql) -> None:
    fill()
    manage("relay", "--once")
    extra("CREATE ROLE clerk; GRANT UPDATE, SELECT ON testapp_country TO clerk")
    try:
        extra("SET ROLE clerk; UPDATE testapp_country SET name = 'D'; RESET ROLE")
        assert notes() == [("testapp_country", False, '["de"]')]
    finally:
        extra("RESET ROLE; DROP OWNED BY clerk; DROP ROLE clerk")


def test_tables_of_another_role_are_named(
    extra: Sql, database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra(
        "CREATE ROLE clerk; GRANT ALL ON SCHEMA public TO clerk; GRANT clerk TO postgres;"
        " CREATE TABLE extra.hers (id int); ALTER TABLE extra.hers OWNER TO clerk;"
        " GRANT ALL ON SCHEMA extra TO clerk"
    )
    options = {**connection.settings_dict["OPTIONS"], "assume_role": "clerk"}
    try:
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict, "OPTIONS", options)
            with pytest.raises(CommandError, match=r"clerk does not own .*_review.*--print-sql"):
                manage("install_triggers")
            assert made(extra) == []
            manage("install_triggers", "extra.hers")
            extra("INSERT INTO extra.hers VALUES (1)")
            assert notes() == [("hers", True, None)]
            manage("remove_triggers")
    finally:
        extra("DROP TABLE extra.hers; DROP OWNED BY clerk; DROP ROLE clerk")


def test_mistakes_are_told(extra: Sql, settings: Any) -> None:
    extra("CREATE VIEW extra.seen AS SELECT 1")
    with pytest.raises(CommandError, match="No such table: nowhere, so so"):
        manage("install_triggers", "so so", "nowhere")
    with pytest.raises(CommandError, match=r"No permanent table .*: extra\.seen"):
        manage("install_triggers", "extra.seen")
    with pytest.raises(CommandError, match="has no table smartcache_outbox: run"):
        manage("relay")
    manage("install_triggers", "testapp_tag")
    settings.SMARTCACHE_KEY_PREFIX = "another"
    with pytest.raises(CommandError, match="not for SMARTCACHE_KEY_PREFIX = 'another'"):
        manage("relay", "--once")
    settings.SMARTCACHE_KEY_PREFIX = "smartcache"
    manage("remove_triggers")
