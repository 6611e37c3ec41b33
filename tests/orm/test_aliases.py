"""Several aliases: of one database, of several, and of a standby that answers reads late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections
from django.db import transaction as django_transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from djsmartcache import smart_cached
from djsmartcache.orm.state import state_of
from tests.orm.conftest import read
from tests.servers import PostgresServer, StandbyServer
from tests.testapp.models import Category, Product, Review
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("shop")


def _alias(name: str, settings: dict[str, Any]) -> Iterator[str]:
    connections.settings[name] = {**connections.settings["default"], **settings}
    yield name
    connections[name].close()
    del connections[name]
    del connections.settings[name]


@pytest.fixture
def twin(shop: None, database: dict[str, Any]) -> Iterator[str]:
    """One more alias of the same database."""
    yield from _alias("twin", {})


@pytest.fixture
def other(shop: None, database: dict[str, Any], tmp_path: Any) -> Iterator[str]:
    """An alias of another database, with a table of products."""
    name = str(tmp_path / "other.sqlite3")
    made = {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {}}
    for alias in _alias("other", made):
        with connections[alias].schema_editor() as editor:
            for model in (Category, Product):
                editor.create_model(model)
        yield alias


@smart_cached(ttl=None)
def stock(pk: int, alias: str = "default") -> int | None:
    found = Product.objects.using(alias).filter(pk=pk).values_list("stock", flat=True)
    return found.first()


class TestAliasesOfOneDatabase:
    def test_a_write_through_one_is_seen_through_the_other(self, twin: str) -> None:
        lamp = Product.objects.create(name="lamp")
        assert stock(lamp.pk) == stock(lamp.pk, twin) == 0
        Product.objects.using(twin).filter(pk=lamp.pk).update(stock=3)
        assert stock(lamp.pk) == stock(lamp.pk, twin) == 3
        Product.objects.filter(pk=lamp.pk).update(stock=4)
        assert stock(lamp.pk) == stock(lamp.pk, twin) == 4

    def test_it_is_seen_when_its_own_transaction_commits(self, twin: str) -> None:
        lamp = Product.objects.create(name="lamp")
        found = read(lambda: Product.objects.get(pk=lamp.pk).stock)
        with django_transaction.atomic(using=twin):
            Product.objects.using(twin).filter(pk=lamp.pk).update(stock=3)
            if connection.vendor != "sqlite":
                with django_transaction.atomic():
                    Product.objects.create(name="desk")
            assert found.fresh
        assert not found.fresh

    def test_a_transaction_on_one_does_not_answer_from_what_the_other_has_not_committed(
        self, twin: str
    ) -> None:
        lamp = Product.objects.create(name="lamp")
        assert stock(lamp.pk) == 0
        with django_transaction.atomic(using=twin):
            Product.objects.using(twin).filter(pk=lamp.pk).update(stock=3)
            assert stock(lamp.pk, twin) == 3
            if connection.vendor != "sqlite":
                assert stock(lamp.pk) == 0
        assert stock(lamp.pk) == 3


class TestSeveralDatabases:
    def test_a_write_to_one_leaves_what_was_read_of_the_other(self, other: str) -> None:
        lamp = Product.objects.create(name="lamp")
        Product.objects.using(other).create(pk=lamp.pk, name="lamp", stock=7)
        found = read(lambda: Product.objects.get(pk=lamp.pk).stock)
        assert (stock(lamp.pk), stock(lamp.pk, other)) == (0, 7)
        Product.objects.using(other).filter(pk=lamp.pk).update(stock=8)
        assert (stock(lamp.pk), stock(lamp.pk, other)) == (0, 8)
        assert found.fresh

    def test_one_answer_made_of_both_ends_with_either(self, other: str) -> None:
        lamp = Product.objects.create(name="lamp")
        for alias in ("default", other):
            found = read(lambda: [Product.objects.using(a).count() for a in ("default", other)])
            Product.objects.using(alias).create(name="desk")
            assert not found.fresh
        assert lamp.pk


class _ToStandby:
    def db_for_read(self, model: Any, **_: Any) -> str:
        return "standby"

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "default"


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
class TestStandby:
    @pytest.fixture
    def standby(
        self, shop: None, database: dict[str, Any], postgres: PostgresServer
    ) -> Iterator[StandbyServer]:
        with StandbyServer(postgres) as server:
            for _ in _alias("standby", {"PORT": str(server.port)}):
                yield server

    def test_what_it_answers_is_not_stored(self, standby: StandbyServer) -> None:
        lamp = Product.objects.create(name="lamp")
        with override_settings(DATABASE_ROUTERS=[_ToStandby()]):
            until(lambda: Product.objects.filter(pk=lamp.pk).exists())
            with connections["standby"].cursor() as cursor:
                cursor.execute("SELECT pg_wal_replay_pause()")
            Product.objects.filter(pk=lamp.pk).using("default").update(stock=5)
            assert stock.uncached(lamp.pk, "standby") == 0, "it is not late"
            assert Product.objects.get(pk=lamp.pk).stock == 0
            found = read(lambda: Product.objects.get(pk=lamp.pk).stock)
            assert found.computed.forbidden == "a standby server answered"
            with connections["standby"].cursor() as cursor:
                cursor.execute("SELECT pg_wal_replay_resume()")
            until(lambda: Product.objects.get(pk=lamp.pk).stock == 5)

    def test_a_cached_function_that_reads_there_follows_it(self, standby: StandbyServer) -> None:
        lamp = Product.objects.create(name="lamp")
        until(lambda: stock.uncached(lamp.pk, "standby") == 0)
        with connections["standby"].cursor() as cursor:
            cursor.execute("SELECT pg_wal_replay_pause()")
        assert stock(lamp.pk, "standby") == 0
        Product.objects.filter(pk=lamp.pk).update(stock=5)
        assert stock(lamp.pk, "standby") == 0
        with connections["standby"].cursor() as cursor:
            cursor.execute("SELECT pg_wal_replay_resume()")
        until(lambda: stock(lamp.pk, "standby") == 5)


class TestErrorsAtCommit:
    @pytest.mark.parametrize("database", ["postgresql"], indirect=True)
    def test_a_refused_commit_leaves_no_mark_and_nothing_stale(self, shop: None) -> None:
        lamp = Product.objects.create(name="lamp")
        assert stock(lamp.pk) == 0

        @django_transaction.atomic
        def refused() -> None:
            Product.objects.filter(pk=lamp.pk).update(stock=5)
            # The constraint is looked at when it commits.
            Review.objects.create(product_id=lamp.pk + 1, text="of nothing")

        with pytest.raises(IntegrityError):
            refused()
        assert stock(lamp.pk) == 0
        assert state_of(connections["default"]).mark is None
        assert state_of(connections["default"]).changes is None
        Product.objects.filter(pk=lamp.pk).update(stock=6)
        assert stock(lamp.pk) == 6


# --- ATOMIC_REQUESTS


def save(request: HttpRequest, pk: int) -> HttpResponse:
    Product.objects.filter(pk=pk).update(stock=5)
    before = stock(pk)
    if request.GET.get("fail"):
        raise RuntimeError("after the write")
    return HttpResponse(str(before))


urlpatterns = [path("save/<int:pk>", save)]


@pytest.fixture
def _atomic_requests(shop: None) -> Iterator[None]:
    settings = connections.settings["default"]
    before = settings.get("ATOMIC_REQUESTS", False)
    settings["ATOMIC_REQUESTS"] = connection.settings_dict["ATOMIC_REQUESTS"] = True
    with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"]):
        yield
    settings["ATOMIC_REQUESTS"] = connection.settings_dict["ATOMIC_REQUESTS"] = before


@pytest.mark.usefixtures("_atomic_requests")
class TestAtomicRequests:
    def test_a_request_that_succeeds_is_seen_when_it_ends(self) -> None:
        lamp = Product.objects.create(name="lamp")
        assert stock(lamp.pk) == 0
        assert Client().get(f"/save/{lamp.pk}").content == b"5"
        assert stock(lamp.pk) == 5

    def test_one_that_fails_changes_nothing(self) -> None:
        lamp = Product.objects.create(name="lamp")
        found = read(lambda: Product.objects.get(pk=lamp.pk).stock)
        client = Client(raise_request_exception=False)
        assert client.get(f"/save/{lamp.pk}?fail=1").status_code == 500
        assert found.fresh
        assert stock(lamp.pk) == 0
