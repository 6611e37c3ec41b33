"""How calls become keys."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from hypothesis import given
from hypothesis import strategies as st

from djsmartcache import _core
from tests.core.conftest import plan

NAMES = "tests.core.test_keys"


def key(made: _core.KeyPlan, *args: Any, **kwargs: Any) -> str:
    return made.key(args, kwargs)[0].decode()


def one(a, b=2):
    pass


def only(a, /, b, *, c=3):
    pass


def rest(a, *args, b=1, **kw):
    pass


def nothing():
    pass


def test_auto_key_names_the_function_and_every_argument() -> None:
    assert key(plan(one), 1) == f"{NAMES}.one(a=1,b=2)"
    assert key(plan(only), 1, 2) == f"{NAMES}.only(a=1,b=2,c=3)"
    assert key(plan(rest), 1, 2, 3, c=4) == f"{NAMES}.rest(a=1,b=1,*args=(2,3),**kw={{c=4}})"
    assert key(plan(nothing)) == f"{NAMES}.nothing()"


def test_position_keyword_and_default_make_one_key() -> None:
    made = plan(one)
    assert len({made.key((1, 2), {}), made.key((1,), {}), made.key((), {"b": 2, "a": 1})}) == 1


def test_keywords_that_are_not_interned_are_found() -> None:
    assert (
        key(plan(one), **{"".join(["", "a"]): 1, "".join(("b", "")): 5}) == f"{NAMES}.one(a=1,b=5)"
    )
    long = "parameter_" + "x" * 40
    made = _core.KeyPlan(
        [long],
        positional=0,
        keyword_only=[],
        varargs=None,
        varkw=None,
        defaults={},
        literal="m.f",
        template=None,
        identify=lambda n, v: (b"", 0),
    )
    assert key(made, **{"".join(list(long)): 1}) == f"m.f({long}=1)"


def test_a_keyword_of_the_name_of_a_positional_only_parameter_goes_to_varkw() -> None:
    def f(a, /, **kw):
        pass

    assert key(plan(f), 1, a=2).endswith("f(a=1,**kw={a=2})")


def test_more_parameters_than_fit_inline() -> None:
    names = [f"p{i}" for i in range(40)]
    made = _core.KeyPlan(
        names,
        positional=0,
        keyword_only=[],
        varargs=None,
        varkw=None,
        defaults=dict.fromkeys(names, 0),
        literal="m.f",
        template=["x:", ("p39", [])],
        identify=lambda n, v: (b"", 0),
    )
    assert key(made, p39=7) == "x:7"


class Point:
    x = 4
    table = {"k": "v", 3: "three"}


def test_template_renders_arguments_attributes_and_items() -> None:
    fields = [
        "p:",
        ("a", [("attr", "x")]),
        ":",
        ("a", [("attr", "table"), ("item", "k")]),
        ":",
        ("a", [("attr", "table"), ("item", 3)]),
        ":",
        ("b", []),
    ]
    assert key(plan(one, fields), Point(), "q") == "p:4:v:three:q"


def test_template_errors_are_the_users_own() -> None:
    with pytest.raises(AttributeError, match="missing"):
        key(plan(one, [("a", [("attr", "missing")])]), Point())
    with pytest.raises(KeyError):
        key(plan(one, [("a", [("attr", "table"), ("item", "no")])]), Point())
    with pytest.raises(KeyError):
        plan(one, [("c", [])])


def test_template_wraps_fields_that_could_run_into_what_follows() -> None:
    assert key(plan(one, [("a", []), ("b", [])]), 1, 2) == "(1)2"
    assert key(plan(one, [("a", []), "x", ("b", [])]), 1, 2) == "(1)x2"
    assert key(plan(one, [("a", []), ":", ("b", [])]), 1, 2) == "1:2"


def test_varargs_and_varkw_in_a_template() -> None:
    made = plan(rest, [("args", []), ":", ("kw", [("item", "z")])])
    assert key(made, 1, 2, 3, z="q") == "(2,3):q"


def test_long_keys_keep_their_beginning_and_stay_apart() -> None:
    first = key(plan(one), "x" * 500)
    assert len(first) <= 200
    assert first.startswith(f"{NAMES}.one(a=xxx")
    assert first != key(plan(one), "x" * 501)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (one, (), {}),
        (one, (1, 2, 3), {}),
        (one, (1,), {"a": 2}),
        (one, (1,), {"c": 2}),
        (one, (1,), {"bb": 2}),
        (only, (), {"a": 1, "b": 2}),
        (only, (1,), {}),
        (only, (1, 2, 3), {}),
        (only, (1, 2, 3), {"c": 1}),
        (rest, (), {}),
        (rest, (1,), {"a": 3}),
        (nothing, (1,), {}),
        (nothing, (), {"x": 1}),
        (Point.__init_subclass__.__class__ and (lambda *, k: k), (), {}),
    ],
)
def test_wrong_arguments_raise_what_the_function_raises(
    function: Any, args: Any, kwargs: Any
) -> None:
    with pytest.raises(TypeError) as expected:
        function(*args, **kwargs)
    with pytest.raises(TypeError) as raised:
        plan(function).key(args, kwargs)
    assert str(raised.value) == str(expected.value)


def test_wrong_arguments_of_a_method_are_named_as_pythons() -> None:
    class Shop:
        def price(self, product):
            pass

    with pytest.raises(TypeError) as expected:
        Shop().price(1, 2)
    with pytest.raises(TypeError) as raised:
        plan(Shop.price).key((Shop(), 1, 2), {})
    assert str(raised.value) == str(expected.value)


def test_other_types_are_asked_of_identify_by_name() -> None:
    asked = []

    def identify(name: str, value: Any) -> tuple[bytes, int]:
        asked.append((name, type(value)))
        return b"P<%d>" % value.n, value.n

    class P:
        def __init__(self, n: int) -> None:
            self.n = n

    made = plan(one, identify=identify)
    assert made.key((P(3), [P(4), 1]), {})[0].decode() == f"{NAMES}.one(a=P<3>,b=[P<4>,1])"
    assert asked == [("a", P), ("b", P)]
    assert made.key((P(3),), {})[1] == 3
    first, second = made.key((P(3), P(4)), {}), made.key((P(4), P(3)), {})
    assert first[1] not in (0, 3, 4)
    assert first[1] != second[1]


@pytest.mark.parametrize("reply", [None, (b"x",), ("x", 1), (b"x", "1")])
def test_identify_must_keep_its_contract(reply: Any) -> None:
    with pytest.raises(TypeError, match="identify must return"):
        plan(one, identify=lambda name, value: reply).key((object(),), {})


def test_instances_outside_the_template_still_count() -> None:
    """I13: an old instance never answers for a new one, whatever the key shows of it."""

    def identify(name: str, value: Any) -> tuple[bytes, int]:
        return b"m", value.id

    made = plan(one, ["k:", ("a", [("attr", "id")])], identify=identify)
    instance, other = ContentType(id=5), ContentType(id=6)
    assert made.key((instance,), {}) == (b"k:5", 5)
    assert made.key((instance, other), {})[1] not in (0, 5, 6)
    assert made.key((instance, [other]), {})[1] == made.key((instance, (other,)), {})[1]
    assert made.key((instance, {"x": other}), {})[1] != 5
    assert made.key((instance, {other}), {})[1] == made.key((instance, [other]), {})[1]
    assert made.key((instance, object()), {}) == (b"k:5", 5)  # not asked: the key does not show it


def test_containers_are_ordered_where_python_is_not() -> None:
    made = plan(one)
    assert (
        key(made, {"b": 1, "a": [2]})
        == key(made, {"a": [2], "b": 1})
        == f"{NAMES}.one(a={{a=[2],b=1}},b=2)"
    )
    assert key(made, {3, 1, 2}) == f"{NAMES}.one(a={{|1,2,3|}},b=2)"
    assert key(made, {3}) != key(made, frozenset([3])) != key(made, [3])


def test_a_container_inside_itself_is_an_error_not_a_crash() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="a has no identity"):  # what identify says of it
        key(plan(one), loop)
    with pytest.raises(RecursionError):
        key(plan(one, identify=lambda name, value: (b"", 0)), loop)


def test_an_argument_that_changes_while_it_is_rendered() -> None:
    values: list[Any] = []

    class Shrinking:
        pass

    def identify(name: str, value: Any) -> tuple[bytes, int]:
        values.clear()
        return b"s", 0

    values.extend([Shrinking(), 1, 2, 3])
    assert key(plan(one, identify=identify), values).endswith("a=[s],b=2)")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=3)
    ),
    max_leaves=6,
)


def same(left: Any, right: Any) -> bool:
    """Equal with types: 1, True and 1.0 are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            any(same(k, other) and same(v, w) for other, w in right.items())
            for k, v in left.items()
        )
    if isinstance(left, frozenset):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    return bool(left == right)


