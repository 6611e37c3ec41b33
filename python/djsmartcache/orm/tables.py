"""SQL text -> what it reads and writes, memoised by text.

Two ways. SQL that Django's compilers made names every table in quotes right behind FROM or JOIN, so
that a scan finds them all, and a few too many at worst. Anything else, as soon as a part of it, is
parsed by sqlglot; what that cannot parse may have touched every table, and its result is not
stored. Names are lower-case and without schema, as in `scopes`.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from djsmartcache.orm.scopes import plain

if TYPE_CHECKING:
    from sqlglot import exp

logger = logging.getLogger("djsmartcache")

Control = Literal["", "begin", "chain", "commit", "ddl"]
Scope = Literal["", "transaction", "session"]

MEMO_SIZE = 4096
MEMO_TEXT = 20_000
"""Longer texts (bulk inserts) are analysed each time: keeping them would cost more than it
saves."""


@dataclass(frozen=True)
class Statement:
    """What one call of ``cursor.execute`` does."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    deletes: bool = True
    """Rows of ``writes`` may go, not only come or change."""
    updates: bool = True
    """Rows of ``writes`` may change, not only come or go."""
    everything: bool = False
    """It may have written any table."""
    opaque: str = ""
    """Why a result of it must not be stored, else empty."""
    ctes: frozenset[str] = frozenset()
    """Names that the statement itself defines; one of ``writes`` may be such."""
    calls: frozenset[str] = frozenset()
    """Functions called; a few names more at worst. In quotes where these tell other functions from
    the built-in ones."""
    selects: int = 0
    """SELECTs of a query each of whose tables one of them reads by FROM or JOIN; 0: not told."""
    once: frozenset[str] = frozenset()
    """Tables of such a query that stand in one place of it."""
    control: Control = ""
    """``begin``, ``commit``, ``chain``: it starts or ends a transaction, or ends one and starts
    another; ``ddl``: some databases commit first."""
    isolation: Scope = ""
    """It sets the isolation level: of this transaction or of the session."""
    setting: Scope = ""
    """It sets what may change answers otherwise."""


