"""Column values as the database compares them: equal text for all values that one equality matches.

Only where that is certain; None otherwise, and the tag is a coarser one. Text depends on the
collation, so it counts only where Django made the column and the vendor's default compares bytes;
MySQL's does not.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

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
    if connection.vendor not in VENDORS:
        return None
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    kind: type[Any] = type(field)
    if value is None:
        return NULL if comparable(field, connection) else None
    try:
        if kind in _INTEGERS:
            return str(int(value))
        if kind is models.BooleanField:
            # SQLite keeps any number, and a bare column in WHERE matches all but 0.
            return str(bool(value) if isinstance(value, int) else field.to_python(value))
        if kind in _TEXTS:
            return f"={value}" if _compares_bytes(field, connection) else None
        if kind in (models.UUIDField, models.DateField):
            return str(field.to_python(value))
        if kind is models.DecimalField and connection.vendor == "postgresql":
            number = Decimal(field.to_python(value))
            return str(number.normalize()) if number.is_finite() else None
    except (TypeError, ValueError, ArithmeticError, ValidationError):
        return None
    return None


def comparable(field: models.Field[Any, Any], connection: BaseDatabaseWrapper) -> bool:
    """Whether values of a column have a rendering at all."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
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
