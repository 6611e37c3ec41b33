"""What a text of SQL reads and writes, by its words or by parsing."""

from __future__ import annotations

import pytest

from djsmartcache.orm import tables
from djsmartcache.orm.tables import of_orm, of_raw

KNOWN = frozenset(["shop_product", "shop_tag", "group"])
ANY = {"*"}

# Vendor, SQL, tables read, tables written.
RAW: list[tuple[str, str, set[str], set[str]]] = [
    ("sqlite", "SELECT * FROM a", {"a"}, set()),
    ("sqlite", "select * from A, B b1 join c on c.x = b1.x", {"a", "b", "c"}, set()),
    ("sqlite", "SELECT * FROM a WHERE x = %s AND y IN (%s, %s) LIMIT %s", {"a"}, set()),
    ("postgresql", "SELECT * FROM a WHERE x = ANY(%s) AND y = %(why)s", {"a"}, set()),
    ("postgresql", "SELECT * FROM a WHERE x LIKE 'a%%' AND y IN %s", {"a"}, set()),
    ("postgresql", "SELECT (SELECT MAX(x) FROM b) FROM a", {"a", "b"}, set()),
    ("postgresql", 'SELECT * FROM "Sales"."Order"', {"order"}, set()),
    ("postgresql", "SELECT 'FROM b; DELETE FROM c' FROM a", {"a"}, set()),
    ("postgresql", "SELECT $$ DELETE FROM b; $$ FROM a", {"a"}, set()),
    ("postgresql", "SELECT E'it\\'s; DROP TABLE b' FROM a", {"a"}, set()),
    ("mysql", "SELECT 'it\\'s; DROP TABLE b' FROM `a`", {"a"}, set()),
    ("mysql", "SELECT 1 FROM a # DELETE FROM b", {"a"}, set()),
    ("postgresql", "(SELECT 1 FROM a) UNION (SELECT 2 FROM b)", {"a", "b"}, set()),
    ("postgresql", "TABLE a", {"a"}, set()),
    ("postgresql", "VALUES (1), (2)", set(), set()),
    ("postgresql", "WITH RECURSIVE t AS (SELECT * FROM a) SELECT * FROM t", {"a"}, set()),
    ("postgresql", "WITH a AS (SELECT * FROM a) SELECT * FROM a", {"a"}, set()),
    ("postgresql", "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) TABLE b", {"b"}, set()),
    ("postgresql", "WITH RECURSIVE a AS (TABLE b), b AS (TABLE a) TABLE b", set(), set()),
    ("postgresql", 'WITH "A" AS (SELECT 1) SELECT * FROM a', {"a"}, set()),
    ("postgresql", "SELECT * FROM (WITH a AS (TABLE b) TABLE a) x, a", {"a", "b"}, set()),
    (
        "postgresql",
        "WITH a AS (TABLE b) SELECT (SELECT x FROM a LIMIT 1) FROM c",
        {"b", "c"},
        set(),
    ),
    ("sqlite", "WITH a AS (SELECT * FROM main.a) SELECT * FROM A", {"a"}, set()),
    ("sqlite", "WITH a AS (SELECT 1 UNION SELECT x + 1 FROM a) SELECT * FROM a", set(), set()),
    ("postgresql", "INSERT INTO a (x) VALUES (%s)", {"a"}, {"a"}),
    ("postgresql", "INSERT INTO a SELECT * FROM b", {"a", "b"}, {"a"}),
    (
        "postgresql",
        "INSERT INTO a (x) VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 2 RETURNING x",
        {"a"},
        {"a"},
    ),
    ("mysql", "INSERT INTO a SET x = 1 ON DUPLICATE KEY UPDATE x = 2", {"a"}, {"a"}),
    ("sqlite", "REPLACE INTO a (x) VALUES (%s)", {"a"}, {"a"}),
    ("mysql", "REPLACE a (x) VALUES (%s)", {"a"}, {"a"}),
    ("sqlite", "INSERT OR IGNORE INTO a VALUES (1)", {"a"}, {"a"}),
    ("postgresql", "UPDATE ONLY a SET x = b.x FROM b WHERE b.y = a.y", {"a", "b"}, {"a"}),
    ("mysql", "UPDATE a JOIN b ON a.x = b.x SET b.y = 1", {"a", "b"}, {"a", "b"}),
    ("postgresql", "DELETE FROM a USING b WHERE b.y = a.y", {"a", "b"}, {"a"}),
    ("mysql", "DELETE a, b FROM a JOIN b ON a.x = b.x", {"a", "b"}, {"a", "b"}),
    (
        "postgresql",
        "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE",
        {"a", "b"},
        {"a"},
    ),
    (
        "postgresql",
        "WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone",
        {"a"},
        {"a"},
    ),
    (
        "postgresql",
        "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
        {"a", "b"},
        {"a", "b"},
    ),
    ("postgresql", "SELECT * INTO b FROM a", {"a", "b"}, {"b"}),
    ("postgresql", "SELECT 1 FROM a; DELETE FROM b", {"a", "b"}, {"b"}),
    ("sqlite", "/* a */ -- b\n  UPDATE c SET x = 1", {"c"}, {"c"}),
    ("postgresql", "TRUNCATE a, b RESTART IDENTITY", set(), {"a", "b"}),
    ("postgresql", "TRUNCATE TABLE a CASCADE", set(), ANY),
    ("postgresql", "DROP TABLE IF EXISTS a, b", set(), {"a", "b"}),
    ("postgresql", "ALTER TABLE a ADD COLUMN x integer", set(), {"a"}),
    ("postgresql", 'ALTER TABLE "a" RENAME TO "b"', set(), {"a", "b"}),
    ("sqlite", "CREATE INDEX i ON a (x)", set(), {"a"}),
    ("postgresql", "CREATE UNIQUE INDEX CONCURRENTLY i ON a (x)", set(), {"a"}),
    ("postgresql", "DROP INDEX CONCURRENTLY IF EXISTS i", set(), set()),
    ("postgresql", "CREATE TEMP TABLE a (x integer)", set(), {"a"}),
    ("postgresql", "CREATE TABLE a (x integer); ALTER TABLE b DROP x", set(), {"a", "b"}),
    ("postgresql", "CREATE OR REPLACE VIEW a AS SELECT 1", set(), {"a"}),
    ("sqlite", 'CREATE TRIGGER t AFTER INSERT ON "a" FOR EACH ROW SELECT 1', set(), {"a"}),
    ("postgresql", "ALTER SEQUENCE a_id_seq OWNED BY a.id", set(), set()),
    ("postgresql", "COMMENT ON TABLE a IS 'b'", set(), set()),
    ("postgresql", "CREATE SCHEMA IF NOT EXISTS tenant", set(), set()),
    ("mysql", "RENAME TABLE a TO b", set(), {"a", "b"}),
    ("postgresql", "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", set(), ANY),
    ("postgresql", "ALTER SCHEMA a RENAME TO b", set(), ANY),
    ("postgresql", "DROP SCHEMA a", set(), ANY),
    ("postgresql", "DROP OWNED BY a", set(), ANY),
    ("postgresql", "ALTER DATABASE a SET timezone TO 'UTC'", set(), ANY),
    ("postgresql", "CREATE FUNCTION lower(a) RETURNS b LANGUAGE sql AS ''", set(), ANY),
    ("postgresql", "CREATE TABLE a (x integer); DROP DOMAIN b", set(), ANY),
    ("postgresql", "COPY a (x, y) FROM STDIN", set(), {"a"}),
    ("postgresql", "COPY a TO STDOUT", set(), set()),
    ("postgresql", "CALL refresh()", set(), ANY),
    ("postgresql", "DO $$ BEGIN DELETE FROM a; END $$", set(), ANY),
    ("mysql", "LOAD DATA INFILE 'x' INTO TABLE a", set(), ANY),
    ("postgresql", "EXECUTE prepared(1)", set(), ANY),
    ("postgresql", "REFRESH MATERIALIZED VIEW a", set(), ANY),
    ("postgresql", "EXPLAIN SELECT * FROM a", set(), set()),
    ("postgresql", "EXPLAIN ANALYZE DELETE FROM a", set(), ANY),
    ("postgresql", "DELETE FROM WHERE THIS IS NOT SQL AT ALL (", set(), ANY),
    ("postgresql", "SAVEPOINT s1", set(), set()),
    ("sqlite", "SELECT * FROM a WHERE x IN b AND y NOT IN main.c", {"a", "b", "c"}, set()),
    ("sqlite", "UPDATE OR REPLACE a SET x = 1", {"a"}, {"a"}),
    ("sqlite", "UPDATE a INDEXED BY i SET x = 1 WHERE y = 2", {"a"}, {"a"}),
    ("sqlite", "SELECT * FROM a INDEXED BY i WHERE y = 2", {"a"}, set()),
    ("mysql", "DELETE x FROM a AS x JOIN b AS y ON x.i = y.i", {"a", "b", "x"}, {"a", "b"}),
    ("sqlite", "UPDATE or ignore a SET x = (SELECT 1 FROM b)", {"a", "b"}, {"a"}),
    ("postgresql", "DECLARE c CURSOR FOR SELECT * FROM a", {"a"}, set()),
    ("postgresql", "DECLARE c NO SCROLL CURSOR WITH HOLD FOR TABLE a", {"a"}, set()),
    ("postgresql", "UPDATE a SET x = 1 WHERE CURRENT OF c", {"a"}, {"a"}),
    ("postgresql", "DELETE FROM a WHERE CURRENT OF c", {"a"}, {"a"}),
    ("postgresql", "SET search_path TO x", set(), set()),
    ("sqlite", "PRAGMA foreign_keys", set(), set()),
]