_NAME = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[A-Za-z_\u0080-\uffff][\w$]*)'
_CHAIN = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_WORD = re.compile(_NAME)
_QUOTED = r'(?:"(?:[^"]|"")*"|`[^`]*`)'
# What tells, read from the left, where tables stand in a query; `_places` says how. Words are read
# as a whole, so that each begins where another ended: that may be a number.
_PLACE = re.compile(
    rf"""
    {_QUOTED}(?:\.{_QUOTED})*
    |(?P<sign>[(),])
    |%s(?:,\s%s)*
    |IS\s+(?:NOT\s+)?DISTINCT\s+FROM\b
    |(?P<extract>EXTRACT\s*\(\s*\w+\s+FROM\b)
    |(?P<odd>\.\s*(?:FROM|JOIN|SELECT|WHERE|GROUP|HAVING|ORDER|LIMIT|UNION|EXCEPT|INTERSECT)\b
        |;|\*/|IN\b(?!\s*\()|WITH\b(?!\s+TIME\b)|(?:TABLE|INTO|UPDATE|STRAIGHT_JOIN)\b)
    |(?P<by>FROM|JOIN)\b
        (?:\s+(?P<table>{_QUOTED}(?:\s*\.\s*{_QUOTED})*)(?!"|\s*[.(])
        |\s*(?P<query>\()(?=\s*\(?\s*SELECT\b))?
    |(?P<select>SELECT\b)
    |(?P<end>(?:WHERE|GROUP|HAVING|ORDER|LIMIT|UNION|EXCEPT|INTERSECT)\b)
    |[^\W\d]\w*
    """,
    re.IGNORECASE | re.VERBOSE,
)
# What the brackets around a place hold: no query, one, or one in the midst of its FROM clause.
_NO_QUERY, _QUERY, _TABLES = range(3)
_FOREIGN_QUOTES = {"sqlite": "[", "postgresql": "`", "mysql": '"'}
"""By which quotes no compiler of that database begins a name."""
_NAMED = re.compile(
    rf"\b(?:TABLE|ON|TO|VIEW|PARTITION|INHERIT)\s+(?:ONLY\s+|IF\s+(?:NOT\s+)?EXISTS\s+)*({_CHAIN})",
    re.IGNORECASE,
)
# DDL that names the tables of which it may change what is read; an index, a sequence, a comment or
# an empty schema changes no answer.
_PRECISE = re.compile(
    r"(?:TRUNCATE|RENAME|COMMENT|REINDEX|CLUSTER|CREATE\s+SCHEMA"
    r"|(?:CREATE|ALTER|DROP)\s+(?:(?:OR\s+REPLACE|GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|UNIQUE"
    r"|FULLTEXT|SPATIAL|FOREIGN|MATERIALIZED|RECURSIVE|VIRTUAL|CONSTRAINT)\s+)*"
    r"(?:TABLE|INDEX|VIEW|SEQUENCE|TRIGGER|RULE|POLICY))\b",
    re.IGNORECASE,
)
# Functions of the session that need no brackets.
_VOLATILE = re.compile(
    r"(?<![\"`.\w])(?:current_(?:timestamp|date|time|user|role|schema|catalog)"
    r"|localtime(?:stamp)?|session_user|system_user|utc_(?:date|time(?:stamp)?))(?![\"`\w])",
    re.IGNORECASE,
)
# The same, and elsewhere an ordinary name.
_USER = re.compile(r"(?<![\"`.\w])user(?![\"`\w])", re.IGNORECASE)
# Words for a time. PostgreSQL reads them among others, and next to blanks and digits.
_TIMES = re.compile(r"(?<![a-z])(?:now|today|yesterday|tomorrow)(?![a-z])", re.IGNORECASE)
_CALL = re.compile(
    rf"(?<![\w%$.)\"`])(?:\b(AS|INTO|WITH|RECURSIVE)\s+|::\s*)?({_CHAIN})\s*\(", re.IGNORECASE
)
_BEFORE_BRACKETS = frozenset(
    """
    all and any array as between by case cross cube distinct else end escape except exists filter
    from full group having ilike in inner intersect is join lateral left like limit materialized
    natural not offset on only or order ordinality outer over partition right rollup row select
    sets some then to union using values when where window with within zone
    bigint binary bit bpchar char character dec decimal double float int integer interval nchar
    numeric nvarchar precision real signed smallint unsigned varbinary varchar varying
    """.split()  # noqa: SIM905
)
"""Words of the grammar, and types, that brackets may follow."""
_MORE_BEFORE_BRACKETS = {
    "sqlite": frozenset(["glob", "match", "regexp", "collate"]),
    "mysql": frozenset(
        ["against", "datetime", "div", "force", "ignore", "index", "mod", "regexp", "rlike"]
    )
    | {"use", "xor", "separator"},
}
# Of SQLite: a time given by a column; without one, or by a parameter, it may be that of the call. A
# word in double quotes that is no column is a string.
_DATED = re.compile(
    r"\b(?:date|time|datetime|julianday|unixepoch|strftime\s*\(\s*''\s*,)(?:(?<=,)|\s*\()"
    rf"\s*(?!\"(?:now|subsec(?:ond)?)\"\s*[,)])(?:{_CHAIN})\s*(?=[,)])",
    re.IGNORECASE,
)
_LOCKING = re.compile(
    r"\bFOR\s+(?:NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b",
    re.IGNORECASE,
)
_SELECT = re.compile(r"\bSELECT\b", re.IGNORECASE)
_WRITING = re.compile(
    r"\b(?:INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE|INTO|CALL|EXECUTE|COPY|DROP|ALTER|CREATE)\b",
    re.IGNORECASE,
)
_CONFLICT = re.compile(r"\b(?:REPLACE|UPDATE)\b", re.IGNORECASE)
_REPLACE = re.compile(r"^\s*REPLACE\b(\s+INTO\b)?", re.IGNORECASE)
_UPDATE_OR = re.compile(r"\bUPDATE\s+OR\s+\w+", re.IGNORECASE)
_CURRENT = re.compile(r"\bWHERE\s+CURRENT\s+OF\s+[\w\"]+", re.IGNORECASE)
_INDEXED = re.compile(rf"\bINDEXED\s+BY\s+{_NAME}", re.IGNORECASE)
_DECLARE = re.compile(r"DECLARE\b.*?\bCURSOR\b.*?\bFOR\b", re.IGNORECASE | re.DOTALL)
"""What sqlglot does not parse, or takes for tables, and says nothing of them."""
_ISOLATION = re.compile(r"ISOLATION|REPEATABLE|SERIALIZABLE|SNAPSHOT", re.IGNORECASE)
_SETTING = frozenset(["SET", "RESET", "DISCARD", "USE"])
_SET_CONFIG = re.compile(r"\bset_config\b", re.IGNORECASE)
# Settings that change no answer, or that count elsewhere.
_IDLE_SETTING = re.compile(
    r"(?:SET|RESET)\s+(?:SESSION\s+|LOCAL\s+)?(?:(?:TRANSACTION|CHARACTERISTICS|CONSTRAINTS)\b"
    r"|(?:(?:default_)?transaction_\w+|\w+_timeout|\w*work_mem|log_\w+|client_min_messages"
    r"|application_name|synchronous_commit|autocommit|(?:foreign_key|unique)_checks)\b(?!.*,))"
    r"|DISCARD\s+(?:PLANS|SEQUENCES|TEMP)\b",
    re.IGNORECASE | re.DOTALL,
)
_IDLE_PRAGMA = re.compile(
    r"PRAGMA\s+(?:\w+\s*\.\s*)?(?:(?:defer_)?foreign_keys|legacy_alter_table|journal_mode"
    r"|journal_size_limit|synchronous|cache_size|cache_spill|mmap_size|busy_timeout|locking_mode"
    r"|page_size|(?:auto|incremental)_vacuum|wal_\w+|temp_store|optimize|analysis_limit|threads"
    r"|secure_delete|query_only|user_version|application_id|\w+_(?:x?info|list|check))\b",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"%%|%s|%\(\w+\)s")

