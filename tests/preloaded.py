"""What gunicorn preloads: the cache is used before the fork, and changed by each request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import django
from django.conf import settings
from django.core.signals import setting_changed

django.setup()

import djsmartcache as sc  # noqa: E402 - after the set-up

place = os.environ["SMARTCACHE_TEST_STORE"]
name = "SMARTCACHE_REDIS_URL" if "://" in place else "SMARTCACHE_DIR"
setattr(settings, name, place)
setting_changed.send(sender=None, setting=name, value=place, enter=True)

sc.cache_set("visits", 0)
sc.cache_get("visits")


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    with sc.cache_lock("visits"):
        visits = sc.cache_get("visits")
        sc.cache_set("visits", visits + 1)
    start("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [f"{visits} {os.getpid()}".encode()]
