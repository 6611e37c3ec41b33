"""Django settings of the tests: SQLite in a folder of this run, or SMARTCACHE_TEST_DATABASE_URL."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

# Child processes of a test import this module too: they inherit the folder of the first.
if "SMARTCACHE_TEST_FOLDER" not in os.environ:
    os.environ["SMARTCACHE_TEST_FOLDER"] = tempfile.mkdtemp(prefix="smartcache-tests-")
    _owner = os.getpid()
    atexit.register(
        lambda: (
            os.getpid() == _owner
            and shutil.rmtree(os.environ["SMARTCACHE_TEST_FOLDER"], ignore_errors=True)
        )
    )
FOLDER = Path(os.environ["SMARTCACHE_TEST_FOLDER"])

SECRET_KEY = "of the tests only"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sites",
    "djsmartcache",
    "tests.testapp",
    "tests.matrix",
]
_database = urlsplit(os.environ.get("SMARTCACHE_TEST_DATABASE_URL", ""))
if _database.scheme:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": _database.hostname,
            "PORT": _database.port,
            "USER": _database.username,
            "NAME": _database.path.lstrip("/"),
        }
    }
else:
    # A file, not memory: threads and child processes of a test see the same database.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "OPTIONS": {"timeout": 20},
            "TEST": {"NAME": FOLDER / "test.sqlite3"},
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SMARTCACHE_DIR = str(FOLDER / "store")
SMARTCACHE_REDIS_TIMEOUT = 5  # a store that a busy machine keeps from answering is not down