# Keywords that begin a statement, by what it does to tables.
_PARSED = frozenset(
    ["SELECT", "WITH", "VALUES", "TABLE", "(", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"]
)
_DDL = frozenset(["CREATE", "ALTER", "DROP", "RENAME", "COMMENT", "TRUNCATE", "REINDEX", "CLUSTER"])
_COMMITS = frozenset(["COMMIT", "END", "ROLLBACK", "ABORT"])
_SILENT = frozenset(
    [
        "SAVEPOINT",
        "RELEASE",
        "SET",
        "RESET",
        "LOCK",
        "UNLOCK",
        "CLOSE",
        "LISTEN",
        "UNLISTEN",
        "NOTIFY",
        "DISCARD",
        "USE",
        "KILL",
        "GRANT",
        "REVOKE",
        "CHECKPOINT",
        "DEALLOCATE",
    ]
)
"""They answer nothing that could be stored."""
_TELLING = frozenset(
    [
        "SHOW",
        "PRAGMA",
        "ANALYZE",
        "VACUUM",
        "FETCH",
        "MOVE",
        "DESCRIBE",
        "DESC",
        "OPTIMIZE",
        "CHECK",
    ]
)


def of_orm(sql: str, vendor: str, known: frozenset[str]) -> Statement:
    """Analyse SQL that a Django compiler made; ``known`` are the tables of all models."""
    scan = _scan if len(sql) <= MEMO_TEXT else _scan.__wrapped__
    return scan(sql, vendor, known)


def of_raw(sql: str, vendor: str) -> Statement:
    """Analyse any SQL."""
    analyse = _analyse if len(sql) <= MEMO_TEXT else _analyse.__wrapped__
    return analyse(sql, vendor)


def harmless(sql: str) -> bool:
    """Whether a text writes nothing, by its words alone: enough where reads are not recorded."""
    if ";" in sql:
        return False
    first = sql[:11].upper()
    if first.startswith("SELECT"):
        return _WRITING.search(sql) is None and _SET_CONFIG.search(sql) is None
    return first.startswith(("SAVEPOINT ", "RELEASE SAV", "ROLLBACK TO"))


def _last(chain: str) -> str:
    return plain(_WORD.findall(chain)[-1])


@lru_cache(maxsize=MEMO_SIZE)
def _scan(sql: str, vendor: str, known: frozenset[str]) -> Statement:
    bare = _without_literals(sql, vendor)
    opaque = _opaque(sql, bare, vendor)
    if opaque:
        return Statement(opaque=opaque)
    found = None if _FOREIGN_QUOTES.get(vendor, ";") in bare else _places(bare)
    if found is None:
        # A fragment written by hand stands in it.
        return _analyse(sql, vendor)
    words = {plain(word) for word in _WORD.findall(bare)}
    return Statement(
        reads=frozenset(found) | (words & known),
        calls=_calls(bare, vendor),
        selects=len(_SELECT.findall(bare)),
        once=frozenset(name for name, places in found.items() if places == 1),
    )


def _places(bare: str) -> Counter[str] | None:
    """Count where the tables of a query stand, as compilers write it; None: one may stand where
    they put none."""
    found: Counter[str] = Counter()
    levels = [_NO_QUERY]  # of the brackets around
    for match in _PLACE.finditer(bare):
        kind = match.lastgroup
        if kind == "sign":
            sign = match.group()
            if sign == "(":
                levels.append(_NO_QUERY)
            elif sign == ")":
                levels.pop()
                if not levels:
                    return None
            elif levels[-1] == _TABLES:
                return None
        elif kind == "select":
            levels[-1] = _QUERY
        elif kind == "end":
            if levels[-1] == _TABLES:
                levels[-1] = _QUERY
        elif kind == "extract":
            levels.append(_NO_QUERY)
        elif kind in ("table", "query"):
            if levels[-1] != (_QUERY if match.group("by").upper() == "FROM" else _TABLES):
                return None
            levels[-1] = _TABLES
            if kind == "table":
                found[_last(match.group("table"))] += 1
            else:
                # More than one query may stand in them.
                levels.append(_TABLES)
        elif kind in ("by", "odd"):
            return None
    return found


def _calls(bare: str, vendor: str) -> frozenset[str]:
    """Find the functions called in SQL without literals."""
    if vendor == "sqlite":
        bare = _DATED.sub("(", bare)
    words = _BEFORE_BRACKETS | _MORE_BEFORE_BRACKETS.get(vendor, frozenset())
    found: set[str] = set()
    for match in _CALL.finditer(bare):
        before, chain = match.groups()
        # Names of columns, or a type, follow.
        if before or match.group().startswith("::") or chain.lower() in words:
            continue
        if vendor != "postgresql" or chain[0] != "[":
            word = _WORD.findall(chain)[-1]
            found.add(word if word[0] in '"`' and vendor != "sqlite" else plain(word))
    return frozenset(found)


def _opaque(sql: str, bare: str, vendor: str) -> str:
    found = _VOLATILE.search(bare)
    if found is None and vendor == "postgresql":
        found = _USER.search(bare)
    if found is None and bare is not sql and _TIMES.search(sql) is not None:
        others = ("keep", "drop")
        literals = (each for each in _literal(vendor).finditer(sql) if each.lastgroup not in others)
        found = next((each for each in literals if _TIMES.search(each.group())), None)
    if found is not None:
        return f"SQL whose result changes by itself: {found.group().strip('( ')}"
    if _LOCKING.search(bare) is not None:
        return "SQL that locks rows"
    return ""


@lru_cache(maxsize=MEMO_SIZE)
def _analyse(sql: str, vendor: str) -> Statement:
    # Comments and literals hide keywords; a statement inside of another call hides behind a
    # semicolon.
    bare = _without_literals(sql, vendor)
    pieces = [piece.strip() for piece in bare.split(";") if piece.strip()]
    if len(pieces) == 1:
        return _one(pieces[0], sql, vendor)
    parts = [_one(piece, piece, vendor) for piece in pieces]
    return Statement(
        reads=frozenset().union(*(part.reads for part in parts)),
        writes=frozenset().union(*(part.writes for part in parts)),
        ctes=frozenset().union(*(part.ctes for part in parts)),
        deletes=any(part.deletes for part in parts),
        updates=any(part.updates for part in parts),
        everything=any(part.everything for part in parts),
        opaque="several statements in one call",
        calls=frozenset().union(*(part.calls for part in parts)),
        control=max((part.control for part in parts), default=""),
        # "session", which is the wider, comes first.
        isolation=min((part.isolation for part in parts if part.isolation), default=""),
        setting=min((part.setting for part in parts if part.setting), default=""),
    )


@lru_cache(maxsize=8)
def _literal(vendor: str) -> re.Pattern[str]:
    string = r"'(?:[^'\\]|\\.|'')*'" if vendor == "mysql" else r"'(?:[^']|'')*'"
    escaped = r"|\b[eE]'(?:[^'\\]|\\.|'')*'" if vendor == "postgresql" else ""
    dollar = r"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$" if vendor == "postgresql" else ""
    hashed = r"|\#[^\n]*" if vendor == "mysql" else ""
    # Quoted names are matched so that a quote or dash inside of one begins nothing.
    names = r'|"(?:[^"]|"")*"|`[^`]*`'
    return re.compile(
        rf"(?P<drop>/\*(?![!+]).*?\*/|--[^\n]*{hashed})|(?P<keep>{names[1:]}){escaped}|{string}{dollar}",
        re.DOTALL,
    )


def _without_literals(sql: str, vendor: str) -> str:
    if not any(sign in sql for sign in ("'", "--", "/*", "#", "$")):
        return sql

    def replace(match: re.Match[str]) -> str:
        if match.group("keep") is not None:
            return match.group()
        return " " if match.group("drop") is not None else "''"

    return _literal(vendor).sub(replace, sql)


def _one(bare: str, sql: str, vendor: str) -> Statement:
    first = _first(bare)
    if first in _PARSED:
        return _parsed(sql, bare, vendor)
    if first in _DDL:
        return _ddl(first, bare)
    if first == "ROLLBACK" and re.search(r"\bTO\b", bare, re.IGNORECASE):
        return Statement()
    if re.match(r"COMMIT\s+PREPARED\b", bare, re.IGNORECASE):
        return Statement(everything=True, opaque="transaction control")
    if first in _COMMITS:
        chains = re.search(r"\bAND\s+CHAIN\b", bare, re.IGNORECASE) is not None
        return Statement(opaque="transaction control", control="chain" if chains else "commit")
    if first in ("BEGIN", "START"):
        level = _isolation(first, bare)
        return Statement(opaque="transaction control", control="begin", isolation=level)
    if first in _SILENT:
        return Statement(isolation=_isolation(first, bare), setting=_setting(first, bare))
    if first in _TELLING:
        level, setting = _isolation(first, bare), _setting(first, bare)
        return Statement(opaque=f"a {first} statement", isolation=level, setting=setting)
    declared = _DECLARE.match(bare)
    if declared is not None:
        # Its query is read by FETCH, which is never stored.
        found = _parsed(_DECLARE.sub("", sql, count=1), bare[declared.end() :].strip(), vendor)
        return replace(found, opaque="a DECLARE statement")
    if first == "EXPLAIN" and not _WRITING.search(bare):
        return Statement(opaque="an EXPLAIN statement")
    if first == "COPY":
        named = re.match(rf"COPY\s+({_CHAIN})[^;]*?\bFROM\b", bare, re.IGNORECASE)
        if named is not None:
            return Statement(writes=frozenset([_last(named.group(1))]), opaque="a COPY statement")
        if re.match(rf"COPY\s+{_CHAIN}\s*(?:\([^)]*\))?\s*TO\b", bare, re.IGNORECASE):
            return Statement(opaque="a COPY statement")
    return _unknown(sql, f"a {first} statement")


def _first(bare: str) -> str:
    if bare.startswith("("):
        return "("
    found = re.match(r"\w+", bare)
    return found.group().upper() if found is not None else bare[:1]


def _isolation(first: str, bare: str) -> Scope:
    if first not in ("SET", "BEGIN", "START", "PRAGMA") or not _ISOLATION.search(bare):
        return ""
    own = first != "SET" or re.match(r"SET\s+(?:LOCAL\s+)?TRANSACTION\b", bare, re.IGNORECASE)
    return "transaction" if own else "session"


def _setting(first: str, bare: str) -> Scope:
    if first == "PRAGMA":
        asks = "=" not in bare and "(" not in bare
        return "" if asks or _IDLE_PRAGMA.match(bare) else "session"
    if first not in _SETTING or _IDLE_SETTING.match(bare):
        return ""
    return "transaction" if re.match(r"SET\s+LOCAL\b", bare, re.IGNORECASE) else "session"


def _ddl(first: str, bare: str) -> Statement:
    short = first in ("TRUNCATE", "DROP")
    cascade = re.search(r"\bCASCADE\b", bare, re.IGNORECASE) is not None
    named = {_last(chain) for chain in _NAMED.findall(bare)}
    # The rest of the words are types and columns, except in a list of tables to drop.
    words = {plain(word) for word in _WORD.findall(bare) if short or word[0] in '"`['}
    return Statement(
        writes=frozenset(named | words),
        everything=(cascade and short) or _PRECISE.match(bare) is None,
        opaque=f"a {first} statement",
        control="ddl",
    )


def _unknown(sql: str, what: str) -> Statement:
    logger.warning("%s may have changed any table, so all are invalidated: %.200s", what, sql)
    return Statement(everything=True, opaque=what)


def _parsed(sql: str, bare: str, vendor: str) -> Statement:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    # In brackets a stand-in value is good wherever a parameter may stand, also after IN and LIMIT.
    text = _PARAMETER.sub(lambda match: "%" if match.group() == "%%" else "(0)", sql)
    text = _REPLACE.sub("INSERT INTO", text)
    text = _UPDATE_OR.sub("UPDATE", text)
    text = _CURRENT.sub("WHERE TRUE", text)
    text = _INDEXED.sub("", text)
    dialect = {"postgresql": "postgres"}.get(vendor, vendor)
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
    except (SqlglotError, ValueError, RecursionError):
        trees = []
    if not trees or any(tree.find(exp.Command) is not None for tree in trees):
        if _WRITING.search(bare) is None:
            return Statement(opaque="SQL that could not be parsed")
        return _unknown(sql, "SQL that could not be parsed")
    ctes = {plain(cte.alias) for tree in trees for cte in tree.find_all(exp.CTE)}
    reads: set[str] = set()
    writes: set[str] = set()
    opaque = _opaque(sql, bare, vendor)
    for tree in trees:
        for table in tree.find_all(exp.Table):
            if table.name and not _is_cte(table, vendor):
                reads.add(plain(table.name))
            if isinstance(table.this, exp.Anonymous):
                opaque = opaque or f"a table function, {table.this.name}"
        if vendor == "sqlite":
            # `x IN table` is short for `x IN (SELECT * FROM table)`.
            named = [node.args.get("field") for node in tree.find_all(exp.In)]
            names = [node for node in named if isinstance(node, (exp.Column, exp.Literal))]
            reads.update(plain(node.name) for node in names)
        writes |= _written(tree, vendor)
    # It makes one, and that may hide another of its name, as with CREATE TEMPORARY TABLE ... AS.
    hides = any(into.args.get("temporary") for tree in trees for into in tree.find_all(exp.Into))
    # What an INSERT does about a conflict may delete or change rows.
    kinds = {type(node) for tree in trees for node in tree.find_all(exp.DML)}
    adds = kinds <= {exp.Insert} and _CONFLICT.search(bare) is None
    replaces = _UPDATE_OR.search(bare) is not None
    return Statement(
        reads=frozenset(reads | writes),
        writes=frozenset(writes),
        deletes=not adds and (kinds != {exp.Update} or replaces),
        updates=not adds and kinds != {exp.Delete},
        ctes=frozenset(ctes),
        opaque=opaque or ("SQL that writes" if writes else ""),
        calls=frozenset(name for name in _calls(bare, vendor) if plain(name) not in ctes),
        control="ddl" if hides else "",
        setting="session" if _SET_CONFIG.search(bare) else "",
    )


def _is_cte(table: exp.Table, vendor: str) -> bool:
    """Whether a name is that of a CTE in sight there, and so hides a table of this name."""
    from sqlglot import exp

    if table.db:
        return False
    name = _folded(table.this, vendor)
    below: exp.Expr = table
    above = table.parent
    while above is not None:
        block: Any = above if isinstance(above, exp.With) else above.args.get("with_")
        # From inside of a WITH it was met before.
        for cte in block.expressions if block is not None and block is not below else ():
            # A CTE sees those before it; SQLite lets it see all.
            if cte is below and not block.recursive and vendor != "sqlite":
                break
            if _folded(cte.args["alias"].this, vendor) == name:
                return True
        below, above = above, above.parent
    return False


def _folded(name: exp.Expr, vendor: str) -> str:
    """Give a name so that equal ones are the same to the database for certain."""
    folds = vendor == "sqlite" or (vendor == "postgresql" and not name.args.get("quoted"))
    return name.name.lower() if folds else name.name


def _written(tree: exp.Expr, vendor: str) -> set[str]:
    from sqlglot import exp

    found: set[str] = set()
    for node in tree.find_all(exp.DML, exp.Into):
        # MySQL's UPDATE and DELETE may change several of the tables they join.
        joined = vendor == "mysql" and isinstance(node, (exp.Update, exp.Delete))
        part = node if joined or node.this is None else node.this
        tables = list(part.find_all(exp.Table))
        aliases = {table.alias.lower() for table in tables if table.alias}
        # DELETE of MySQL may name by alias what it deletes from.
        found.update(
            plain(table.name)
            for table in tables
            if table.alias or table.name.lower() not in aliases
        )
    return found
