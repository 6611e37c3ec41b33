"""The exception tree: mistakes of the programmer, never a miss; the store being down only for who
has asked to be told."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError


class SmartCacheError(Exception):
    """Base of everything that djsmartcache raises itself."""


class SettingError(SmartCacheError, ImproperlyConfigured):
    """A SMARTCACHE_* setting has a value that is not allowed; names it and those that are."""


class KeyTemplateError(SmartCacheError, ValueError):
    """A key template is malformed or names no argument; raised at decoration."""


class UnkeyableArgument(SmartCacheError, TypeError):
    """An argument has no stable identity, so that no key can be made of it; names the argument."""


class InvalidKey(SmartCacheError, ValueError, TypeError):
    """A key, tag or lock name is not text, or is empty."""


class UnstorableValue(SmartCacheError, TypeError):
    """A value cannot be stored; names the path to the part that is the reason."""


class LockNotAcquired(SmartCacheError, TimeoutError):
    """`cache_lock` was held by another for all of `wait`, or the store cannot be asked."""


class LockLost(SmartCacheError, RuntimeError):
    """A lock was no longer held when it was released: its lease ended or the store lost it."""


class WriteRefused(SmartCacheError, OperationalError):
    """Nothing was committed, for the store cannot be told of it.

    Only under SMARTCACHE_ON_REDIS_DOWN = "fail_closed". What handles a database that is down
    handles it."""