@pytest.mark.parametrize(("vendor", "sql", "reads", "writes"), RAW)
def test_raw_sql(vendor: str, sql: str, reads: set[str], writes: set[str]) -> None:
    found = of_raw(sql, vendor)
    written = ANY if found.everything else set(found.writes)
    if found.control == "ddl" and not found.everything:
        # More names than tables do no harm.
        assert writes <= written
    else:
        assert written == writes
    if not found.everything and not found.control:
        assert set(found.reads) == reads


OPAQUE = [
    ("sqlite", "SELECT * FROM a WHERE x < date('now')"),
    ("postgresql", "SELECT * FROM a WHERE x < 'now '"),
    ("postgresql", "SELECT ' Tomorrow04:05 UTC'::timestamptz"),
    ("postgresql", "SELECT E'now\\t'::timestamptz, $$x$$"),
    ("postgresql", "SELECT $$today$$::timestamptz"),
    ("postgresql", "SELECT * FROM a WHERE owner = current_user"),
    ("postgresql", "SELECT * FROM a WHERE owner = USER"),
    ("postgresql", "SELECT user, current_role, x FROM a"),
    ("postgresql", "SELECT * FROM a FOR UPDATE"),
    ("postgresql", "SELECT * FROM a FOR NO KEY UPDATE SKIP LOCKED"),
    ("mysql", "SELECT * FROM a LOCK IN SHARE MODE"),
    ("postgresql", "SELECT * FROM rows_of(3)"),
    ("postgresql", "SHOW timezone"),
    ("postgresql", "SELECT 1; SELECT 2"),
    ("postgresql", "SELECT FROM WHERE ((("),
]


