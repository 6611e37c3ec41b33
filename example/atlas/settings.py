"""Settings of the atlas.

``ATLAS_DATABASE`` chooses the database: a URL, ``postgres://user:password@host:port/name`` or
``sqlite:////path/of/file``, else SQLite in ``ATLAS_DATA``. ``ATLAS_REDIS`` chooses the store of
djsmartcache: a Redis URL, else the embedded store.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("ATLAS_DATA", BASE_DIR / "data"))
DATA_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = os.environ.get("ATLAS_SECRET_KEY", "only for the demonstration on your own machine")
DEBUG = os.environ.get("ATLAS_DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    "djsmartcache",
    "atlas",
]
MIDDLEWARE = [
    "atlas.middleware.name_the_worker",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
ROOT_URLCONF = "atlas.urls"
WSGI_APPLICATION = "atlas.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
STATIC_URL = "static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def database(url: str | None) -> dict:
    parts = urlsplit(url or "sqlite:")
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path[1:]) or DATA_DIR / "atlas.sqlite3",
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"ATLAS_DATABASE is a URL of {parts.scheme or 'no scheme'}: it takes "
            "postgres://user:password@host:port/name or sqlite:////path/of/file."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "CONN_MAX_AGE": None,
    }


DATABASES = {"default": database(os.environ.get("ATLAS_DATABASE"))}

SMARTCACHE_REDIS_URL = os.environ.get("ATLAS_REDIS") or None
SMARTCACHE_DIR = os.environ.get("ATLAS_CACHE") or None
