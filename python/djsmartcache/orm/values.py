"""Column values as the database compares them: equal text for all values that one equality matches.

Only where that is certain; None otherwise, and the tag is a coarser one. Text depends on the
collation, so it counts only where Django made the column and the vendor's default compares bytes;
MySQL's does not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models

from djsmartcache.orm import catalog, scopes

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

VENDORS = frozenset(["sqlite", "postgresql", "mysql"])
NULL = "~"

# By exact class: a subclass may store its values in a form of its own.
_INTEGERS = frozenset(
    [
        models.AutoField,
        models.BigAutoField,
        models.SmallAutoField,
        models.IntegerField,
        models.BigIntegerField,
        models.SmallIntegerField,
        models.PositiveIntegerField,
        models.PositiveBigIntegerField,
        models.PositiveSmallIntegerField,
    ]
)
_TEXTS = frozenset(
    [models.CharField, models.TextField, models.SlugField, models.EmailField, models.URLField]
)


def canonical(
    field: models.Field[Any, Any], value: Any, connection: BaseDatabaseWrapper
) -> str | None:
    """Render ``value`` of a column; it comes from a lookup or raw from the driver.

    Returns:
        None if it is not certain which values the database takes for equal.
    """
    if connection.vendor not in VENDORS or field in _disputed(catalog.registry()):
        return None
    field = target(field)
    kind: type[Any] = type(field)
    if value is None:
        return NULL if comparable(field, connection) else None
    try:
        if kind in _INTEGERS:
            return int.__repr__(int(value))
        if kind is models.BooleanField:
            # SQLite keeps any number, and a bare column in WHERE matches all but 0.
            return repr(bool(value) if isinstance(value, int) else field.to_python(value))
        if kind in _TEXTS:
            return f"={plain_text(value)}" if _compares_bytes(field, connection) else None
        if kind is models.UUIDField:
            return _as_itself(field.to_python(value), UUID, UUID.hex.fget)  # type: ignore[attr-defined]
        if kind is models.DateField:
            return _as_itself(field.to_python(value), date, date.isoformat)
        if kind is models.DecimalField and connection.vendor == "postgresql":
            return _as_itself(field.to_python(value), Decimal, _number)
    except (TypeError, ValueError, ArithmeticError, ValidationError):
        return None
    return None


@lru_cache(maxsize=1)
def _disputed(registry: catalog.Registry) -> frozenset[models.Field[Any, Any]]:
    """Columns that two models of one table take for different types: they would render one value
    in two ways."""
    columns: dict[tuple[str, str | None], list[models.Field[Any, Any]]] = {}
    for model in registry.models:
        table = scopes.plain(model._meta.db_table)
        for field in model._meta.local_concrete_fields:
            columns.setdefault((table, field.column), []).append(field)
    return frozenset(
        field
        for fields in columns.values()
        if len(fields) > 1 and len(set(map(_kind, fields))) > 1
        for field in fields
    )


def _kind(field: models.Field[Any, Any]) -> Any:
    kind: type[Any] = type(target(field))
    return next((same for same in (_INTEGERS, _TEXTS) if kind in same), kind)


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
    """Give the field whose values a column holds: of a foreign key, the one it refers to."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return field


def comparable(field: models.Field[Any, Any], connection: BaseDatabaseWrapper) -> bool:
    """Whether values of a column have a rendering at all."""
    field = target(field)
    kind: type[Any] = type(field)
    if kind in _TEXTS:
        return _compares_bytes(field, connection)
    if kind is models.DecimalField:
        return connection.vendor == "postgresql"
    known = _INTEGERS | {models.BooleanField, models.UUIDField, models.DateField}
    return connection.vendor in VENDORS and kind in known


def _compares_bytes(field: Any, connection: BaseDatabaseWrapper) -> bool:
    return (
        connection.vendor in ("sqlite", "postgresql")
        and field.db_collation is None
        and field.model._meta.managed
    )