@pytest.mark.parametrize(("vendor", "sql"), OPAQUE)
def test_results_that_are_not_stored(vendor: str, sql: str) -> None:
    assert of_raw(sql, vendor).opaque


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "now"."random" FROM "now"',
        'SELECT "a"."current_date" FROM "a"',
        'SELECT a.user, "user" FROM a JOIN auth_user',
        "SELECT x FROM a WHERE now > 'nowhere' -- now",
        "SELECT x FROM a WHERE x = 'current_user'",
        "SELECT lower(x), count(*) FROM a GROUP BY lower(x)",
        "SELECT * FROM generate_series(1, 3) AS g",
    ],
)
def test_results_that_are_stored(sql: str) -> None:
    assert of_raw(sql, "postgresql").opaque == ""


# Vendor, SQL, the functions it calls.
CALLS: list[tuple[str, str, set[str]]] = [
    (
        "postgresql",
        'SELECT total(), Public."Sum" (a) FROM a WHERE x IN (1) AND (y)',
        {"total", '"Sum"'},
    ),
    (
        "postgresql",
        'WITH "Tree" (a) AS (SELECT 1), "Other" (a) AS (SELECT 2) SELECT "lower"(a) FROM "Tree"',
        {'"lower"'},
    ),
    ("mysql", "SELECT `lower`(a), lower(a) FROM a", {"`lower`", "lower"}),
    ("sqlite", 'SELECT "Lower"(a) FROM a', {"lower"}),
    (
        "postgresql",
        "WITH c (a) AS (SELECT 1), d(b) AS (SELECT 2) SELECT a::numeric(1, 2) FROM c",
        set(),
    ),
    ("postgresql", "SELECT CAST(a AS varchar(9)) FROM f(1) AS t(a, b)", {"cast", "f"}),
    ("postgresql", "SELECT 'now()' FROM a -- f()", set()),
    ("postgresql", "SELECT COUNT(*) FILTER (WHERE x) OVER (PARTITION BY y) FROM a", {"count"}),
    ("postgresql", "SELECT * FROM a TABLESAMPLE system (10)", {"system"}),
    (
        "sqlite",
        "SELECT strftime('%%Y', a.made), date(made), date(\"made\", '+1 day') FROM a",
        set(),
    ),
    (
        "sqlite",
        "SELECT date(), unixepoch(), strftime('%%Y') FROM a",
        {"date", "unixepoch", "strftime"},
    ),
    (
        "sqlite",
        'SELECT date("now"), time("Now", made), strftime(\'%%Y\', "now")',
        {"date", "time", "strftime"},
    ),
    ("sqlite", 'SELECT unixepoch("subsec"), timediff(made, "now")', {"unixepoch", "timediff"}),
    ("sqlite", 'SELECT date("now".made), date("a"."now") FROM a', set()),
    ("sqlite", "SELECT time(%s), strftime('%%Y', %s) FROM a", {"time", "strftime"}),
    ("mysql", "SELECT CONVERT(a, DECIMAL(9, 2)) FROM a USE INDEX (i)", {"convert"}),
]


