"""Django as the users of each contestant configure it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from bench.arena import Place


def configure(
    place: Place, *, apps: tuple[str, ...] = (), database: str = "sqlite", **settings: Any
) -> None:
    """Set Django up once in this process.

    Args:
        database: "sqlite" (in memory), "postgres" or "mysql", at the place's `postgres_url`.
    """
    import django
    from django.conf import settings as django_settings

    if database in ("postgres", "mysql"):
        parts = urlsplit(place.postgres_url)
        databases = {
            "ENGINE": f"django.db.backends.{parts.scheme}",
            "NAME": parts.path.lstrip("/"),
            "USER": parts.username,
            "PASSWORD": parts.password or "",
            "HOST": parts.hostname,
            "PORT": parts.port,
        }
    else:
        databases = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    django_settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        DATABASES={"default": databases},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.contenttypes", *apps, "bench.shop"],
        **settings,
    )
    django.setup()


def smart(
    place: Place,
    *,
    store: str,
    apps: tuple[str, ...] = (),
    database: str = "sqlite",
    **settings: Any,
) -> None:
    """djsmartcache on ``store`` "redis" or "embedded"."""
    where = (
        {"SMARTCACHE_REDIS_URL": place.redis_url}
        if store == "redis"
        else {"SMARTCACHE_DIR": place.folder}
    )
    configure(place, apps=("djsmartcache", *apps), database=database, **where, **settings)


def make_tables(products: int = 0) -> None:
    """Create the shop's table if it is not there, with ``products`` rows."""
    from datetime import datetime, timezone
    from decimal import Decimal

    from django.db import connection

    from bench.shop.models import Product

    if Product._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Product)
    missing = products - Product.objects.count()
    Product.objects.bulk_create(
        Product(
            name=f"product number {i}",
            sku=f"SKU-{i:06}",
            price=Decimal("19.99"),
            stock=i,
            created=datetime(2026, 1, 1, tzinfo=timezone.utc),
        )
        for i in range(missing)
    )


def dict_of_200_bytes(number: int = 0) -> dict[str, Any]:
    """A value of a usual kind: about 200 bytes when pickled."""
    return {
        "id": number,
        "name": f"product number {number}",
        "sku": f"SKU-{number:06}",
        "price": 19.99,
        "stock": 12,
        "active": True,
        "description": "a thing one may want to buy, described in one line of text",
        "category": "things",
    }
