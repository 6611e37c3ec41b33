"""Which rows of one table a WHERE clause can reach: some by primary key, or those of a condition.

A clause that is a conjunction reaches no row that fails one of its equalities, whatever else it
demands. So equalities alone decide on the tags, and the rest of the clause may be of any kind.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import lookups
from django.db.models.expressions import Col
from django.db.models.fields import related_lookups
from django.db.models.sql.where import AND, WhereNode

from djsmartcache.orm.values import NULL, canonical

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Field

MAX_VALUES = 100
"""Rows or conditions of one query; beyond, more tags would cost more than a table tag loses."""

_EXACT = frozenset([lookups.Exact, lookups.IntegerFieldExact, related_lookups.RelatedExact])
_IN = frozenset([lookups.In, related_lookups.RelatedIn])
_IS_NULL = frozenset([lookups.IsNull, related_lookups.RelatedIsNull])


@dataclass(frozen=True)
class Rows:
    """Rows by primary key: ``keys`` as tags name them, ``raw`` as the lookup holds them."""

    keys: tuple[str, ...]
    raw: tuple[Any, ...]


@dataclass(frozen=True)
class Condition:
    """Rows of which ``columns`` (sorted) have one of these combinations of values."""

    columns: str
    values: tuple[str, ...]


def of_where(
    where: WhereNode,
    alias: str,
    primary_key: Any,
    connection: BaseDatabaseWrapper,
    limit: int = MAX_VALUES,
) -> Rows | Condition | None:
    """Give the rows of the table known as ``alias`` that a clause can reach; None: any."""
    found: dict[str, dict[str, Any]] = {}
    for field, values in _equalities(where, alias):
        rendered = [(canonical(field, value, connection), value) for value in values]
        if rendered and all(text is not None for text, _ in rendered):
            found.setdefault(field.column, {str(text): value for text, value in rendered})
    rows = found.get(primary_key.column)
    if rows and len(rows) <= limit and NULL not in rows:
        return Rows(tuple(rows), tuple(rows.values()))
    return _condition({column: list(texts) for column, texts in found.items()}, limit)


def _condition(found: dict[str, list[str]], limit: int) -> Condition | None:
    # Longest first: a list that makes too many combinations is left out, and its column with it.
    for column in sorted(found, key=lambda column: len(found[column]), reverse=True):
        if math.prod(len(values) for values in found.values()) <= limit:
            break
        del found[column]
    columns = sorted(column for column in found if "," not in column)
    if not columns:
        return None
    combinations = itertools.product(*(found[column] for column in columns))
    return Condition(",".join(columns), tuple(join(values) for values in combinations))


def join(values: Sequence[str]) -> str:
    """Give the detail of a condition tag for values in the order of their columns."""
    return "\x1f".join(values)


def image(
    fields: Sequence[Field[Any, Any]], row: Sequence[Any], connection: BaseDatabaseWrapper
) -> str | None:
    """Give the detail of the condition tag that a row, raw from the driver, falls under."""
    texts = [canonical(field, value, connection) for field, value in zip(fields, row, strict=True)]
    return None if any(text is None for text in texts) else join([str(text) for text in texts])


def _equalities(node: WhereNode, alias: str) -> Iterator[tuple[Any, list[Any]]]:
    if node.negated or (node.connector != AND and len(node.children) > 1):
        return
    child: Any
    for child in node.children:
        if isinstance(child, WhereNode):
            yield from _equalities(child, alias)
            continue
        kind = type(child)
        if kind not in _EXACT and kind not in _IN and kind not in _IS_NULL:
            continue
        column = child.lhs
        if type(column) is not Col or column.alias != alias or child.bilateral_transforms:
            continue
        values = _values(kind, child.rhs)
        if values is not None:
            yield column.target, values


def _values(kind: type[Any], value: Any) -> list[Any] | None:
    if kind in _IS_NULL:
        return [None] if value is True else None
    if kind in _IN:
        if not isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "__iter__"):
            return None
        if _is_expression(value):
            return None
        given = [each for each in value if each is not None]
        return None if any(_is_expression(each) for each in given) else given
    return None if value is None or _is_expression(value) else [value]


def _is_expression(value: Any) -> bool:
    return hasattr(value, "resolve_expression") or hasattr(value, "as_sql")