@pytest.mark.parametrize(("vendor", "sql", "calls"), CALLS)
def test_functions_that_are_called(vendor: str, sql: str, calls: set[str]) -> None:
    assert of_raw(sql, vendor).calls == calls


# SQL, tables read, SELECTs: None where a fragment written by hand makes it raw.
ORM: list[tuple[str, set[str], int]] = [
    (
        'SELECT "shop_product"."id" FROM "shop_product" WHERE "shop_product"."id" = %s',
        {"shop_product"},
        1,
    ),
    ('SELECT U0."id" FROM "shop_tag" U0', {"shop_tag"}, 1),
    ("SELECT `group`.`id` FROM `group`", {"group"}, 1),
    ('SELECT 1 FROM "elsewhere"', {"elsewhere"}, 1),
    ('SELECT 1 FROM "schema"."elsewhere" INNER JOIN "other" ON (1 = 1)', {"elsewhere", "other"}, 1),
    ('SELECT EXTRACT(YEAR FROM "shop_tag"."made") FROM "shop_tag"', {"shop_tag"}, 1),
    ('SELECT EXTRACT(YEAR FROM T3."made") FROM "shop_tag" T3', {"shop_tag"}, 1),
    ('SELECT COUNT(*) FROM (SELECT "shop_tag"."id" FROM "shop_tag") subquery', {"shop_tag"}, 2),
    (
        'SELECT 1 FROM "shop_tag" WHERE x IN (SELECT x FROM hand, made)',
        {"shop_tag", "hand", "made"},
        0,
    ),
    (
        'SELECT 1 FROM "shop_tag" WHERE x IN (SELECT y FROM shop_product)',
        {"shop_tag", "shop_product"},
        0,
    ),
    ('SELECT 1 FROM "shop_tag" , "hand" WHERE x = 1', {"shop_tag", "hand"}, 0),
    ('SELECT 1 FROM "shop_tag" JOIN "group" ON (a = b), "hand"', {"shop_tag", "group", "hand"}, 0),
    ("SELECT (SELECT 1 FROM shop_tag, hand h)", {"shop_tag", "hand"}, 0),
    ('SELECT (SELECT 1 FROM (hand)) FROM "shop_tag"', {"shop_tag", "hand"}, 0),
    ('SELECT (SELECT 1 FROM"hand") FROM "shop_tag"', {"shop_tag", "hand"}, 0),
    ('SELECT (SELECT 1 FROM/* all */hand) FROM "shop_tag"', {"shop_tag", "hand"}, 0),
    ('SELECT 1 FROM ((SELECT 1 FROM "group") x, hand)', {"group", "hand"}, 0),
    ('SELECT 1 FROM (SELECT 1 FROM "group") x, hand', {"group", "hand"}, 0),
    (
        'SELECT 1 FROM "group" x JOIN shop_tag.hand y ON x.limit = y.limit, made',
        {"group", "hand", "made"},
        0,
    ),
    ('SELECT 1 FROM "shop_tag" WHERE EXISTS (TABLE shop_tag OFFSET 2)', {"shop_tag"}, 0),
    ('SELECT 1 FROM "group" WHERE "now" = (SELECT 2FROM hand)', {"group", "hand"}, 0),
    (
        'SELECT COUNT(*) FROM ((SELECT "a", "b" FROM "shop_tag") UNION (SELECT 1, 2 FROM "group"))'
        " subquery",
        {"shop_tag", "group"},
        3,
    ),
    (
        'SELECT "a", ("b")::timestamp with time zone, EXTRACT(YEAR FROM "made" AT TIME ZONE %s)'
        ' FROM "shop_tag" LEFT OUTER JOIN "group" T3 ON ("a" = T3."a" AND COALESCE("b", %s) > 2)'
        ' WHERE "b" IS NOT DISTINCT FROM T3."b" GROUP BY "shop_tag"."a", 2 ORDER BY 1, "b" LIMIT 3',
        {"shop_tag", "group"},
        1,
    ),
]


