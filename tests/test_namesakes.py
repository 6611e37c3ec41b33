"""Functions and classes of one name: never two under one key, and no trouble when made again."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import importlib
import linecache
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_protect
from django.views.generic import TemplateView
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from djsmartcache import UnkeyableArgument, keys, smart_cached
from tests.stores import store

__all__ = ["store"]

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a module of this text, or load it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"module_{tmp_path.name.replace('-', '_')}"

    def load(text: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text("from djsmartcache import smart_cached\n" + text)
        importlib.invalidate_caches()
        linecache.checkcache()
        known = sys.modules.get(name)
        return importlib.import_module(name) if known is None else importlib.reload(known)

    yield load
    sys.modules.pop(name, None)


TWO = [
    pytest.param(
        """
import functools

@functools.singledispatch
def area(shape): ...

@area.register
@smart_cached
def _(shape: int): return 1

@area.register
@smart_cached
def _(shape: str): return 2
""",
        id="singledispatch",
    ),
    pytest.param(
        """
@smart_cached
def f(x): return 1
if True:
    @smart_cached
    def f(x): return 2
""",
        id="under-an-if",
    ),
    pytest.param(
        """
import functools

def times(factor):
    def decorate(function):
        @functools.wraps(function)
        def inner(*args):
            return factor * function(*args)
        return inner
    return decorate

def base(x): return x

double = smart_cached(times(2)(base))
triple = smart_cached(times(3)(base))
""",
        id="a-decorator-s-parameter",
    ),
    pytest.param(
        """
import functools

def times(factor):
    def decorate(function):
        @functools.wraps(function)
        def inner(*args, _factor=factor):
            return _factor * function(*args)
        return inner
    return decorate

def base(x): return x

double = smart_cached(times(2)(base))
triple = smart_cached(times(3)(base))
""",
        id="a-wrapper-s-default",
    ),
    pytest.param(
        """
def base(x): return x

def twice(function):
    def inner(x): return 2 * function(x)
    inner.__qualname__ = function.__qualname__
    return inner

plain = smart_cached(base)
double = smart_cached(twice(base))
""",
        id="renamed-by-hand",
    ),
    pytest.param(
        """
class Shop:
    @smart_cached
    def total(cls): return 1
    total = classmethod(total)

class Shop:
    @classmethod
    @smart_cached
    def total(cls): return 2
""",
        id="methods-of-classes",
    ),
    pytest.param(
        """
from django.views.generic import TemplateView

def make(name):
    class Page(TemplateView):
        template_name = name
    return Page

one = smart_cached(make("one").as_view())
other = smart_cached(make("other").as_view())
""",
        id="classes-of-views",
    ),
]


@pytest.mark.parametrize("text", TWO)
def test_two_of_one_name_are_refused(load: Load, text: str) -> None:
    with pytest.raises(TypeError, match=r"two (functions|classes) are called module_.*key="):
        load(text)
    assert load("smart_cached = smart_cached(key='k')\n" + text)


SAME = """
import functools

