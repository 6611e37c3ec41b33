"""No two different calls share a key, and calls that are the same do."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import ipaddress
import pathlib
import threading
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
import pytz
from django.contrib.auth.models import AnonymousUser
from django.db import connections
from django.http import HttpRequest, QueryDict
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import assume, example, given
from hypothesis import strategies as st

from djsmartcache import (
    InvalidKey,
    KeyTemplateError,
    UnkeyableArgument,
    _core,
    identities,
    keys,
    prefixes,
)
from tests.testapp.models import Category, Product, Review


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class OneField:
    x: int


@dataclasses.dataclass
class Mutable:
    x: int = 0


text = st.text(st.characters(exclude_categories=()), max_size=8)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    text,
    st.binary(max_size=8),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(
        timezones=st.sampled_from([None, datetime.timezone.utc, zoneinfo.ZoneInfo("Europe/Paris")])
    ),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([Colour.RED, Size.ONE, Colour, Product, pathlib.Path("a"), range(3)]),
)
values = st.recursive(
    plain,
    lambda part: st.one_of(
        st.lists(part, max_size=3),
        st.lists(part, max_size=3).map(tuple),
        st.dictionaries(text, part, max_size=3),
        st.builds(Point, part, part),
    ),
    max_leaves=6,
)


def typed(value: Any) -> Any:
    """A form that compares as keys do: 1, True and 1.0 differ, so do 0.0 and -0.0, 1.1 and 1.10."""
    if isinstance(value, list | tuple):
        return type(value), [typed(part) for part in value]
    if isinstance(value, dict):
        return dict, sorted((repr(typed(k)), repr(typed(v))) for k, v in value.items())
    if isinstance(value, Point):
        return Point, typed(value.x), typed(value.y)
    if isinstance(value, datetime.datetime):
        return value.isoformat(), value.fold, str(value.tzinfo)
    return type(value), repr(value)


def two(a: Any, b: Any = 0) -> None: ...


def rest(*args: Any, **kwargs: Any) -> None: ...


TWO = keys.plan(two, None)
REST = keys.plan(rest, None)
TEMPLATES = [
    keys.plan(two, template)
    for template in ("{a}{b}", "{a}:{b}", "{a}x{b}y", "{a}-{b}", "u{a}.{b}")
]


@given(values, values, values, values)
@example("a", "b", "ab", "")
@example("1", 1, 1, "1")
@example(-1, 1, "-1", 1)
def test_no_two_calls_share_a_key(a: Any, b: Any, c: Any, d: Any) -> None:
    same = typed((a, b)) == typed((c, d))
    for plan in (TWO, REST, *TEMPLATES):
        assert (plan.key((a, b), {})[0] == plan.key((c, d), {})[0]) == same


@given(st.dictionaries(text.filter(str), plain, max_size=3), st.lists(plain, max_size=3))
def test_keywords_and_positions_do_not_mix(named: dict[str, Any], given_: list[Any]) -> None:
    assume(named or given_)
    key = REST.key(tuple(given_), named)[0]
    assert key == REST.key(tuple(given_), dict(reversed(named.items())))[0]
    assert key != REST.key((*given_, named), {})[0]
    assert key != REST.key((tuple(given_),), named)[0]


@given(values)
def test_python_renders_as_the_core_does(value: Any) -> None:
    # A value inside of what Python renders must not look like another one that the core renders.
    identified = keys.plan(two, "{a}").key((value,), {})[0]
    assert keys.shorten(identities.render(value), made=True) == identified


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_manual_keys_differ_where_their_texts_do(a: str, b: str) -> None:
    assume(a[0] != "\0" and b[0] != "\0")
    assert (keys.encode(a) == keys.encode(b)) == (a == b)
    assert len(keys.encode(a).removeprefix(prefixes.prefix())) <= 200


def test_a_template_key_is_the_same_text_given_by_hand() -> None:
    plan = keys.plan(two, "user:{a}:profile")
    assert prefixes.prefix() + plan.key((5,), {})[0] == keys.encode("user:5:profile")
    long = "é" * 150
    plan = keys.plan(two, long + "{a}")
    assert prefixes.prefix() + plan.key((5,), {})[0] == keys.encode(long + "5")


def test_nobody_can_spell_another_s_shortened_key() -> None:
    victim = "secret:" + "x" * 300
    forged = "secret:" + "x" * 113 + "~" + hashlib.sha256(victim.encode()).hexdigest()[:32]
    assert keys.encode(victim) == prefixes.prefix() + forged.encode()
    assert keys.encode(forged) != keys.encode(victim)


@pytest.mark.parametrize(
    ("template", "arguments", "key"),
    [
        ("{a}", ("x",), b"x"),
        ("{a[0]}", ([7],), b"7"),
        ("{a[name]}", ({"name": "n"},), b"n"),
        ("{a.x}", (Point(3),), b"3"),
        ("{a.x.y[k]}", (Point(Point(1, {"k": True})),), b"True"),
        ("{{a}}:{a}", (1,), b"{a}:1"),
        ("name:{a}", ("a b",), b"name:'a b'"),
        ("name:{a}", ("a:b",), b"name:'a%3Ab'"),
        ("{a}{b}", ("x", "y"), b"(x)y"),
    ],
)
def test_templates(template: str, arguments: tuple[Any, ...], key: bytes) -> None:
    assert keys.plan(two, template).key(arguments, {})[0] == key


@pytest.mark.parametrize(
    "template",
    ["", "{", "{}", "{0}", "{c}", "{a!r}", "{a:>5}", "{a.}", "{a[}", "{a b}", "{a..x}", 5],
)
def test_a_bad_template_is_refused(template: Any) -> None:
    with pytest.raises(KeyTemplateError):
        keys.plan(two, template)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (mark_safe("x"), "x"),
        (Size.ONE, 1),
        (datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1)),
        (
            datetime.datetime(2026, 1, 1),
            datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        ),
        (datetime.datetime(2026, 1, 1, fold=1), datetime.datetime(2026, 1, 1)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
        (QueryDict("a=1&a=2"), QueryDict("a=2")),
        (Product, Category),
        (Product(pk=1), Category(pk=1)),
        (Product(pk=1), Product(pk="1")),
        ([Product(pk=1, name="a")], [Product(pk=2, name="a")]),
        (Point(1), (1, 0)),
    ],
)
def test_these_differ(one: Any, other: Any) -> None:
    assert TWO.key((one,), {}) != TWO.key((other,), {})


def test_times_of_one_zone_differ_by_their_offsets() -> None:
    zone = pytz.timezone("Europe/Paris")
    wall = datetime.datetime(2024, 10, 27, 2, 30)
    times = [
        zone.localize(wall, is_dst=True),
        zone.localize(wall, is_dst=False),
        wall.replace(tzinfo=zone),  # local mean time
    ]
    assert len({TWO.key((each,), {}) for each in times}) == 3
    assert TWO.key((times[0],), {}) == TWO.key((zone.localize(wall, is_dst=True),), {})


def test_a_view_of_bytes_is_known_by_them() -> None:
    def mark(content: bytes, cls: Any = memoryview) -> int:
        return identities.fingerprint(Product(pk=1, name=cls(content)))

    # As psycopg2 gives the values of a BinaryField.
    assert mark(b"a" * 100) == mark(b"a" * 100) != mark(b"b" * 100)
    assert TWO.key((memoryview(b"a"),), {}) == TWO.key((memoryview(b"a"),), {})
    assert len({TWO.key((cls(b"a"),), {}) for cls in (bytes, bytearray, memoryview)}) == 3


def test_a_field_s_value_that_no_content_tells_is_equal_to_none() -> None:
    value = threading.Lock()
    marks = {identities.fingerprint(Product(pk=1, name=value)) for _ in range(3)}  # type: ignore[misc]
    assert len(marks) == 3


class Money(decimal.Decimal):
    currency: str


class Numbered(uuid.UUID):
    """As UUID forbids to set anything."""


class Slotted(str):
    __slots__ = ("language",)


class Further(list[Any]):
    __slots__ = ("extra",)


class Waiting(collections.deque[Any]):
    """A container of the project's own."""