@pytest.mark.parametrize(("sql", "reads", "selects"), ORM)
def test_sql_of_the_orm(sql: str, reads: set[str], selects: int) -> None:
    found = of_orm(sql, "mysql" if "`" in sql else "postgresql", KNOWN)
    assert set(found.reads) == reads
    assert found.selects == selects


@pytest.mark.parametrize("table", ["hand", '"hand"', "main.hand", "[hand]", "'hand'"])
def test_tables_after_in_are_read_in_fragments_too(table: str) -> None:
    sql = f'SELECT 1 FROM "shop_tag" WHERE (1IN {table}) AND "shop_tag"."id" IN (%s)'
    found = of_orm(sql, "sqlite", KNOWN)
    assert found.reads == {"shop_tag", "hand"}
    assert found.selects == 0


@pytest.mark.parametrize(
    ("sql", "deletes", "updates"),
    [
        ("INSERT INTO a VALUES (1)", False, False),
        ("INSERT INTO a VALUES (1) ON CONFLICT (x) DO NOTHING", False, False),
        ("INSERT OR REPLACE INTO a VALUES (1)", True, True),
        ("REPLACE INTO a VALUES (1)", True, True),
        ("UPDATE a SET x = 1", False, True),
        ("UPDATE OR REPLACE a SET x = 1", True, True),
        ("DELETE FROM a", True, False),
    ],
)
def test_what_may_become_of_rows(sql: str, deletes: bool, updates: bool) -> None:
    found = of_raw(sql, "sqlite")
    assert (found.deletes, found.updates) == (deletes, updates)


