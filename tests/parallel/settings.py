"""Settings of the project: SMARTCACHE_TEST_PARALLEL has its store and its database."""

import ast
import os

_given = ast.literal_eval(os.environ["SMARTCACHE_TEST_PARALLEL"])

SECRET_KEY = "of the tests only"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sites",
    "djsmartcache",
    "tests.testapp",
]
DATABASES = {"default": _given["database"]}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SILENCED_SYSTEM_CHECKS = ["fields.E303"]  # of the models, which no query here asks
SMARTCACHE_REDIS_URL = _given["redis_url"]
SMARTCACHE_DIR = _given["dir"]