@dataclasses.dataclass(frozen=True)
class Listed(list[Any]):
    a: int = 0


class OwnPoint(Point):
    """Frozen are the fields alone."""


def holding(made: Any, **held: Any) -> Any:
    for name, value in held.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize(
    "hold",
    [
        lambda held: holding(Money("1"), currency=held),
        lambda held: holding(Numbered(int=1), kind=held),
        lambda held: holding(type("Stamp", (datetime.datetime,), {})(2026, 1, 1), source=held),
        lambda held: holding(OwnPoint(1), colour=held),
        lambda held: collections.deque([1], maxlen=held),
    ],
)
def test_what_a_value_holds_beside_its_base_counts(hold: Any) -> None:
    made = [TWO.key((hold(each),), {}) for each in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert TWO.key((hold(None),), {}) not in made


def test_a_default_factory_counts() -> None:
    made = [
        TWO.key((collections.defaultdict(factory, a=1),), {})
        for factory in (None, int, list, deep, looped)
    ]
    assert len(set(made)) == 5
    assert TWO.key((collections.defaultdict(int, a=1),), {}) == made[1]


@pytest.mark.parametrize(
    "value",
    [
        holding(Slotted("a"), language="de"),
        holding(Further([1]), extra=1),
        holding(Waiting([1]), extra=1),
        holding(Money("1"), currency=threading.Lock()),
        Listed(),
        collections.defaultdict(lambda: 1),
        collections.defaultdict([].copy),
        collections.defaultdict(functools.partial(int, 1)),
        OneField.__new__(OneField),
    ],
)
def test_what_holds_more_than_a_key_can_show_has_no_identity(value: Any) -> None:
    for hold in (lambda held: held, lambda held: [held]):
        with pytest.raises(UnkeyableArgument, match="'a'"):
            TWO.key((hold(value),), {})


def test_subclasses_that_hold_nothing_more_stay_what_they_were() -> None:
    for value in (Slotted("a"), Further([1]), Waiting([1]), Money("1"), Numbered(int=1), Rows()):
        assert TWO.key((value,), {})[0].startswith(TWO.key((), {"a": value})[0])
    network = ipaddress.ip_network("10.0.0.0/8")
    before = TWO.key((network,), {})
    assert network.broadcast_address
    assert TWO.key((network,), {}) == before
    assert TWO.key((ipaddress.ip_interface("10.0.0.1/8"),), {}) != before


def test_lazy_values_are_what_they_stand_for() -> None:
    assert TWO.key((SimpleLazyObject(lambda: Product(pk=1)),), {}) == TWO.key((Product(pk=1),), {})
    assert TWO.key((gettext_lazy("x"),), {}) == TWO.key(("x",), {})


def test_the_user_of_a_visitor_is_one_and_the_same() -> None:
    def visitor(**extras: Any) -> AnonymousUser:
        made = AnonymousUser()
        vars(made).update(extras)
        return made

    plain = TWO.key((visitor(),), {})
    assert plain == TWO.key((SimpleLazyObject(visitor),), {})
    assert plain[1] == 0
    others = (None, "", (), "anonymous<>", "AnonymousUser", Product(pk=1), [visitor()])
    assert plain[0] not in [TWO.key((other,), {})[0] for other in others]
    # What middleware sets on a user counts as on a saved one.
    for hold in (lambda user: user, lambda user: [user], lambda user: {1: (user,)}):
        made = [TWO.key((hold(visitor(device=each)),), {}) for each in (1, 1, 2)]
        assert made[0] == made[1] != made[2]
        assert TWO.key((hold(visitor()),), {}) not in made


@pytest.mark.parametrize("extra", [HttpRequest(), lambda: 1, [threading.Lock()], object()])
@pytest.mark.parametrize("hold", [lambda user: user, lambda user: [user]])
def test_a_visitor_with_what_no_content_tells_has_no_identity(
    extra: object, hold: Callable[[object], object]
) -> None:
    made = AnonymousUser()
    vars(made)["extra"] = extra
    with pytest.raises(UnkeyableArgument):
        TWO.key((hold(made),), {})


def test_a_visitor_of_the_project_s_own_has_no_identity() -> None:
    class Visitor(AnonymousUser):
        pass

    with pytest.raises(UnkeyableArgument, match="Visitor"):
        TWO.key((Visitor(),), {})


@pytest.mark.parametrize(
    "value",
    [object(), Mutable(), open, lambda: 1, (x for x in ()), Product(), Product.objects, [object()]],
)
def test_what_has_no_identity_is_named(value: Any) -> None:
    with pytest.raises(UnkeyableArgument, match="'b'"):
        TWO.key((1, value), {})


def test_everything_loaded_is_part_of_an_instance_s_fingerprint() -> None:
    def mark(**changes: Any) -> int:
        made = Product(pk=1, name="a", category=Category(pk=1, name="c"))
        for name, value in changes.items():
            setattr(made, name, value)
        return identities.fingerprint(made)

    assert mark() == mark() != 0
    changed = [
        mark(name="b"),
        mark(details={"a": 1}),
        mark(total=5),
        mark(category=Category(pk=1, name="other")),
        identities.fingerprint(Product(pk=1, name="a")),
    ]
    assert len({mark(), *changed}) == 6


@pytest.mark.parametrize("key", ["", "\0view", b"bytes", 5, None])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    with pytest.raises(InvalidKey):
        keys.encode(key)


def test_a_namespace_is_part_of_every_key(settings: Any) -> None:
    plainly = keys.encode("k")
    seen = {plainly}
    for tenant in ("a", "b", "", "a>"):
        settings.SMARTCACHE_NAMESPACE = lambda tenant=tenant: tenant
        seen.add(keys.encode("k"))
    settings.SMARTCACHE_NAMESPACE = "a"
    assert keys.encode("k") in seen
    assert len(seen) == 5


def test_a_changed_model_changes_every_key(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SMARTCACHE_VALIDATE_SCHEMA = True
    before = keys.encode("k")
    assert keys.encode("k") == before
    monkeypatch.setattr(Product._meta.get_field("name"), "max_length", 101)
    prefixes.forget()
    assert keys.encode("k") != before
    prefixes.forget()


def test_a_test_run_has_keys_of_its_own(db: None) -> None:
    assert b"test-" in prefixes.prefix()
    assert _core.KeyPlan is not None


@dataclasses.dataclass
class Basket:
    product: Any


class Rows(list[Any]):
    """A container of the project's own."""


@pytest.mark.parametrize(
    "hold",
    [
        lambda p: p,
        lambda p: [p],
        lambda p: {1: p},
        lambda p: {p: 1},
        lambda p: {p},
        lambda p: frozenset([p]),
        lambda p: collections.deque([p]),
        lambda p: Rows([p]),
        lambda p: Basket([p]),
        lambda p: loaded(p),
        lambda p: evaluated(p),
    ],
)
def test_instances_that_the_key_does_not_name_count_wherever_they_are(hold: Any) -> None:
    plan = keys.plan(two, "fixed")
    one, same, other = (Product(pk=1, name=name) for name in "aab")
    assert plan.key((hold(one),), {}) == plan.key((hold(same),), {})
    assert plan.key((hold(one),), {})[1] not in (0, plan.key((hold(other),), {})[1])


def loaded(product: Product) -> Any:
    queryset = Product.objects.all()
    queryset._result_cache = [product]
    return queryset


def evaluated(product: Product) -> Any:
    lazy = SimpleLazyObject(lambda: product)
    assert lazy.pk
    return lazy


def test_what_will_be_loaded_later_is_not_loaded_for_a_key_that_leaves_it_out() -> None:
    plan = keys.plan(two, "fixed")
    unsaved = Product(name="new")
    assert plan.key((SimpleLazyObject(lambda: 1 / 0), Product.objects.all()), {}) == (b"fixed", 0)
    assert plan.key((unsaved,), {})[1]


def deep(levels: int) -> Any:
    made: Any = []
    for _ in range(levels):
        made = [made]
    return made


def looped(kind: type) -> Any:
    made = kind()
    made.append(made)
    return made


@pytest.mark.parametrize("value", [looped(list), looped(Rows), deep(30_000)])
def test_what_contains_itself_or_is_too_deep_has_no_identity(value: Any) -> None:
    for plan in (TWO, keys.plan(two, "{a}")):
        with pytest.raises(UnkeyableArgument, match="'a' contains itself"):
            plan.key((value,), {})


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


def test_what_the_project_sets_on_an_instance_counts() -> None:
    def mark(value: Any) -> int:
        made = Product(pk=1, name="a")
        made.extra = value  # type: ignore[attr-defined]
        return identities.fingerprint(made)

    def reviewed(text: str) -> list[Review]:
        return [Review(pk=1, text=text)]

    for one, same, other in (
        (Box(1), Box(1), Box(2)),
        (reviewed("a"), reviewed("a"), reviewed("b")),
        (Product.objects.filter(pk=1), Product.objects.filter(pk=1), Product.objects.filter(pk=2)),
        ({"x": Box(1)}, {"x": Box(1)}, {"x": Box(2)}),
    ):
        assert mark(one) == mark(same) != mark(other)
    assert mark(threading.Lock()) == mark(threading.Lock())  # is no data


def test_relations_that_lead_back_are_no_trouble() -> None:
    def mark(text: str) -> int:
        made = Product(pk=1, name="a")
        made.loaded = [Review(pk=1, text=text, product=made)]  # type: ignore[attr-defined]
        return identities.fingerprint(made)

    assert mark("a") == mark("a") != mark("b")


def test_instances_of_two_databases_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    default = connections.settings["default"]
    for alias, name in (("other", "elsewhere"), ("replica", default["NAME"])):
        monkeypatch.setitem(connections.settings, alias, {**default, "NAME": name})
    made = {}
    for alias in ("default", "other", "replica", "unknown"):
        product = made[alias] = Product(pk=1, name="a", category=Category(pk=1))
        product._state.db = product.category._state.db = alias
    try:
        for plan in (TWO, keys.plan(two, "{a.pk}"), keys.plan(two, "{a.category}")):
            key = {alias: plan.key((product,), {}) for alias, product in made.items()}
            assert key["default"] == key["replica"] == key["unknown"] != key["other"]
        assert TWO.key((made["other"],), {})[0] != TWO.key((made["default"],), {})[0]
    finally:
        del connections["other"], connections["replica"]
