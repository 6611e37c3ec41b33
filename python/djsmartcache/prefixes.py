"""What every key begins with: namespace, model definitions, test run. Usually nothing.

The core has the prefix of all cached functions, as bytes where it is always the same, since asking
Python at each hit would double its cost.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from typing import Any, Final

from django.apps import apps
from django.db import connections

from . import _core, conf
from .exceptions import SettingError


def prefix() -> bytes:
    """What every key begins with: namespace, model definitions, test database. Usually nothing."""
    fixed = _fixed_prefix()
    return fixed if fixed is not None else _prefix_of(conf.namespace())


@functools.lru_cache(maxsize=1)
def _fixed_prefix() -> bytes | None:
    namespace = conf.current().namespace
    return None if callable(namespace) else _prefix_of(namespace)


def _prefix_of(namespace: str) -> bytes:
    settings = conf.current()
    parts = []
    if settings.namespace != "":
        parts.append(_core.encode_text(namespace))
    if settings.validate_schema and apps.models_ready:
        parts.append(b"schema-" + schema())
    if _run:
        parts.append(b"test-" + _run)
    return b"<" + b",".join(parts) + b">" if parts else b""


@functools.lru_cache(maxsize=4)
def _schema(state: int) -> bytes:
    digest = hashlib.sha256()
    for model in sorted(apps.get_models(include_auto_created=True), key=lambda m: m._meta.label):
        digest.update(f"{model._meta.label}|{model._meta.db_table}\n".encode())
        for field in sorted(model._meta.local_fields, key=lambda f: f.attname):
            _, path, args, kwargs = field.deconstruct()
            options = sorted((k, repr(v)) for k, v in kwargs.items() if k in _SHAPE)
            digest.update(f"{field.attname}|{field.column}|{path}|{args!r}|{options}\n".encode())
    return digest.hexdigest()[:16].encode()


# Options that change what is stored or loaded; help texts, validators and choices do not.
_SHAPE: Final = frozenset(
    {
        "db_column",
        "decimal_places",
        "max_digits",
        "max_length",
        "null",
        "primary_key",
        "to",
        "unique",
    }
)


def schema() -> bytes:
    """Fingerprint of all installed models' definitions."""
    return _schema(hash(tuple(apps.all_models)) ^ id(apps.app_configs))


_run = b""
_names: dict[str, str] = {}


def remember_databases() -> None:
    """Note the databases of the project, to tell a test run's databases from them."""
    for alias in connections:
        _names[alias] = str(connections[alias].settings_dict.get("NAME") or "")


def notice_database(*, connection: Any, **_: object) -> None:
    """Receiver of `connection_created`: keep what a test run caches apart from all else.

    A test database has another name than the project's, or is in memory. Entries outlive it, and it
    comes again under the same name with other rows, so each run has keys of its own.
    """
    global _run
    name = str(connection.settings_dict.get("NAME") or "")
    known = _names.get(connection.alias)
    in_memory = connection.vendor == "sqlite" and (name == ":memory:" or "mode=memory" in name)
    if not _run and (in_memory or (known is not None and name != known)):
        _run = secrets.token_hex(8).encode()
        _fixed_prefix.cache_clear()
        publish()


def publish() -> None:
    """Give the core the prefix of all cached functions, as bytes where it is always the same."""
    try:
        fixed = _fixed_prefix()
    except SettingError:
        fixed = None  # a call tells of it
    _core.set_prefix(prefix if fixed is None else fixed)


def forget(**_: object) -> None:
    """Make the prefix again; receiver of `setting_changed`."""
    _fixed_prefix.cache_clear()
    _schema.cache_clear()
    publish()


_core.set_prefix(prefix)  # until the settings are known
