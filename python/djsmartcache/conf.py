"""The SMARTCACHE_* settings: one table with default, rule and meaning of each.

The fields of `Settings` are the table; the system checks, the reference in docs/settings.md and
typed access (`conf.current().default_ttl`) are all made from it. Values are read again after
`setting_changed`.
"""

# ruff: noqa: RUF009 - `setting` makes dataclass fields

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from django.conf import settings as django_settings

from .exceptions import SettingError

PREFIX: Final = "SMARTCACHE_"
MIB: Final = 1024 * 1024
MOST_BYTES: Final = 1 << 46  # what a process can address
MOST_SECONDS: Final = 3600.0  # to wait for a server or another process: more is a mistake
_BASE: Final = "/tmp"  # noqa: S108 - what is made in it is private


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value must be, in words and as a test. `later`: what a later version will take."""

    allowed: str
    holds: Callable[[Any], bool]
    later: Callable[[Any], bool] = lambda value: False


def is_number(value: Any) -> bool:
    """Whether it is a number, not NaN, that a float can hold."""
    if isinstance(value, float):
        return value == value
    return type(value) is int and abs(value) <= sys.float_info.max


def _encodes(text: str | bytes) -> bool:
    return isinstance(text, bytes) or bool(text.encode())  # raises at lone surrogates


def _is_absolute(path: str | os.PathLike[str]) -> bool:
    return Path(path).is_absolute() and b"\0" not in os.fsencode(path)


def _is_url(text: str) -> bool:
    return text.partition("://")[0] in URL_SCHEMES and re.search(r"[\s\0]", text) is None


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[\x21-\x7e]{1,100}", value))


_BRANDS = ("redis", "valkey")
TLS_SCHEMES: Final = tuple(
    f"{brand}s{kind}" for brand in _BRANDS for kind in ("", "+sentinel", "+cluster")
)
URL_SCHEMES: Final = (
    *(f"{brand}{kind}" for brand in _BRANDS for kind in ("", "+sentinel", "+cluster")),
    *TLS_SCHEMES,
    "unix",
)
LEVELS: Final = ("bounded", "session", "strict")
POLICIES: Final = ("fail_open", "fail_closed")

_BOOLEAN = Rule("True or False", lambda v: isinstance(v, bool))
_URL = Rule(
    f"None, or a URL without spaces that begins with {', '.join(f'{s}://' for s in URL_SCHEMES)}",
    lambda v: v is None or (isinstance(v, str) and _is_url(v)),
)
_TTL = Rule(
    "seconds above 0, or None for no expiry", lambda v: v is None or (is_number(v) and v > 0)
)
_SECONDS = Rule(
    "seconds above 0, an hour at most", lambda v: is_number(v) and 0 < v <= MOST_SECONDS
)
_BYTES = Rule(
    "a whole number of bytes up to 64 TiB, 0 for none",
    lambda v: is_number(v) and 0 <= v <= MOST_BYTES and v == int(v),
)
_ROOM = Rule("a whole number of bytes from 1 MiB to 64 TiB", lambda v: _BYTES.holds(v) and v >= MIB)
_PRINTABLE = Rule("text of 1 to 100 printable ASCII characters without space", _name)
_COMPRESSORS = ("zlib", "zstd", "lz4")


def setting(default: Any, rule: Rule, doc: str) -> Any:
    """A row of the table."""
    return dataclasses.field(default=default, metadata={"rule": rule, "doc": doc})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Values of all settings; `redis_url` is SMARTCACHE_REDIS_URL and so on."""

    redis_url: str | None = setting(
        None,
        _URL,
        "Server that holds the entries and tells processes of changes. None: the embedded store, "
        "shared by the processes of one machine. rediss:// and its kin are TLS: see docs/guide.md.",
    )
    default_ttl: float | None = setting(
        300,
        _TTL,
        "Seconds that an entry lives if nothing else is said. What is computed lives for two weeks "
        "at most.",
    )
    use_redis_lock: bool = setting(
        True, _BOOLEAN, "One process computes a missing entry while the others wait for it."
    )
    lock_timeout: float = setting(
        5,
        _SECONDS,
        "Seconds for which others wait for a process that computes an entry without hearing from "
        "it; then one of them computes it. A process that is alive renews its lock meanwhile.",
    )
    pubsub_channel: str = setting(
        "smartcache:updates",
        _PRINTABLE,
        "Channel on which processes tell each other what changed: the same for all that share a "
        "store. To change it, give them another SMARTCACHE_KEY_PREFIX as well.",
    )
    start_listener: bool = setting(
        True,
        _BOOLEAN,
        "Listen for changes made by other processes. False: the memory of a process is checked "
        "against the store at each hit.",
    )
    jitter_pct: float = setting(
        0.1,
        Rule("a share from 0 up to, not including, 1", lambda v: is_number(v) and 0 <= v < 1),
        "Share by which a TTL is varied up and down, so that entries do not expire together.",
    )
    validate_schema: bool = setting(
        False,
        _BOOLEAN,
        "Make the model definitions part of every key: after a deploy that changes one, old "
        "entries are misses, and old and new code do not share entries while both run.",
    )
    enabled: bool = setting(
        True, _BOOLEAN, "False: nothing is read from the cache nor stored; writes still invalidate."
    )
    models: dict[str, Any] | None = setting(
        None,
        Rule(
            "None or an empty dict",
            lambda v: v is None or v == {},
            later=lambda v: isinstance(v, dict) and bool(v),
        ),
        "Querysets to be cached by themselves.",
    )
    consistency: str = setting(
        "bounded",
        Rule(" or ".join(f'"{level}"' for level in LEVELS), lambda v: v in LEVELS),
        "How fresh a hit is in processes that did not write themselves: see docs/consistency.md. "
        "The embedded store is always strict.",
    )
    on_redis_down: str = setting(
        "fail_open",
        Rule(" or ".join(f'"{policy}"' for policy in POLICIES), lambda v: v in POLICIES),
        "What a write does while the store cannot be told: fail_open saves it, and tells the store "
        "when it is back; fail_closed raises WriteRefused before COMMIT, and returns from what is "
        "committed only when nobody can read the old answer any more.",
    )
    key_prefix: str = setting(
        "smartcache",
        _PRINTABLE,
        "Begins every key in the store: one for each project on a server, and for each copy of a "
        "project whose database has the same name. With the release in it, no entry outlives a "
        "deploy.",
    )
    namespace: str | Callable[[], str] = setting(
        "",
        Rule("text, or a callable that returns text", lambda v: isinstance(v, str) or callable(v)),
        "Part of every key, and of every tag that you name, for projects in which the same query "
        "gives different rows: the name of a tenant, a search_path, the role of row-level "
        "security. A callable is asked at each call. Writes reach the entries of all namespaces.",
    )
    local_max_bytes: int = setting(
        64 * MIB, _BYTES, "Memory of each process for entries; 0: none is kept."
    )
    max_payload_bytes: int = setting(
        8 * MIB,
        _ROOM,
        "Longest encoded value that is stored. A larger result is returned to the caller and "
        "computed again at the next call.",
    )
    embedded_max_bytes: int = setting(1024 * MIB, _ROOM, "Size of the embedded store.")
    dir: str | os.PathLike[str] | None = setting(
        None,
        Rule(
            "None, or an absolute path",
            lambda v: v is None or (isinstance(v, str | os.PathLike) and _is_absolute(v)),
        ),
        "Folder of the embedded store, the same for all processes of the project. None: "
        "a private folder of the user under /tmp. Set it wherever processes have a /tmp of their "
        "own, as under systemd's PrivateTmp or in containers: each would have a store of its own, "
        "and would serve old values until their TTL ends after a write made through another.",
    )
    serializer: str | type = setting(
        "pickle",
        Rule(
            '"pickle", "json", or a class with dumps(value) -> bytes and loads(bytes), '
            "or the dotted path of one",
            lambda v: (
                isinstance(v, type)
                or (isinstance(v, str) and (v in ("pickle", "json") or "." in v))
            ),
        ),
        "How values that the core does not encode itself become bytes.",
    )
    compressor: str | None = setting(
        None,
        Rule(
            f"None, {', '.join(_COMPRESSORS)} (zstd and lz4 need their packages)",
            lambda v: v is None or v in _COMPRESSORS,
        ),
        "Compresses what the serializer gives, if it is above a kilobyte and gets shorter by it.",
    )
    secret: str | bytes | None = setting(
        None,
        Rule(
            "None, or at least 16 characters",
            lambda v: v is None or (isinstance(v, str | bytes) and len(v) >= 16 and _encodes(v)),
        ),
        "Authenticates every entry before it is decoded. None: derived from SECRET_KEY.",
    )
    redis_timeout: float = setting(
        0.25, _SECONDS, "Seconds that a call waits for the server before it does without."
    )
    uncachable_tables: tuple[str, ...] = setting(
        (),
        Rule(
            "a list or tuple of table names",
            lambda v: (
                isinstance(v, list | tuple | set | frozenset)
                and all(isinstance(name, str) for name in v)
            ),
        ),
        "Results that were read from one of these tables are not stored. Name tables that are "
        "written without Django, by triggers or other programs: their changes are not noticed.",
    )


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with one setting. `kind` is unknown, value or later."""

    kind: str
    name: str
    message: str
    allowed: str


def names() -> dict[str, dataclasses.Field[Any]]:
    """Every setting by its full name."""
    return {PREFIX + f.name.upper(): f for f in dataclasses.fields(Settings)}


def problems() -> Iterator[Problem]:
    """What is wrong with the values that the project has set."""
    for name, field in names().items():
        value = getattr(django_settings, name, field.default)
        rule: Rule = field.metadata["rule"]
        if _holds(rule.holds, value):
            continue
        later = _holds(rule.later, value)
        # A secret, or a URL's password, is never repeated into logs.
        secret = name.endswith("SECRET") or (name.endswith("URL") and "@" in str(value))
        shown = "its value" if secret else repr(value)
        trouble = "is not supported by this version" if later else "is not allowed"
        yield Problem(
            "later" if later else "value", name, f"{name}: {shown} {trouble}.", rule.allowed
        )


def _holds(test: Callable[[Any], bool], value: Any) -> bool:
    try:
        return bool(test(value))
    except (TypeError, ValueError, OverflowError):
        return False


@functools.lru_cache(maxsize=1)
def current() -> Settings:
    """The settings in force.

    Raises:
        SettingError: A value is not allowed; the system checks list all such values.
    """
    for problem in problems():
        raise SettingError(f"{problem.message} Allowed: {problem.allowed}.")
    return Settings(
        **{
            field.name: getattr(django_settings, name)
            for name, field in names().items()
            if hasattr(django_settings, name)
        }
    )


def forget(*, setting: str, **_: object) -> None:
    """Read the settings again at the next use; receiver of `setting_changed`."""
    if setting.startswith(PREFIX) or setting in ("SECRET_KEY", "BASE_DIR"):
        current.cache_clear()


def secret() -> bytes:
    """32 bytes that authenticate entries, derived: no other use of SECRET_KEY shares them."""
    given = current().secret
    base = django_settings.SECRET_KEY if given is None else given
    label = b"djsmartcache: authentication of entries, 1"
    return hmac.new(
        base.encode() if isinstance(base, str) else base, label, hashlib.sha256
    ).digest()


def namespace() -> str:
    """The namespace as of this call.

    Raises:
        SettingError: The callable returned something else than text.
    """
    value = current().namespace
    if isinstance(value, str):
        return value
    found = value()
    if not isinstance(found, str):
        raise SettingError(f"{PREFIX}NAMESPACE: {value!r} returned {found!r}. Allowed: text.")
    return found


def directory() -> str:
    """Folder of the embedded store.

    Processes that do not share it do not hear of each other's changes. So the default depends on
    nothing that the environment of a process says (XDG_RUNTIME_DIR, TMPDIR, the settings module):
    a service, a shell and a cron job of one user have the same. But it is under /tmp, and where
    /tmp itself is another one, under systemd's PrivateTmp or in a container, so is the store; the
    check W003 tells of it. Projects are told apart by their secret and place.

    *Cost*: no I/O. Whether it can be used, each use finds out: if not, the store is down.
    """
    given = current().dir
    if given is not None:
        return os.fspath(given)
    module = getattr(django_settings, "SETTINGS_MODULE", None) or ""
    place = str(getattr(django_settings, "BASE_DIR", "")) or module.partition(".")[0]
    project = hmac.new(
        secret(), place.encode("utf-8", "surrogateescape"), hashlib.sha256
    ).hexdigest()
    # Right below _BASE, where nobody but its owner can put another folder in its place.
    return f"{_BASE}/djsmartcache-{os.geteuid()}-{project[:16]}"


def load(dotted: str) -> Any:
    """The object of a dotted path.

    Raises:
        SettingError: There is none.
    """
    module, _, attribute = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(f"{dotted!r} cannot be imported: {error}") from error


def reference() -> str:
    """docs/settings.md: every setting with its default, allowed values and meaning."""
    lines = [
        "# Settings",
        "",
        "| Setting | Default | Allowed | Meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in names().items():
        rule: Rule = field.metadata["rule"]
        cells = (f"`{name}`", f"`{field.default!r}`", rule.allowed, field.metadata["doc"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