def passing(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner

@smart_cached
@passing
def f(x):
    return {0}

def make(default):
    @smart_cached
    def inner(x, default=default):
        return default
    return inner

made = [make(each) for each in (1, 2, 1)]
again = smart_cached(passing(f.__wrapped__.__wrapped__))
"""


def test_what_is_made_of_the_same_code_again_is_the_same(load: Load) -> None:
    module = load(SAME.format(1))
    assert len({f.key(1) for f in module.made}) == 2  # a default is an argument
    assert module.again.key(1) == module.f.key(1)


def test_a_module_may_be_loaded_anew(load: Load) -> None:
    before = load(SAME.format(1))
    key = before.f.key(1)
    assert load("\n\n" + SAME.format(2)).f.key(1) == key
    sys.modules.pop(before.__name__)
    assert load(SAME.format(3)).f.key(1) == key


CELLS = """
from tests.test_namesakes import start
start()
from djsmartcache import smart_cached
exec({0!r})
print(f.key(1))
exec({1!r})
print(f.key(1))
"""


def start() -> None:
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()


def test_code_that_is_in_no_file_is_told_apart_by_itself() -> None:
    """As a notebook and a shell have it: a name is taken again by other code."""

    def run(one: str, other: str) -> list[str]:
        code = CELLS.format(
            *(f"@smart_cached\ndef f(x):\n    return {each}" for each in (one, other))
        )
        root = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    one, other = run("x in {1, 2, 'a'}", "[y + 1 for y in range(x)]")
    assert one != other
    assert run("[y + 1 for y in range(x)]", "[y + 1 for y in range(x)]") == [other, other]


# --- classes


def make_point(label: str) -> type:
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        kind = label

    return Point


def make_colour(*names: str) -> Any:
    return enum.Enum("Colour", names, module=__name__, qualname="make_colour.<locals>.Colour")


def takes(value: Any) -> None: ...


def test_values_of_two_classes_of_one_name_do_not_share_a_key() -> None:
    plan = keys.plan(takes, None)
    for make, one, other in (
        (lambda *given: make_point(*given)(1), ["a"], ["b"]),
        (lambda *given: make_colour(*given).RED, ["RED"], ["BLUE", "RED"]),
    ):
        key = plan.key((make(*one),), {})
        assert plan.key((make(*one),), {}) == key
        with pytest.raises(UnkeyableArgument, match=r"'value'.*not found under that name"):
            plan.key((make(*other),), {})


class Named(typing.NamedTuple):
    x: int
    y: int


def test_named_tuples_are_told_apart_by_their_fields() -> None:
    plan = keys.plan(takes, None)

    def row(*names: str) -> Any:
        return collections.namedtuple("Row", names)(1, 2)

    made = [row("a", "b"), row("b", "a"), Named(1, 2), (1, 2)]
    assert len({plan.key((each,), {})[0] for each in made}) == 4
    assert plan.key((row("a", "b"),), {}) == plan.key((row("a", "b"),), {})


# --- views


def make_view(text: str, *decorators: Any) -> Any:
    class Page(View):
        answer = text

        @method_decorator([smart_cached(ttl=60), *decorators])
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(self.answer)

    return Page.as_view()


@pytest.mark.usefixtures("store")
@pytest.mark.django_db
def test_pages_of_two_classes_of_one_name_are_not_mixed_up() -> None:
    def asked(text: str) -> tuple[bytes, str]:
        answer = make_view(text)(RequestFactory().get("/page/"))
        return answer.content, answer["Cache-Status"]

    asked("one")
    assert asked("one")[0] == b"one"
    assert "hit" in asked("one")[1]
    content, status = asked("other")
    assert content == b"other"
    assert "bypass" in status
    assert "two classes" in status


@pytest.mark.usefixtures("store")
@pytest.mark.django_db
def test_what_is_decorated_anew_at_each_request_is_no_trouble() -> None:
    view = make_view("one", csrf_protect)
    for _ in range(3):
        assert view(RequestFactory().get("/protected/")).content == b"one"


def test_what_as_view_is_given_tells_views_apart() -> None:
    class Products(ViewSet):
        def list(self, request: Any) -> Response:
            return Response("list")

        def retrieve(self, request: Any) -> Response:
            return Response("retrieve")

    made = [
        TemplateView.as_view(),
        TemplateView.as_view(template_name="a"),
        TemplateView.as_view(template_name="b"),
        TemplateView.as_view(template_name="b", extra_context={"a": object()}),
        Products.as_view({"get": "list"}),
        Products.as_view({"get": "retrieve"}),
    ]
    names = {keys.name_of(view) + keys.own_part(view, "") for view in made}
    assert len(names) == len(made)
    for view in made:
        assert smart_cached(view)


def test_api_views_are_called_as_their_functions() -> None:
    @api_view(["GET"])
    def one(request: Any) -> Response:
        return Response("one")

    @api_view(["GET"])
    def other(request: Any) -> Response:
        return Response("other")

    assert keys.name_of(one) == f"{__name__}.one"
    assert smart_cached(one)
    assert smart_cached(other)


def test_a_partial_of_a_partial_is_no_trouble() -> None:
    for _ in range(2):
        assert smart_cached(functools.partial(functools.partial(takes), value=1))
