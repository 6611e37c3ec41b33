"""Which rows of one table a WHERE clause can reach: some by primary key, or those of a condition.

A clause that is a conjunction reaches no row that fails one of its equalities, whatever else it
demands. So equalities alone decide on the tags, and the rest of the clause may be of any kind. A
disjunction reaches what one of its parts does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.models import Transform, Value, lookups
from django.db.models.expressions import Col, CombinedExpression
from django.db.models.fields import related_lookups
from django.db.models.sql.constants import INNER
from django.db.models.sql.where import AND, OR, WhereNode

from djsmartcache.orm.values import NULL, Render, renderer

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

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


RendererOf = Callable[[Any], Render | None]

Equalities = dict[str, dict[str, dict[str, Any]]]
"""Alias -> column -> the values it must have, rendered -> as the lookup holds them."""


def of_where(
    where: WhereNode, alias: str, key: str | None, renderer_of: RendererOf, limit: int
) -> Rows | Condition | None:
    """Give the rows of the table known as ``alias`` that a clause can reach; None: any.

    Args:
        key: Column of the table's primary key.
        renderer_of: As `values.renderer`, of the connection that the clause is for.
        limit: Rows, or conditions, that are worth naming.
    """
    return _reach(_demanded(where, renderer_of).get(alias, {}), key, limit)


def of_query(
    query: Any, keys: dict[str, str | None], connection: BaseDatabaseWrapper
) -> dict[str, list[Rows | Condition]]:
    """Give for each alias the rows that a query can reach, where they are not any: those of each
    in the list.

    An equality holds on the other side of a join as well. A row that an outer join adds for want of
    a partner has NULLs, which the clause may ask for: so it limits the tables that are inner
    joined.

    Args:
        keys: Column of the primary key by alias.
    """
    renderer_of = partial(renderer, connection=connection)
    demanded = _demanded(query.where, renderer_of)
    for alias, source in query.alias_map.items():
        if source.join_type not in (None, INNER):
            demanded.pop(alias, None)
        for near, far in getattr(source, "join_fields", None) or ():
            values = demanded.get(source.parent_alias, {}).get(near.column)
            rendered = {} if values is None else _rendered(far, values.values(), renderer_of)
            if rendered:
                demanded.setdefault(alias, {}).setdefault(far.column, rendered)
    found = {
        alias: [reached]
        for alias, columns in demanded.items()
        if (reached := _reach(columns, keys.get(alias), MAX_VALUES)) is not None
    }
    for alias, source in query.alias_map.items():
        if alias not in found and source.join_type in (None, INNER):
            either = _either(query.where, alias, keys.get(alias), renderer_of)
            if either:
                found[alias] = either
    return found


def _either(
    where: WhereNode, alias: str, key: str | None, renderer_of: RendererOf
) -> list[Rows | Condition]:
    """Give what the parts of a disjunction reach, if each of them limits the table."""
    for part in _disjunctions(where):
        found: list[Rows | Condition] = []
        for child in part.children:
            demanded = _demanded(WhereNode([child]), renderer_of).get(alias, {})
            reached = _reach(demanded, key, MAX_VALUES // len(part.children))
            if reached is None:
                break
            found.append(reached)
        else:
            return found
    return []


def _disjunctions(node: WhereNode) -> Iterator[WhereNode]:
    """Give the disjunctions that a clause demands."""
    if node.negated:
        return
    if len(node.children) > 1 and node.connector != AND:
        if node.connector == OR:
            yield node
        return
    for child in node.children:
        if isinstance(child, WhereNode):
            yield from _disjunctions(child)


def _demanded(where: WhereNode, renderer_of: RendererOf) -> Equalities:
    found: Equalities = {}
    for alias, field, values in _equalities(where):
        rendered = _rendered(field, values, renderer_of)
        if rendered:
            found.setdefault(alias, {}).setdefault(field.column, rendered)
    return found


def _rendered(field: Any, values: Iterable[Any], renderer_of: RendererOf) -> dict[str, Any]:
    """Render values of a column; empty if one has no certain rendering."""
    rendered: dict[str, Any] = {}
    render = renderer_of(field)
    for value in values:
        text = None if render is None else render(value)
        if text is None:
            return {}
        rendered[text] = value
    return rendered


def _reach(
    found: dict[str, dict[str, Any]], key: str | None, limit: int
) -> Rows | Condition | None:
    rows = found.get(key) if key is not None else None
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


def image(renderers: Sequence[Render | None], row: Sequence[Any]) -> str | None:
    """Give the detail of the condition tag that a row, raw from the driver, falls under."""
    texts: list[str] = []
    for render, value in zip(renderers, row, strict=True):
        text = None if render is None else render(value)
        if text is None:
            return None
        texts.append(text)
    return join(texts)


def _equalities(node: WhereNode) -> Iterator[tuple[str, Any, list[Any]]]:
    if node.negated or (node.connector != AND and len(node.children) > 1):
        return
    child: Any
    for child in node.children:
        if isinstance(child, WhereNode):
            yield from _equalities(child)
            continue
        kind = type(child)
        if kind not in _EXACT and kind not in _IN and kind not in _IS_NULL:
            continue
        column = child.lhs
        if type(column) is not Col or child.bilateral_transforms:
            continue
        values = _values(kind, child.rhs)
        if values is not None:
            yield column.alias, column.target, values


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


def is_steady(node: Any, alias: str | None) -> bool:
    """Whether a clause finds a row again for as long as the row stays as it is.

    So it is with the row's own columns, values, and what Django makes of these; not with other
    tables, and functions that may give something else the next time.
    """
    if isinstance(node, WhereNode):
        return all(is_steady(child, alias) for child in node.children)
    if type(node) is Col:
        return node.alias == alias
    if isinstance(node, (list, tuple, set, frozenset)):
        return all(is_steady(each, alias) for each in node)
    if not _is_expression(node):
        return isinstance(node, (str, bytes, dict)) or not hasattr(node, "__iter__")
    if not type(node).__module__.startswith("django."):
        return False  # what SQL it makes nobody knows
    if isinstance(node, lookups.Lookup):
        return not node.bilateral_transforms and is_steady([node.lhs, node.rhs], alias)
    if isinstance(node, (Transform, CombinedExpression, Value)):
        return is_steady(node.get_source_expressions(), alias)
    return False


def _is_expression(value: Any) -> bool:
    return hasattr(value, "resolve_expression") or hasattr(value, "as_sql")
