"""Column values as the database compares them: equal text for all values that one equality matches.

Only where that is certain, by the model's field and by the database's column; None otherwise, and
the tag is a coarser one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models

from djsmartcache.orm import catalog, columns, scopes

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

NULL = "~"

Render = Callable[[Any], "str | None"]
"""Renders a value of one column, from a lookup or raw from the driver; None: not for certain."""

# By exact class: a subclass may store its values in a form of its own.
_KINDS: dict[type[Any], str] = {
    models.AutoField: "integer",
    models.BigAutoField: "integer",
    models.SmallAutoField: "integer",
    models.IntegerField: "integer",
    models.BigIntegerField: "integer",
    models.SmallIntegerField: "integer",
    models.PositiveIntegerField: "integer",
    models.PositiveBigIntegerField: "integer",
    models.PositiveSmallIntegerField: "integer",
    models.CharField: "text",
    models.TextField: "text",
    models.SlugField: "text",
    models.EmailField: "text",
    models.URLField: "text",
    models.BooleanField: "boolean",
    models.UUIDField: "uuid",
    models.DateField: "date",
    models.DecimalField: "decimal",
}


def renderer(field: models.Field[Any, Any], connection: BaseDatabaseWrapper) -> Render | None:
    """Give how values of a column are rendered; None: which of them are equal is not certain.

    *Cost*: a query where the column's table has not been met since the schema was read.
    """
    kind = _kind(field)
    if kind is None or field in _disputed(catalog.registry()):
        return None
    if not columns.compares(connection, field, kind):
        return None
    render = _RENDERERS[kind]
    if kind == "text" and connection.vendor == "mysql":
        render = _padded_text
    return partial(_certainly, render, target(field))


def canonical(
    field: models.Field[Any, Any], value: Any, connection: BaseDatabaseWrapper
) -> str | None:
    """Render one value of a column, as `renderer` does."""
    render = renderer(field, connection)
    return None if render is None else render(value)


def _certainly(
    render: Callable[[Any, Any], str | None], field: models.Field[Any, Any], value: Any
) -> str | None:
    try:
        return NULL if value is None else render(field, value)
    except (TypeError, ValueError, ArithmeticError, ValidationError):
        return None


def _integer(_: Any, value: Any) -> str:
    return int.__repr__(int(value))


def _boolean(_: Any, value: Any) -> str | None:
    # SQLite keeps anything, and a bare column in WHERE matches all numbers but 0.
    return repr(bool(value)) if isinstance(value, int) else None


def _text(_: Any, value: Any) -> str:
    return f"={plain_text(value)}"


def _padded_text(_: Any, value: Any) -> str:
    """Render text as most collations of MySQL compare it: with as many blanks as it takes."""
    return f"={plain_text(value).rstrip(' ')}"


def _uuid(field: Any, value: Any) -> str | None:
    return _as_itself(field.to_python(value), UUID, UUID.hex.fget)  # type: ignore[attr-defined]


def _date(field: Any, value: Any) -> str | None:
    return _as_itself(field.to_python(value), date, date.isoformat)


def _decimal(field: Any, value: Any) -> str | None:
    return _as_itself(field.to_python(value), Decimal, _number)


_RENDERERS: dict[str, Callable[[Any, Any], str | None]] = {
    "boolean": _boolean,
    "date": _date,
    "decimal": _decimal,
    "integer": _integer,
    "text": _text,
    "uuid": _uuid,
}


@lru_cache(maxsize=1)
def _disputed(registry: catalog.Registry) -> frozenset[models.Field[Any, Any]]:
    """Columns that two models of one table take for different types: they would render one value
    in two ways."""
    found: dict[tuple[str, str | None], list[models.Field[Any, Any]]] = {}
    for model in registry.models:
        table = scopes.plain(model._meta.db_table)
        for field in model._meta.local_concrete_fields:
            found.setdefault((table, field.column), []).append(field)
    return frozenset(
        field
        for fields in found.values()
        if len(fields) > 1 and len(set(map(_kind, fields))) > 1
        for field in fields
    )


def _kind(field: models.Field[Any, Any]) -> str | None:
    return _KINDS.get(type(target(field)))


def plain_text(value: Any) -> str:
    """Give the characters that the database is sent: a subclass, as a str Enum is, may print
    others."""
    return str.__str__(value) if isinstance(value, str) else str(value)


Kind = TypeVar("Kind")


def _as_itself(value: Any, kind: type[Kind], render: Callable[[Kind], str | None]) -> str | None:
    """Render what drivers send by way of ``str()`` or of a method; none where a subclass has its
    own."""
    own = type(value)
    changed = any(
        getattr(own, name) is not getattr(kind, name) for name in _PRINTING & vars(kind).keys()
    )
    return None if changed else render(value)


_PRINTING = frozenset(["__format__", "__str__", "hex", "isoformat"])


def _number(value: Decimal) -> str | None:
    """Render a number by its digits: any operation would obey the caller's decimal context."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return None
    shown = "".join(map(str, digits)).lstrip("0")
    kept = shown.rstrip("0")
    # Zero has no sign and no scale in SQL.
    return f"{'-' * (value < 0)}{kept}e{exponent + len(shown) - len(kept)}" if kept else "0"


def target(field: models.Field[Any, Any]) -> models.Field[Any, Any]:
    """Give the field whose values a column holds: of a foreign key, the one it refers to, and of a
    generated column what it is made as."""
    while isinstance(field, (models.ForeignKey, models.GeneratedField)):
        column: Any = field
        field = column.output_field if column.generated else column.target_field
    return field
