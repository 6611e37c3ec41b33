"""Model instances and querysets: copies through L1 and payloads through the store."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import gc
import pickle
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, models
from django.db.models import Count, Prefetch, Q, QuerySet
from django.test.utils import CaptureQueriesContext

from djsmartcache import _core
from tests.core.conftest import PICKLE
from tests.core.test_shutdown import BEGINNING
from tests.testapp.models import Category, CheapProduct, Product, Restaurant, Review, Tag, Ticket

NATIVE = 1
pytestmark = pytest.mark.django_db
Store = Callable[[Any], Callable[[], Any]]


@pytest.fixture(params=["through_l1", "through_store", "through_pickle"])
def through(request: pytest.FixtureRequest) -> Store:
    """Each way that an instance can take."""
    if request.param != "through_pickle":
        return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
    cache = request.getfixturevalue("configure")(local_max_bytes=0, label_of=lambda cls: None)

    def store(value: Any) -> Callable[[], Any]:
        assert cache.put(b"k", value, ttl=None)
        return lambda: cache.get(b"k")

    return store


@pytest.fixture(autouse=True)
def shop(db: None) -> None:
    food = Category.objects.create(name="food", parent=Category.objects.create(name="all"))
    tags = [Tag.objects.create(name=name) for name in ("new", "sale")]
    for i in range(4):
        product = Product.objects.create(
            name=f"product {i}",
            category=food if i else None,
            stock=i,
            price=decimal.Decimal(i) / 4,
            since=dt.date(2020, 1, 1 + i) if i % 2 else None,
            details={"sizes": [i], "more": {"a": None}},
        )
        product.tags.add(*tags[: i % 3])
        for n in range(i):
            Review.objects.create(product=product, text=f"review {n}")


@pytest.fixture
def no_queries() -> Iterator[None]:
    with CaptureQueriesContext(connection) as queries:
        yield
    assert not queries.captured_queries


def state_of(instance: models.Model) -> dict[str, Any]:
    # Django's own pickling leaves its version behind.
    state = {k: v for k, v in vars(instance).items() if k not in ("_state", "_django_version")}
    return {**state, "db": instance._state.db, "adding": instance._state.adding}


def assert_alike(copied: models.Model, original: models.Model) -> None:
    assert type(copied) is type(original)
    assert copied is not original
    assert copied._state is not original._state
    assert type(copied._state) is type(original._state)
    assert state_of(copied) == state_of(original)
    for name, value in state_of(original).items():
        assert type(state_of(copied)[name]) is type(value)
    assert copied._state.fields_cache.keys() == original._state.fields_cache.keys()


def test_a_single_instance(through: Store) -> None:
    original = Product.objects.get(name="product 3")
    read = through(original)
    first, second = read(), read()
    for copied in (first, second):
        assert_alike(copied, original)
    assert first is not second
    first.details["sizes"].append("mine")
    first.name = "mine"
    first._state.fields_cache["category"] = None
    assert_alike(read(), original)


def test_a_copy_can_be_saved_and_refreshed(through: Store) -> None:
    copied = through(Product.objects.get(name="product 3"))()
    copied.stock = 77
    copied.save()
    assert Product.objects.get(name="product 3").stock == 77
    copied.refresh_from_db()
    assert copied.category.name == "food"


def test_lists_tuples_and_dicts_of_instances(through: Store) -> None:
    products = list(Product.objects.order_by("id"))
    value = {"list": products[:2], "tuple": tuple(products[2:]), "one": products[0], "none": []}
    copied = through(value)()
    for part, original in zip((*copied["list"], *copied["tuple"]), products, strict=True):
        assert_alike(part, original)
    assert copied["one"] is copied["list"][0]


def test_mixed_lists(through: Store) -> None:
    value = [
        Product.objects.first(),
        Category.objects.first(),
        5,
        Product.objects.defer("details").first(),
    ]
    copied = through(value)()
    assert [type(part) for part in copied] == [Product, Category, int, Product]
    assert copied[3].get_deferred_fields() == {"details"}


def test_the_same_instance_twice_in_a_list(through: Store) -> None:
    one, other = Product.objects.all()[:2]
    copied = through([one, other, one])()
    assert copied[0] is copied[2]
    assert copied[1] is not copied[0]


def test_unsaved_instances_keep_their_state(through: Store) -> None:
    copied = through(Product(name="new"))()
    assert copied.pk is None
    assert copied._state.adding is True
    assert copied._state.db is None
    copied.save()
    assert Product.objects.filter(name="new").exists()


def test_deferred_fields_stay_deferred(through: Store) -> None:
    originals = list(Product.objects.only("name"))
    copies = through(originals)()
    for copied, original in zip(copies, originals, strict=True):
        assert copied.get_deferred_fields() == original.get_deferred_fields() != set()
    assert copies[3].stock == 3


def test_select_related_objects_come_along(through: Store) -> None:
    originals = list(Product.objects.select_related("category__parent").order_by("id"))
    read = through(originals)
    with CaptureQueriesContext(connection) as queries:
        copies = read()
        assert [p.category and p.category.parent.name for p in copies] == [
            None,
            "all",
            "all",
            "all",
        ]
    assert not queries.captured_queries
    copies[1].category.name = "mine"
    assert read()[1].category.name == "food"


def test_shared_related_objects_stay_shared(through: Store) -> None:
    originals = list(Product.objects.prefetch_related("category").order_by("id"))
    assert originals[1].category is originals[2].category
    copies = through(originals)()
    assert copies[1].category is copies[2].category is not originals[1].category


def test_prefetched_lists_and_the_way_back(through: Store) -> None:
    originals = list(Product.objects.prefetch_related("reviews", "tags").order_by("id"))
    read = through(originals)
    with CaptureQueriesContext(connection) as queries:
        copies = read()
        for copied, original in zip(copies, originals, strict=True):
            assert [r.text for r in copied.reviews.all()] == [
                r.text for r in original.reviews.all()
            ]
            assert list(copied.tags.all()) == list(original.tags.all())
            assert all(review.product is copied for review in copied.reviews.all())
    assert not queries.captured_queries
    assert copies[3].reviews.filter(text="review 1").count() == 1
    assert copies[3].tags.count() == originals[3].tags.count()


def test_prefetch_to_attr(through: Store) -> None:
    prefetch = Prefetch("reviews", Review.objects.order_by("-id"), to_attr="latest")
    original = Product.objects.prefetch_related(prefetch).get(name="product 3")
    copied = through(original)()
    assert [r.text for r in copied.latest] == ["review 2", "review 1", "review 0"]
    assert original.latest[0].product is original
    assert copied.latest[0].product is copied


def test_annotations_and_extra_attributes(through: Store) -> None:
    original = Product.objects.annotate(n=Count("reviews")).get(name="product 3")
    original.basket = ["apple"]
    copied = through(original)()
    assert copied.n == 3
    assert copied.basket == ["apple"]
    assert copied.basket is not original.basket


def test_proxies_children_uuids_and_users(through: Store) -> None:
    Restaurant.objects.create(name="r", seats=3)
    values = [
        CheapProduct.objects.first(),
        Restaurant.objects.get(),
        Ticket.objects.create(subject="s"),
        User.objects.create_user("u", last_login=dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)),
    ]
    for copied, original in zip(through(values)(), values, strict=True):
        assert_alike(copied, original)


# --- querysets


def test_querysets_come_back_evaluated(through: Store) -> None:
    read = through(Product.objects.filter(stock__gt=0).order_by("id"))
    copied = read()
    assert isinstance(copied, models.QuerySet)
    with CaptureQueriesContext(connection) as queries:
        assert [p.stock for p in copied] == [1, 2, 3]
        assert len(copied) == 3
        assert copied[0].name == "product 1"
    assert not queries.captured_queries
    assert [p.stock for p in copied.filter(stock=2)] == [2]
    assert copied.exclude(stock=2).count() == 2
    copied[0].name = "mine"
    copied._result_cache.append("mine")
    assert [p.name for p in read()] == ["product 1", "product 2", "product 3"]


def test_querysets_do_not_follow_the_database_but_their_children_do(through: Store) -> None:
    copied = through(Product.objects.all())()
    Product.objects.create(name="later")
    assert len(copied) == 4
    assert copied.all().count() == 5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Product.objects.values("id", "name"),
        lambda: Product.objects.values_list("id", "name"),
        lambda: Product.objects.values_list("name", flat=True),
        lambda: Product.objects.values_list("id", "details", named=True),
        lambda: Product.objects.none(),
        lambda: Product.objects.dates("since", "day"),
        lambda: Product.objects.filter(Q(stock=1) | Q(name__contains="3")).distinct()[:2],
        lambda: Product.objects.select_related("category").annotate(n=Count("reviews")),
        lambda: Product.objects.prefetch_related("tags"),
        lambda: Category.objects.get(name="food").products.all(),
        lambda: Category.objects.get(name="food").products.filter(stock=1),
        lambda: Product.objects.filter(category__in=Category.objects.all()),
    ],
)
def test_querysets_of_every_kind(through: Store, make: Callable[[], Any]) -> None:
    queryset = make()
    read = through(queryset)
    for copied in (read(), read()):
        assert type(copied) is type(queryset)
        assert copied._result_cache is not None
        assert list(copied) == list(make())
        if not queryset.query.is_sliced:
            assert set(map(repr, copied.all())) == set(map(repr, make()))


def test_two_copies_of_one_queryset_do_not_share_what_they_change(through: Store) -> None:
    read = through({"q": Product.objects.order_by("id")})
    first, second = read()["q"], read()["q"]
    first = first.filter(stock=1)
    assert second.count() == 4
    assert len(first) == 1
    first.query.clear_ordering(force=True)
    assert str(read()["q"].query) == str(second.query)


def test_querysets_that_are_not_evaluated_yet_are_evaluated_once(cache: _core.Cache) -> None:
    queryset = Product.objects.all()
    with CaptureQueriesContext(connection) as queries:
        cache.put(b"k", queryset, ttl=None)
        cache.get(b"k")
        cache.get(b"k")
        list(queryset)
    assert len(queries.captured_queries) == 1


class Counted(QuerySet):  # type: ignore[type-arg]
    reads = 0

    @property
    def query(self) -> Any:
        type(self).reads += 1
        return self._query

    @query.setter
    def query(self, value: Any) -> None:
        self._query = value


def test_an_explicit_store_walks_the_value_once(cache: _core.Cache) -> None:
    queryset = Counted(Product)
    list(queryset)
    Counted.reads = 0
    _core.encode(queryset)
    once, Counted.reads = Counted.reads, 0
    assert once > 0
    cache.put(b"k", queryset, ttl=None)
    assert Counted.reads == once


def test_raw_querysets_go_where_dumps_decides(cache: _core.Cache) -> None:
    raw = Product.objects.raw("SELECT * FROM testapp_product")
    assert _core.encode(raw)[1] == PICKLE


# --- the native payload


def test_instances_are_encoded_natively_and_small() -> None:
    products = list(Product.objects.defer("details").select_related("category")) * 1
    payload, codec = _core.encode(products)
    assert codec == NATIVE
    assert len(payload) < len(pickle.dumps(products)) / 2
    one, codec = _core.encode(products[1])
    assert codec == NATIVE
    assert len(one) < 300
    assert _core.encode(Product.objects.all())[1] == NATIVE
    assert _core.encode(list(Product.objects.values()))[1] == NATIVE


def test_a_model_that_has_changed_makes_payloads_undecodable(
    configure: Callable[..., _core.Cache],
) -> None:
    configure()
    payload, codec = _core.encode([Category.objects.get(name="food")])
    assert _core.decode(payload, codec)[0].name == "food"
    field = Category._meta.get_field("name")
    attname, field.attname = field.attname, "title"
    try:
        configure()  # decides about classes anew, as a new process would
        with pytest.raises(ValueError, match="decoded"):
            _core.decode(payload, codec)
    finally:
        field.attname = attname
        configure()
    assert _core.decode(payload, codec)[0].name == "food"


def test_a_cache_made_anew_while_a_model_is_looked_at(tmp_path: Path) -> None:
    program = """
    import ctypes
    from django.db.models.options import Options
    from django.contrib.contenttypes.models import ContentType
    fields = ContentType._meta.concrete_fields
    def look(self):
        _core.configure(**arguments(Path(sys.argv[1])))
        for size in range(64, 160, 16):  # what was freed is overwritten
            for _ in range(64):
                ctypes.memset(malloc(size), 0xA5, size)
        return fields
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    ContentType._meta.__dict__.pop("concrete_fields", None)
    Options.concrete_fields = property(look)
    for _ in range(3):
        _core.encode([ContentType(pk=1, app_label="a", model="b")])
    """
    ended = subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(program), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_model_that_is_gone_makes_payloads_undecodable(
    configure: Callable[..., _core.Cache],
) -> None:
    cache = configure(local_max_bytes=0)
    cache.put(b"k", Category.objects.first(), ttl=None)

    def model_of(label: str) -> type:
        raise LookupError(label)

    directory = cache.describe()
    cache = configure(local_max_bytes=0, model_of=model_of)
    assert cache.describe() == directory
    assert cache.get(b"k") is _core.MISS
    answer = cache.find(b"k")
    assert answer.kind == _core.LEAD
    assert answer.lead.fill("computed anew", tags=[], ttl=None)
    assert cache.get(b"k") == "computed anew"


# --- classes that are not their fields alone


class Careful(Product):
    """A class that has a hand in its copies."""

    class Meta:
        proxy = True
        app_label = "testapp"

    def __reduce__(self) -> Any:
        made, args, state = super().__reduce__()
        return made, args, {**state, "seen": True}


def test_classes_with_their_own_pickling_keep_it(through: Store) -> None:
    original = Careful.objects.first()
    assert _core.encode(original)[1] == PICKLE
    assert through(original)().seen is True


def test_file_fields_and_memoryviews_take_the_way_of_pickle(through: Store) -> None:
    original = Product.objects.first()
    original.blob = bytearray(b"x")
    copied = through(original)()
    assert copied.blob == b"x"
    assert copied.blob is not original.blob


def test_copies_leave_no_references_behind(through: Store) -> None:
    read = through(list(Product.objects.select_related("category")))
    read()
    gc.collect()
    before = sys.getrefcount(Product), sys.getrefcount(Category)
    for _ in range(20):
        read()
    gc.collect()
    after = sys.getrefcount(Product), sys.getrefcount(Category)
    assert all(abs(a - b) <= 2 for a, b in zip(after, before, strict=True))


def test_copies_can_be_deep_copied_and_pickled_in_turn(through: Store) -> None:
    original = Product.objects.select_related("category").last()
    copied = through(original)()
    for again in (copy.deepcopy(copied), pickle.loads(pickle.dumps(copied))):
        assert_alike(again, original)


def test_labels_of_apps_are_asked_once_per_class(configure: Callable[..., _core.Cache]) -> None:
    asked: list[type] = []

    def label_of(cls: type) -> str | None:
        asked.append(cls)
        return None

    configure(label_of=label_of)
    for _ in range(3):
        _core.encode(list(Product.objects.all()))
    assert asked.count(Product) == 1


def test_uuids_and_models_of_registry() -> None:
    assert apps.get_model("testapp.Ticket") is Ticket
    ticket = Ticket(subject="x")
    payload, codec = _core.encode([ticket])
    assert isinstance(_core.decode(payload, codec)[0].id, uuid.UUID)