@pytest.mark.parametrize(
    ("sql", "scope"),
    [
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "transaction"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "transaction"),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "transaction"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "session"),
        ("SET default_transaction_isolation = 'serializable'", "session"),
        ("BEGIN; SET default_transaction_isolation = 'serializable'", "session"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE; SET transaction_isolation = 'x'", "session"),
        ("SET timezone = 'UTC'", ""),
    ],
)
def test_isolation_levels_set_by_hand(sql: str, scope: str) -> None:
    assert of_raw(sql, "postgresql").isolation == scope


SETTINGS = [
    ("postgresql", "SET timezone = 'UTC'", "session"),
    ("postgresql", "/* ours */ SET TIME ZONE 'UTC'", "session"),
    ("postgresql", "SET search_path TO a, b", "session"),
    ("postgresql", "SET LOCAL role = clerk", "transaction"),
    ("postgresql", "SET LOCAL role = clerk; SET ROLE clerk", "session"),
    ("postgresql", "RESET ALL", "session"),
    ("postgresql", "DISCARD ALL", "session"),
    ("postgresql", "SELECT set_config('a.b', %s, true)", "session"),
    ("postgresql", "DISCARD TEMP", ""),
    ("postgresql", "SET LOCAL statement_timeout = '1s'", ""),
    ("postgresql", "RESET lock_timeout", ""),
    ("postgresql", "SET CONSTRAINTS ALL IMMEDIATE", ""),
    ("postgresql", 'SET CONSTRAINTS "a", "b" DEFERRED', ""),
    ("postgresql", "SET TRANSACTION READ ONLY, DEFERRABLE", ""),
    ("postgresql", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", ""),
    ("postgresql", "SET application_name = 'a, b'", ""),
    ("mysql", "SET foreign_key_checks = 0", ""),
    ("mysql", "SET foreign_key_checks = 0, time_zone = 'UTC'", "session"),
    ("mysql", "SET lock_wait_timeout = '1', time_zone = 'UTC'", "session"),
    ("mysql", "USE other", "session"),
    ("sqlite", "PRAGMA case_sensitive_like = ON", "session"),
    ("sqlite", "PRAGMA main.case_sensitive_like(1)", "session"),
    ("sqlite", 'PRAGMA "case_sensitive_like" = ON', "session"),
    ("sqlite", "PRAGMA case_sensitive_like", ""),
    ("sqlite", "PRAGMA foreign_keys = OFF", ""),
    ("sqlite", "PRAGMA main.journal_mode=WAL; PRAGMA synchronous=NORMAL;", ""),
    ("sqlite", 'PRAGMA table_info("a")', ""),
]


@pytest.mark.parametrize(("vendor", "sql", "scope"), SETTINGS)
def test_settings_made_by_hand(vendor: str, sql: str, scope: str) -> None:
    assert of_raw(sql, vendor).setting == scope


@pytest.mark.parametrize(
    ("sql", "harmless"),
    [
        ("SELECT 1 FROM a", True),
        ("SAVEPOINT s1", True),
        ("ROLLBACK TO SAVEPOINT s1", True),
        ("SELECT 1; DELETE FROM a", False),
        ("SELECT set_config('a.b', 'c', false)", False),
        ("SELECT * INTO b FROM a", False),
        ("WITH x AS (DELETE FROM a) SELECT 1", False),
        ("COMMIT", False),
        ("ROLLBACK", False),
        ("ROLLBACK ", False),
        ("rollback work", False),
    ],
)
def test_texts_that_need_no_analysis(sql: str, harmless: bool) -> None:
    assert tables.harmless(sql) is harmless


def test_long_texts_are_not_kept() -> None:
    before = tables._analyse.cache_info().currsize
    assert of_raw("SELECT * FROM a WHERE x IN (" + ", ".join(["1"] * 20_000) + ")", "sqlite").reads
    assert tables._analyse.cache_info().currsize == before
