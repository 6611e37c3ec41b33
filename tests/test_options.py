"""What each option of `smart_cached` does, for functions, coroutine functions and views alike."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import Http404, HttpResponse, HttpResponsePermanentRedirect
from django.test import RequestFactory

from djsmartcache import cache_ttl, invalidate_tags, smart_cached
from tests.children import Child
from tests.starting import Start, start
from tests.stores import store
from tests.testapp.models import Category, Product
from tests.waiting import until

__all__ = ["start", "store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]

FORMS = ("function", "coroutine function", "view", "coroutine view")


class Called:
    """A cached callable of one argument, in one of the forms, that counts its runs by argument."""

    def __init__(self, form: str, options: dict[str, Any], result: Any = "made") -> None:
        self.runs: Counter[int] = Counter()
        self.is_view = form.endswith("view")
        runs, is_view = self.runs, self.is_view

        def work(pk: int) -> Any:
            runs[pk] += 1
            return HttpResponse(result) if is_view else result

        def function(pk: int) -> Any:
            return work(pk)

        async def coroutine_function(pk: int) -> Any:
            return work(pk)

        def view(request: Any, pk: int) -> Any:
            return work(pk)

        async def coroutine_view(request: Any, pk: int) -> Any:
            return work(pk)

        made = {f.__name__.replace("_", " "): f for f in (function, coroutine_function)}
        made |= {f.__name__.replace("_", " "): f for f in (view, coroutine_view)}
        if self.is_view:  # options that are callables get what a view is called with
            options = {name: _with_request(value) for name, value in options.items()}
        self.cached = smart_cached(key=f"{form}:{{pk}}", ttl=60, **options)(made[form])

    def __call__(self, pk: int) -> Any:
        arguments = (RequestFactory().get(f"/page/{pk}/"),) if self.is_view else ()
        call = self.cached
        if inspect.iscoroutinefunction(self.cached.__wrapped__):
            call = async_to_sync(call)
        return call(*arguments, pk=pk)


def _with_request(option: Any) -> Any:
    of_arguments = inspect.isfunction(option) and [*inspect.signature(option).parameters] == ["pk"]
    return functools.partial(_leave_out, option) if of_arguments else option


def _leave_out(option: Callable[..., Any], request: Any, **kwargs: Any) -> Any:
    assert request.path.startswith("/page/")
    return option(**kwargs)


@pytest.mark.parametrize("form", FORMS)
def test_tags_by_a_callable_are_those_of_the_call(form: str) -> None:
    called = Called(form, {"tags": lambda pk: [f"number-{pk}", "numbers"]})
    called(1), called(2)
    invalidate_tags("number-1")
    called(1), called(2)
    assert called.runs == {1: 2, 2: 1}
    invalidate_tags("numbers")
    called(1), called(2)
    assert called.runs == {1: 3, 2: 2}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "gives",
    [
        pytest.param(lambda pk: Category.objects.filter(pk=pk), id="a queryset"),
        pytest.param(lambda pk: [Product, Category(pk=pk)], id="a list"),
    ],
)
def test_what_a_callable_says_a_call_depends_on(form: str, gives: Callable[..., Any]) -> None:
    first, second = (Category.objects.create(name=name) for name in "ab")
    called = Called(form, {"depends_on": gives})
    called(first.pk), called(second.pk)
    first.name = "another"
    first.save()
    called(first.pk), called(second.pk)
    assert called.runs == {first.pk: 2, second.pk: 1}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keeps", [True, False])
def test_a_condition_is_asked_of_what_was_made(form: str, keeps: bool) -> None:
    asked: list[Any] = []

    def condition(result: Any) -> bool:
        asked.append(getattr(result, "content", result))
        return keeps

    called = Called(form, {"condition": condition}, result=b"made")
    answers = [called(1) for _ in range(3)]
    assert [getattr(answer, "content", answer) for answer in answers] == [b"made"] * 3
    assert called.runs == {1: 1 if keeps else 3}
    assert asked == [b"made"] * called.runs[1]
    if called.is_view:
        last = "hit" if keeps else 'fwd=miss; detail="condition"'
        assert last in answers[-1]["Cache-Status"]


def test_a_condition_is_not_asked_of_a_page_that_is_not_there() -> None:
    calls = 0

    def view(request: Any) -> HttpResponse:
        nonlocal calls
        calls += 1
        raise Http404

    cached = smart_cached(key="gone", cache_errors=True, condition=lambda page: 1 / 0)(view)
    for _ in range(2):
        with pytest.raises(Http404):
            cached(RequestFactory().get("/gone/"))
    assert calls == 1


# --- which responses are stored

STORED = (200, 203, 300, 301)
STORED_ERRORS = (404, 410)
NOT_STORED = (201, 202, 204, 206, 302, 303, 307, 308, 400, 401, 403, 405, 429, 500, 503)


@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("code", STORED + STORED_ERRORS + NOT_STORED)
def test_responses_are_stored_by_their_status(code: int, errors: bool) -> None:
    runs = 0

    def view(request: Any, code: int) -> HttpResponse:
        nonlocal runs
        runs += 1
        headers = {"Location": "/elsewhere/"} if 300 <= code < 400 else None
        return HttpResponse(f"run {runs}", status=code, headers=headers)

    cached = smart_cached(key="status:{code}", ttl=60, cache_errors=errors)(view)
    first, second = (cached(RequestFactory().get("/page/"), code) for _ in range(2))
    keeps = code in STORED or (errors and code in STORED_ERRORS)
    assert runs == (1 if keeps else 2)
    for run, response in enumerate((first, second), 1):
        assert response.status_code == code
        assert response.content == (b"run 1" if keeps else b"run %d" % run)
        assert response.get("Location") == ("/elsewhere/" if 300 <= code < 400 else None)
        assert response.reason_phrase == HttpResponse(status=code).reason_phrase
    assert ("hit" in second["Cache-Status"]) == keeps


def test_a_permanent_redirect_comes_back_as_one() -> None:
    cached = smart_cached(key="moved")(lambda request: HttpResponsePermanentRedirect("/new/"))
    for source in ("stored", "hit"):
        response = cached(RequestFactory().get("/old/"))
        assert source in response["Cache-Status"]
        assert isinstance(response, HttpResponsePermanentRedirect)
        assert (response.status_code, response.url) == (301, "/new/")


# --- what is set


def test_what_is_set_has_the_tags_and_the_ttl_of_the_function() -> None:
    f = smart_cached(key="set:{pk}", ttl=1000, tags=["all"])(lambda pk: pk)
    g = smart_cached(key="got:{pk}", ttl=None, tags=lambda pk: [f"one-{pk}"])(lambda pk: pk)
    assert f.set(1, value="set")
    assert g.set(1, value="set")
    assert g.set(2, value="set")
    left = cache_ttl(f.key(1))
    assert left is not None
    assert 900 < left <= 1000
    assert cache_ttl(g.key(1)) is None or cache_ttl(g.key(1)) > 1000  # type: ignore[operator]
    invalidate_tags("all")
    assert (f.get(1), g.get(1), g.get(2)) == (None, "set", "set")
    invalidate_tags("one-1")
    assert (f.get(1), g.get(1), g.get(2)) == (None, None, "set")


def test_a_page_that_is_set_has_the_tags_of_the_view() -> None:
    view = smart_cached(key="page:{pk}", tags=lambda request, pk: [f"page-{pk}"])(
        lambda request, pk: HttpResponse("made")
    )
    requests = [RequestFactory().get(f"/page/{pk}/") for pk in (1, 2)]
    for pk, request in enumerate(requests):
        assert view.set(request, pk, value=HttpResponse("set"))
        assert view(request, pk).content == b"set"
    invalidate_tags("page-1")
    assert [view(request, pk).content for pk, request in enumerate(requests)] == [b"set", b"made"]


# --- lock


@pytest.mark.parametrize("call", ["call", "hurry"])
def test_without_its_lock_a_function_is_computed_beside_another_process(
    start: Start, call: str
) -> None:
    first, second = (start(LOCK_TIMEOUT=60) for _ in range(2))
    assert first.ask("call", "a") == "computing"
    second.tell(call, "a")
    said = first_of(second)
    assert said == ("computing" if call == "hurry" else "waits")
    for child in (first, second):
        child.tell("go")


def first_of(child: Child) -> str:
    """What a call has come to: computing, or waiting for another process."""
    said: list[str] = []
    until(lambda: said.append(child.ask("waits")) or said[-1] != "0")
    return "waits" if said[-1] == "1" else said[-1]


# --- of a wrong type


@pytest.mark.parametrize("name", ["lock", "cache_none", "cache_errors"])
@pytest.mark.parametrize("value", [0, 1, None, "no", []])
def test_what_is_on_or_off_takes_nothing_else(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}=.*: True or False\.$"):
        smart_cached(**{name: value})  # type: ignore[call-overload]
