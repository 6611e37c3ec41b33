"""System checks of the settings. Ids are stable: E001-E006 errors, W001-W005 warnings."""

from __future__ import annotations

import difflib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from . import _core, conf, process, serializers
from .exceptions import SettingError

_KINDS = {"value": "smartcache.E002", "later": "smartcache.E003"}
_PREFIXES = (conf.PREFIX, "SMART_CACHE_")
MIDDLEWARE = "djsmartcache.middleware.SmartCacheSessionMiddleware"
TESTED_VENDORS = {"mysql": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}


def connect() -> None:
    """Register the checks; called once, when the app is ready."""
    register(check_settings, Tags.caches)
    register(check_databases, Tags.caches)
    register(check_deployment, Tags.caches, deploy=True)


def check_settings(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Unknown names (E001), bad values (E002, E003), what good ones lack (E004-6, W004, W005)."""
    found: list[CheckMessage] = [*_unknown_names()]
    found += [
        Error(p.message, hint=f"Allowed: {p.allowed}.", id=_KINDS[p.kind]) for p in conf.problems()
    ]
    if not found:
        found += _missing_parts()
    return found


def _unknown_names() -> Iterator[Error]:
    known = conf.names()
    # Compared without what all of them begin with, which would make any two alike.
    rests = [name.removeprefix(conf.PREFIX) for name in known]
    for name in dir(django_settings):
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        if prefix is not None and name not in known:
            near = difflib.get_close_matches(name.removeprefix(prefix), rests, n=1, cutoff=0.4)
            hint = f"Did you mean {conf.PREFIX}{near[0]}? " if near else ""
            yield Error(
                f"{name} is not a setting of djsmartcache.",
                hint=f"{hint}Known: {', '.join(sorted(known))}.",
                id="smartcache.E001",
            )


def _missing_parts() -> Iterator[CheckMessage]:
    settings = conf.current()
    if (missing := process.missing_tls()) is not None:
        yield Error(missing, hint=process.GETTING_TLS, id="smartcache.E004")
    else:
        try:
            process.configure()
            if settings.redis_url is None:
                _core.check_folder(conf.directory(), settings.key_prefix)
            else:
                _core.check_tls(settings.redis_url)
        except (SettingError, ValueError) as error:
            yield Error(str(error), id="smartcache.E005")
        except _core.StoreUnavailable as error:
            yield Warning(
                f"The embedded store cannot be used just now: {error}.",
                hint="Calls compute until it can, and changes made meanwhile are told to other "
                "processes then.",
                id="smartcache.W004",
            )
    if settings.consistency == "session" and MIDDLEWARE not in django_settings.MIDDLEWARE:
        yield Warning(
            f'{conf.PREFIX}CONSISTENCY is "session", and the middleware that keeps sessions is not '
            'installed: requests read as they do at "bounded".',
            hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
            id="smartcache.W005",
        )
    try:
        serializers.codecs()
    except SettingError as error:
        yield Error(str(error), id="smartcache.E006")


def check_databases(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Databases whose comparisons and locks djsmartcache has not been tested with (W002)."""
    return [
        Warning(
            f"Database {alias!r}: djsmartcache is not tested with {vendor}.",
            hint=f"Tested: {', '.join(TESTED_VENDORS.values())}. "
            "With others it may miss writes, or take different values for equal.",
            id="smartcache.W002",
        )
        for alias in connections
        if (vendor := connections[alias].vendor) not in {*TESTED_VENDORS, "unknown"}
    ]


def check_deployment(
    app_configs: Sequence[AppConfig] | None = None, **_: Any
) -> list[CheckMessage]:
    """The embedded store where processes may not share it.

    W001: beside a database that other machines can write to. W003: in its default folder.
    """
    if getattr(django_settings, "SMARTCACHE_REDIS_URL", None) is not None:
        return []
    found: list[CheckMessage] = [
        Warning(
            f"Database {alias!r} is on {host}, and the embedded store is on this machine: writes "
            "made from another machine do not reach it.",
            hint="Set SMARTCACHE_REDIS_URL if more than one machine runs this project.",
            id="smartcache.W001",
        )
        for alias in connections
        if not _is_local(host := str(connections[alias].settings_dict.get("HOST") or ""))
    ]
    if getattr(django_settings, "SMARTCACHE_DIR", None) is None:
        found.append(
            Warning(
                "The embedded store is in its default folder below /tmp: processes with a /tmp of "
                "their own (systemd's PrivateTmp, containers) do not share it, and writes through "
                "one do not reach the others.",
                hint="Set SMARTCACHE_DIR to a folder that all processes of the project share, such "
                "as one below /var/lib or on a volume, or set SMARTCACHE_REDIS_URL.",
                id="smartcache.W003",
            )
        )
    return found


def _is_local(host: str) -> bool:
    here = {"", "localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()}
    return host.startswith(("/", "@")) or host.lower() in here
