"""What every key begins with: database, namespace, model definitions, test run.

The core has the prefix of all cached functions, as bytes where it is always the same, since asking
Python at each hit would double its cost. docs/design/keys.md says why it names databases.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import secrets
from typing import Any, Final

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections

from . import _core, conf
from .exceptions import SettingError
from .orm import dependencies, scopes


def prefix() -> bytes:
    """What every key begins with, as of this call."""
    fixed = _fixed_prefix()
    return fixed if fixed is not None else _prefix_of(conf.namespace())


@functools.lru_cache(maxsize=1)
def _fixed_prefix() -> bytes | None:
    namespace = conf.current().namespace
    return None if callable(namespace) or _moved else _prefix_of(namespace)


def _prefix_of(namespace: str) -> bytes:
    settings = conf.current()
    parts = [_short(_databases() if _moved else _configured_databases())]
    if settings.namespace != "":
        parts.append(_core.encode_text(namespace))
    if settings.validate_schema and apps.models_ready:
        parts.append(b"schema-" + schema())
    if _run:
        parts.append(b"test-" + _run)
    return b"<" + b",".join(parts) + b">"


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


# --- databases

_configured: dict[str, str] = {}
"""The database of each alias as the settings name it."""
_tests: dict[str, str] = {}
"""How the names of each alias' test databases begin."""
_moved = False
"""Whether a connection has been to another database than the settings name. From then on each call
looks: threads may be at different ones, and a forked child moves on by itself."""
_run = b""


def remember_databases() -> None:
    """Note the databases of the project, before a test run or anything else exchanges them."""
    if _configured:
        return
    for alias in connections:
        connection = connections[alias]
        settings = connection.settings_dict
        name = (settings.get("TEST") or {}).get("NAME") or f"test_{settings.get('NAME')}"
        _tests[alias] = os.path.splitext(str(name))[0]
        # Memory is nobody's database until it is connected to: some projects have none other.
        _configured[alias] = "sqlite:" if scopes.in_memory(connection) else scopes.named(connection)


def notice_database(*, connection: Any, **_: object) -> None:
    """Learn that a connection is at another database than the settings name.

    Receiver of `connection_created`, called as well where a connection is closed, which is when
    databases are exchanged. A test database outlives its entries' rows: it comes again under the
    same name with others. So each test run has keys of its own.
    """
    global _moved, _run
    configured = _configured.get(connection.alias)
    if configured is None or scopes.named(connection) == configured:
        return
    if scopes.in_memory(connection) and connection.connection is None:
        return
    begins = not _run and _is_test(connection)
    if _moved and not begins:
        return
    if begins:
        _run = secrets.token_hex(8).encode()
    _moved = True
    computation = dependencies.current()
    if computation is not None:
        computation.forbid("the database was exchanged meanwhile: its key is of another")
    _fixed_prefix.cache_clear()
    publish()


def _is_test(connection: Any) -> bool:
    name = str(connection.settings_dict.get("NAME") or "")
    return scopes.in_memory(connection) or name.startswith(_tests[connection.alias])


@functools.lru_cache(maxsize=1)
def _configured_databases() -> tuple[str, ...]:
    remember_databases()
    return tuple(_configured[alias] for alias in _main())


def _main() -> list[str]:
    """The aliases whose databases every key names: `default`, all if the project has no such.

    Not all of them always: services of one project may have different further ones, and must reach
    each other's keys.
    """
    has_default = connections[DEFAULT_DB_ALIAS].vendor != "unknown"
    return [DEFAULT_DB_ALIAS] if has_default else sorted(_configured)


def _databases() -> tuple[str, ...]:
    """As `_configured_databases`, of the connections of this thread, with what has moved."""
    main = _main()
    present = {alias: scopes.named(connections[alias]) for alias in _configured}
    moved = [
        f"{alias}={name}"
        for alias, name in sorted(present.items())
        if alias not in main and name != _configured[alias]
    ]
    return (*(present[alias] for alias in main), *moved)


@functools.lru_cache(maxsize=256)
def _short(names: tuple[str, ...]) -> bytes:
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()[:6])


# --- what the core is told


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
