"""The exception tree: mistakes of the programmer, never a miss and never the store being down."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


class SmartCacheError(Exception):
    """Base of everything that djsmartcache raises itself."""


class SettingError(SmartCacheError, ImproperlyConfigured):
    """A SMARTCACHE_* setting has a value that cannot be used; names the setting and what is allowed."""


class KeyTemplateError(SmartCacheError, ValueError):
    """A key template is malformed or names no argument; raised at decoration."""


class UnkeyableArgument(SmartCacheError, TypeError):  # noqa: N818 - part of the public API's wording
    """An argument has no stable identity, so that no key can be made of it; names the argument."""


class InvalidKey(SmartCacheError, ValueError, TypeError):  # noqa: N818
    """A key, tag or lock name is not text, or is empty."""


class UnstorableValue(SmartCacheError, TypeError):  # noqa: N818
    """A value cannot be stored; names the path to the part that is the reason."""


class LockNotAcquired(SmartCacheError, TimeoutError):  # noqa: N818
    """`cache_lock` waited for its whole timeout."""


class LockLost(SmartCacheError, RuntimeError):  # noqa: N818
    """A lock was no longer held when it was released: its lease ended or the store lost it."""