AUTO = plan(one)
TEMPLATES = [
    plan(one, template)
    for template in (
        [("a", []), ("b", [])],
        [("a", []), ":", ("b", [])],
        ["k", ("a", []), ",b=", ("b", []), "z"],
        [("a", []), "1", ("b", []), "1"],
        [("a", []), "'", ("b", [])],
    )
]


@given(plain, plain, plain, plain)
def test_two_different_calls_never_share_a_key(a: Any, b: Any, c: Any, d: Any) -> None:
    for made in (AUTO, *TEMPLATES):
        first, second = made.key((a, b), {}), made.key((c, d), {})
        assert (first == second) == (same(a, c) and same(b, d))


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.binary())
def test_encode_text_renders_as_keys_do(value: Any) -> None:
    rendered = plan(one, [("a", [])]).key((value,), {})[0]
    assert rendered.startswith(_core.encode_text(value)[:100])


def test_encode_text_refuses_others() -> None:
    for value in ([], object(), 1j):
        with pytest.raises(TypeError):
            _core.encode_text(value)


def test_huge_ints_have_keys_too() -> None:
    assert key(plan(one, [("a", [])]), 2**70) == str(2**70)
    assert key(plan(one, [("a", [])]), 10**5000) != key(plan(one, [("a", [])]), 10**5000 + 1)


def test_the_signature_of_keys_is_inspectable() -> None:
    assert inspect.isclass(_core.KeyPlan)
    with pytest.raises(TypeError):
        _core.KeyPlan()  # type: ignore[call-arg]
