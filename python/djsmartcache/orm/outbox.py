"""Triggers of PostgreSQL that keep, in the writer's own transaction, what was written: the outbox.

For writers that Django does not see. What a statement changed becomes a row of the outbox, which is
there if and only if the change is; `relay` tells the store of it, and only then deletes it. Here
are the tables, functions and triggers as SQL, and how they come and go; nothing of the store.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DatabaseError, Error, OperationalError, connections, router

from djsmartcache import conf
from djsmartcache.exceptions import SmartCacheError
from djsmartcache.orm import catalog, scopes, values

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "smartcache_outbox"
CHANNEL = "smartcache_outbox"
MAX_KEYS = 1_000
"""Rows of one table and transaction whose keys are kept; of more, that there were some."""
LOCK_SECONDS = 10
"""For which the triggers of a table wait for its writers, and others for them."""

_FUNCTION = "smartcache_note_"  # `schema` knows the functions by it
_EVENTS = {
    "INSERT": " REFERENCING NEW TABLE AS smartcache_new",
    "UPDATE": " REFERENCING OLD TABLE AS smartcache_old NEW TABLE AS smartcache_new",
    "DELETE": " REFERENCING OLD TABLE AS smartcache_old",
    "TRUNCATE": "",
}
# A server that is gone without a word is noticed in less than half a minute.
_KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class OutboxError(SmartCacheError):
    """The triggers cannot be installed, or the outbox not be read, for a reason that is named."""


@dataclass(frozen=True)
class Place:
    """A table that gets triggers, as the database has it."""

    oid: int
    schema: str
    name: str
    mine: bool
    """Whether the role may put triggers on it."""
    column: str | None
    """By which tags name its rows; None: they do not."""
    present: tuple[str, ...]
    """The functions of its triggers that are there and always fire."""

    @property
    def quoted(self) -> str:
        return f"{quote(self.schema)}.{quote(self.name)}"


def session(alias: str) -> BaseDatabaseWrapper:
    """Give a connection of our own to a database of the project, not yet connected.

    Raises:
        OutboxError: It is not one of PostgreSQL.
    """
    found = connections[alias]
    if found.vendor != "postgresql":
        raise OutboxError(
            f"Database {alias!r} is of {found.vendor}: triggers and relay are for PostgreSQL."
        )
    own: BaseDatabaseWrapper = found.copy()
    options = {**_KEEPALIVE, **own.settings_dict.get("OPTIONS", {})}
    options.pop("pool", None)  # it would be a session of others as well
    own.settings_dict.update(OPTIONS=options, AUTOCOMMIT=True)
    own.inc_thread_sharing()  # of one thread at a time, perhaps not the one that made it
    return own


def run(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any] | None = None
) -> list[Any]:
    """Run SQL by a cursor of the driver: no hook sees it, and it is no write of the project."""
    connection.ensure_connection()
    with connection.wrap_database_errors, closing(connection.create_cursor()) as cursor:
        if parameters is None:
            cursor.execute(sql)
        else:
            cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def atomically(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Run a block in a transaction of its own, which sees what is committed meanwhile."""
    run(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        yield
    except BaseException:
        with suppress(Error):
            run(connection, "ROLLBACK")
        raise
    run(connection, "COMMIT")


def quote(name: str) -> str:
    """Give a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- where the outbox is


def schema_of(connection: BaseDatabaseWrapper) -> str | None:
    """Give the schema of the outbox that the search path leads to; None: there is none."""
    found = run(
        connection,
        "SELECT n.nspname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = pg_catalog.to_regclass(%s)",
        [TABLE],
    )
    return str(found[0][0]) if found else None


def _home(connection: BaseDatabaseWrapper) -> str | None:
    """Give the schema of the outbox, or the one in which it would be made."""
    found = schema_of(connection) or run(connection, "SELECT current_schema()")[0][0]
    return None if found is None else str(found)


def check(connection: BaseDatabaseWrapper, alias: str) -> str:
    """Give the outbox, as SQL names it.

    Raises:
        OutboxError: There is none, or it is another project's.
    """
    where = schema_of(connection)
    if where is None:
        raise OutboxError(
            f"Database {alias!r} has no table {TABLE}: run "
            f"`manage.py smartcache install_triggers --database {alias}` first."
        )
    outbox = f"{quote(where)}.{TABLE}"
    told = run(
        connection,
        "SELECT pg_catalog.obj_description(pg_catalog.to_regclass(%s), 'pg_class')",
        [outbox],
    )[0][0]
    if told != _comment():
        raise OutboxError(
            f"{where}.{TABLE} is not for SMARTCACHE_KEY_PREFIX = "
            f"{conf.current().key_prefix!r}, as it says: {told!r}. What one relay takes out "
            "another never sees: run install_triggers with the settings of those who read the "
            "cache."
        )
    return outbox


def _comment() -> str:
    return f"djsmartcache: key prefix {conf.current().key_prefix}"


@dataclass(frozen=True)
class Backlog:
    """What waits in the outbox."""

    rows: int
    age: float
    """Seconds since the oldest was written."""

    def __str__(self) -> str:
        return f"{self.rows} waiting" + (f", for {self.age:.0f} s" if self.rows else "")


def backlog(connection: BaseDatabaseWrapper, outbox: str) -> Backlog:
    """Count what waits. *Cost*: reads all of it."""
    rows, age = run(
        connection,
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(written)), 0)"  # noqa: S608
        f" FROM {outbox}",
    )[0]
    return Backlog(int(rows), float(age))


# --- the SQL


def table_sql(where: str) -> list[str]:
    """Give the SQL that makes the outbox."""
    outbox = f"{quote(where)}.{TABLE}"
    return [
        f"CREATE TABLE IF NOT EXISTS {outbox} (\n"
        "  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
        "  written timestamptz NOT NULL DEFAULT clock_timestamp(),\n"
        "  relation text NOT NULL,\n"
        "  deletes boolean NOT NULL,\n"
        "  key_column text,\n"
        "  keys jsonb\n"
        # It is emptied all the time: a share of what is in it says nothing.
        ") WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)",
        f"COMMENT ON TABLE {outbox} IS {_literal(_comment())}",
    ]


def function_of(where: str, column: str | None, notify: bool) -> tuple[str, str]:
    """Give name and SQL of the function that notes rows by a column; None: only that there were
    some.

    The name tells all that the function does, so that triggers which call it are as they should be.
    PL/pgSQL compiles it for each table anew, so its plans are kept.
    """
    body = _body(f"{quote(where)}.{TABLE}", column, notify)
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    mark = "$smartcache$"
    while mark in body:
        mark = f"{mark[:-1]}_$"
    name = f"{_FUNCTION}{digest}"
    # The definer's rights: who may write a table need not have any on the outbox.
    sql = (
        f"CREATE OR REPLACE FUNCTION {quote(where)}.{name}() RETURNS trigger\n"
        "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp\n"
        f"AS {mark}\n{body}{mark}"
    )
    return name, sql


def _body(outbox: str, column: str | None, notify: bool) -> str:
    # `noted`: how many keys of this table the transaction has kept so far, or more than may be
    # kept: then all of the table is noted. A rollback to a savepoint takes it back with the rows.
    return (
        "DECLARE\n"
        "  noted text := 'smartcache.noted_' || TG_RELID;\n"
        "  before bigint := coalesce(nullif(current_setting(noted, true), '')::bigint, 0);\n"
        "  many bigint;\n"
        "  these jsonb;\n"
        "BEGIN\n"
        f"  IF before > {MAX_KEYS} THEN\n"
        "    RETURN NULL;\n"
        "  END IF;\n"
        f"{_COUNTING if column is None else _finding(column)}"
        "  IF many = 0 THEN\n"
        "    RETURN NULL;\n"
        "  END IF;\n"
        f"  IF these IS NULL OR before + many > {MAX_KEYS} THEN\n"
        f"    many := {MAX_KEYS + 1};\n"
        "    these := NULL;\n"
        "  END IF;\n"
        f"  INSERT INTO {outbox} (relation, deletes, key_column, keys) VALUES\n"
        "    (TG_TABLE_NAME, these IS NULL OR TG_OP = 'DELETE',"
        f" {'NULL' if column is None else _literal(column)}, these);\n"
        # As expressions they cost a fraction of what they do as statements.
        "  noted := set_config(noted, (before + many)::text, true);\n"
        + (
            f"  IF pg_notify({_literal(CHANNEL)}, '') IS NULL THEN RETURN NULL; END IF;\n"
            if notify
            else ""
        )
        + "  RETURN NULL;\n"
        "END\n"
    )


_COUNTING = """\
  IF TG_OP IN ('INSERT', 'UPDATE') THEN
    SELECT count(*) INTO many FROM (SELECT FROM smartcache_new LIMIT 1) n;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT count(*) INTO many FROM (SELECT FROM smartcache_old LIMIT 1) o;
  END IF;
"""


def _finding(column: str) -> str:
    """Set `these` to the keys of the rows, or NULL, and `many` to their number.

    A column that is no longer there must not be the writer's problem.
    """
    # Of as many as are looked at there may be more, and that is too many.
    return _FINDING.format(key=quote(column), most=MAX_KEYS + 1)


_FINDING = """\
  BEGIN
    IF TG_OP = 'INSERT' THEN
      SELECT count(*), jsonb_agg(r.key) INTO many, these
        FROM (SELECT n.{key} AS key FROM smartcache_new n LIMIT {most}) r;
    ELSIF TG_OP = 'DELETE' THEN
      SELECT count(*), jsonb_agg(r.key) INTO many, these
        FROM (SELECT o.{key} AS key FROM smartcache_old o LIMIT {most}) r;
    ELSIF TG_OP = 'UPDATE' THEN
      SELECT sum(r.times), jsonb_agg(r.key) INTO many, these
        FROM (SELECT w.key, count(*) AS times
          FROM ((SELECT o.{key} AS key FROM smartcache_old o LIMIT {most})
            UNION ALL (SELECT n.{key} AS key FROM smartcache_new n LIMIT {most})) w
          GROUP BY w.key) r;
      many := coalesce(CASE WHEN many < {most} THEN jsonb_array_length(these) ELSE many END, 0);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    many := NULL;
    these := NULL;
  END;
"""


def trigger_sql(place: Place, where: str, function: str) -> list[str]:
    """Give the SQL that puts the triggers on a table, or puts them right."""
    found: list[str] = []
    for event, referencing in _EVENTS.items():
        name = f"smartcache_{event.lower()}"
        found.append(
            f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {place.quoted}{referencing}\n"
            f"  FOR EACH STATEMENT EXECUTE FUNCTION {quote(where)}.{function}()"
        )
        # Also where session_replication_role says that a load is under way.
        found.append(f"ALTER TABLE ONLY {place.quoted} ENABLE ALWAYS TRIGGER {name}")
    return found


# --- which tables


def default_tables(alias: str) -> list[str]:
    """Give the tables of all managed models that live in a database."""
    found = {
        model._meta.db_table: None
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed
        and not model._meta.proxy
        and router.allow_migrate_model(alias, model)
    }
    return sorted(found)


def _oid(connection: BaseDatabaseWrapper, name: str) -> int | None:
    """Find a table by its name as it is, or as SQL would have it, with a schema perhaps."""
    found = run(
        connection,
        "SELECT oid::bigint FROM pg_catalog.pg_class"
        " WHERE relname = %s AND relkind NOT IN ('i', 'I', 'S', 't')"
        " AND pg_catalog.pg_table_is_visible(oid)",
        [scopes.cut(name)],
    )
    if not found:
        with suppress(DatabaseError):  # no name at all
            found = run(connection, "SELECT pg_catalog.to_regclass(%s)::oid::bigint", [name])
    return found[0][0] if found else None


_PLACES = (
    "WITH RECURSIVE part(oid) AS (SELECT unnest(%s::bigint[])::oid"
    " UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN part ON inhparent = part.oid)"
    " SELECT c.oid::bigint, n.nspname, c.relname, c.relkind, c.relpersistence,"
    " pg_catalog.pg_has_role(c.relowner, 'USAGE'),"
    " ARRAY(SELECT p.proname::text FROM pg_catalog.pg_trigger t"
    " JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
    " JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace"
    " WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND s.nspname = %s"
    " AND p.proname LIKE 'smartcache^_note^_%%' ESCAPE '^')"
    " FROM part JOIN pg_catalog.pg_class c ON c.oid = part.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " ORDER BY n.nspname, c.relname"
)


def places(
    connection: BaseDatabaseWrapper, names: Iterable[str], where: str, *, all_there: bool
) -> list[Place]:
    """Find tables, and their partitions and heirs.

    Args:
        connection: Where they are.
        names: As the database has them, or with a schema.
        where: Schema of the outbox.
        all_there: Whether one that is not there is a mistake.

    Raises:
        OutboxError: A name is no table's, or no triggers can be put on it.
    """
    found = {name: _oid(connection, name) for name in names}
    missing = sorted(name for name, oid in found.items() if oid is None)
    if missing and all_there:
        raise OutboxError(f"No such table: {', '.join(missing)}.")
    given = [oid for oid in found.values() if oid is not None]
    result: list[Place] = []
    unfit: list[str] = []
    for oid, space, name, kind, persistence, mine, present in run(
        connection, _PLACES, [given, where]
    ):
        if kind not in ("r", "p") or persistence == "t":
            if oid in given:
                unfit.append(f"{space}.{name}")
            continue
        column = _key_column(connection, name)
        result.append(Place(oid, space, name, bool(mine), column, tuple(sorted(present))))
    if unfit and all_there:
        raise OutboxError(
            f"No permanent table with rows of its own: {', '.join(unfit)}. Views and foreign "
            "tables have no triggers that see rows: name what they are made of."
        )
    return result


def _key_column(connection: BaseDatabaseWrapper, name: str) -> str | None:
    """Give the column by which tags name the rows of a table, if they do so for certain."""
    model = catalog.registry().by_table.get(scopes.plain(name))
    field = None if model is None else model._meta.pk
    if model is None or field is None:
        return None
    column = catalog.registry().key_column(model)
    return None if values.renderer(field, connection) is None else column


# --- coming and going


@dataclass(frozen=True)
class Step:
    """Statements of one transaction, and what they are about."""

    about: str
    statements: tuple[str, ...]


def installation(
    connection: BaseDatabaseWrapper,
    alias: str,
    names: Sequence[str] = (),
    *,
    notify: bool = True,
    anew: bool = False,
) -> list[Step]:
    """Give what there is to do for tables to have their triggers; changes nothing.

    Args:
        connection: Of `session`.
        alias: Of the database.
        names: Tables; none: all of the project's models.
        notify: Whether the triggers wake the relay.
        anew: Whether to name what is there already as well.

    Raises:
        OutboxError: A table is not there or not the role's, which is then named.
    """
    where = _home(connection)
    if where is None:
        raise OutboxError(f"Database {alias!r}: no schema of the search_path exists.")
    found = places(connection, names or default_tables(alias), where, all_there=bool(names))
    foreign = sorted(place.quoted for place in found if not place.mine)
    if foreign and not anew:
        raise OutboxError(
            f"Only its owner may put these triggers on a table, and the role {_role(connection)} "
            f"does not own {', '.join(foreign)}. Let the owner run the SQL of `manage.py "
            "smartcache install_triggers --print-sql`, or name the tables to be watched."
        )
    functions = {
        column: function_of(where, column, notify)
        for column in sorted({place.column for place in found}, key=str)
    }
    present = _functions(connection, where)
    steps = [Step(f"the table {where}.{TABLE}", tuple(table_sql(where)))]
    made = [
        (sql, f"REVOKE ALL ON FUNCTION {quote(where)}.{name}() FROM PUBLIC")
        for name, sql in functions.values()
        if anew or name not in present
    ]
    if made:
        steps.append(Step("functions", tuple(itertools.chain.from_iterable(made))))
    for place in found:
        function, _ = functions[place.column]
        if anew or place.present != (function,) * len(_EVENTS):
            wait = f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"
            sql = trigger_sql(place, where, function)
            steps.append(Step(f"triggers of {place.quoted}", (wait, *sql)))
    return steps


def _role(connection: BaseDatabaseWrapper) -> str:
    return str(run(connection, "SELECT current_user")[0][0])


def _functions(connection: BaseDatabaseWrapper, where: str) -> dict[str, bool]:
    """Give our functions, and whether a trigger calls each."""
    found = run(
        connection,
        "SELECT p.proname::text,"
        " EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgfoid = p.oid)"
        " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = %s AND p.proname LIKE 'smartcache^_note^_%%' ESCAPE '^'",
        [where],
    )
    return dict(found)


def apply(connection: BaseDatabaseWrapper, steps: Iterable[Step]) -> Iterator[Step]:
    """Do steps, each in a transaction of its own, and give each that is done.

    Raises:
        OutboxError: The database refused one; those before it are done.
    """
    for step in steps:
        try:
            with atomically(connection):
                for sql in step.statements:
                    run(connection, sql)
        except DatabaseError as error:
            waited = isinstance(error, OperationalError) and "lock" in str(error)
            more = f" (somebody has used it for {LOCK_SECONDS} s: run this again)" if waited else ""
            told = str(error).strip()
            raise OutboxError(f"{step.about}: {told}{more}") from error
        yield step


def install(
    connection: BaseDatabaseWrapper, alias: str, names: Sequence[str] = (), *, notify: bool = True
) -> Iterator[Step]:
    """Install, and give each step that was done; what is as it should be is left alone.

    Raises:
        OutboxError: As `installation` and `apply`.
    """
    yield from apply(connection, installation(connection, alias, names, notify=notify))
    _sweep(connection)


def _sweep(connection: BaseDatabaseWrapper) -> None:
    """Drop functions that no trigger calls any more."""
    where = schema_of(connection)
    if where is not None:
        for name, used in _functions(connection, where).items():
            if not used:
                run(connection, f"DROP FUNCTION IF EXISTS {quote(where)}.{name}()")


def removal(connection: BaseDatabaseWrapper, names: Sequence[str] = ()) -> list[Step]:
    """Give what there is to do for tables to lose their triggers; none named: all of them.

    Raises:
        OutboxError: A table is not there.
    """
    where = _home(connection)
    if where is None:
        return []
    wanted = [
        place.oid for place in (places(connection, names, where, all_there=True) if names else ())
    ]
    found = run(
        connection,
        "SELECT n.nspname, c.relname, array_agg(t.tgname::text ORDER BY t.tgname)"
        " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
        " JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace"
        " WHERE s.nspname = %s AND p.proname LIKE 'smartcache^_note^_%%' ESCAPE '^'"
        " AND (NOT %s OR c.oid::bigint = ANY(%s::bigint[]))"
        " GROUP BY n.nspname, c.relname ORDER BY n.nspname, c.relname",
        [where, bool(names), wanted],
    )
    steps: list[Step] = []
    for space, name, triggers in found:
        table = f"{quote(space)}.{quote(name)}"
        drops = [f"DROP TRIGGER {quote(trigger)} ON {table}" for trigger in triggers]
        wait = f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"
        steps.append(Step(f"triggers of {table}", (wait, *drops)))
    return steps


def remove(connection: BaseDatabaseWrapper, names: Sequence[str] = ()) -> Iterator[Step]:
    """Remove triggers, and give each step that was done.

    Raises:
        OutboxError: As `removal` and `apply`.
    """
    yield from apply(connection, removal(connection, names))
    _sweep(connection)


def end(connection: BaseDatabaseWrapper) -> list[Step]:
    """Give what drops the outbox, once no trigger writes to it and nothing is in it."""
    where = schema_of(connection)
    drop = f"DROP TABLE {quote(where or '')}.{TABLE}"
    return [Step(f"the table {where}.{TABLE}", (drop,))] if where is not None else []
