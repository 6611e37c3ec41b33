"""Views of REST framework: handlers and whole views, with and without authentication."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.renderers import JSONRenderer, StaticHTMLRenderer
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from djsmartcache import smart_cached
from tests.site import Person, identify
from tests.stores import store
from tests.testapp.models import Product

__all__ = ["store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]

runs: Counter[str] = Counter()


class ByToken(BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        token = request.META.get("HTTP_AUTHORIZATION")
        return (Person(token), token) if token else None


class Names(APIView):
    authentication_classes: Any = []
    renderer_classes = [JSONRenderer, StaticHTMLRenderer]

    @smart_cached(ttl=60)
    def get(self, request: Any) -> Response:
        runs["names"] += 1
        return Response(" ".join(p.name for p in Product.objects.order_by("name")))


class Mine(APIView):
    authentication_classes = [ByToken]
    renderer_classes = [JSONRenderer]

    @smart_cached(ttl=60, vary="user")
    def get(self, request: Any) -> Response:
        runs["mine"] += 1
        return Response(str(request.user))


class Scoped(APIView):
    """Of one user, with keys that allow different things."""

    renderer_classes = [JSONRenderer]

    @smart_cached(ttl=60, vary="user")
    def get(self, request: Any) -> Response:
        runs["scoped"] += 1
        return Response(str(getattr(request.auth, "scopes", request.auth)))


class Kept(APIView):
    """Keeps what it read of a request on that."""

    authentication_classes: Any = []
    renderer_classes = [JSONRenderer]

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        request.tenant = request.headers["X-Tenant"]

    @smart_cached(ttl=60)
    def get(self, request: Any) -> Response:
        return Response(request.tenant)


class ByKey(BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        return Person("joe"), {"scopes": request.META["HTTP_X_KEY"]}


class ByObject(BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        return Person("joe"), SimpleNamespace(scopes=request.META["HTTP_X_KEY"])


class Undeclared(APIView):
    authentication_classes = [ByToken]
    renderer_classes = [JSONRenderer]

    @method_decorator(smart_cached(ttl=60))
    def get(self, request: Any) -> Response:
        return Response(str(request.user))


class InSession(Undeclared):
    authentication_classes = [SessionAuthentication]


@smart_cached(ttl=60)
@api_view(["GET"])
@authentication_classes([ByToken])
def whole(request: Any) -> Response:
    return Response({"for": str(request.user)})


@smart_cached(ttl=60)
@api_view(["GET"])
@authentication_classes([])
def public(request: Any) -> Response:
    runs["public"] += 1
    return Response({"run": runs["public"]})


class Products(ViewSet):
    authentication_classes: Any = []
    renderer_classes = [JSONRenderer]

    @smart_cached(ttl=60)
    def list(self, request: Any) -> Response:
        runs["list"] += 1
        return Response("list")

    @smart_cached(ttl=60)
    def retrieve(self, request: Any, pk: int) -> Response:
        runs["retrieve"] += 1
        return Response(pk)


def ask(view: Any, token: str = "", accept: str = "application/json") -> Any:
    request = RequestFactory().get("/rest/", headers={"Accept": accept})
    if token:
        request.META["HTTP_AUTHORIZATION"] = token
    response = identify(view)(request)
    return response if getattr(response, "is_rendered", True) else response.render()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    runs.clear()


def test_a_handler_is_cached_with_its_dependencies() -> None:
    view = Names.as_view()
    Product.objects.create(name="lamp")
    first, second = ask(view), ask(view)
    assert first.content == second.content == b'"lamp"'
    assert "hit" in second.headers["Cache-Status"]
    assert second.headers["Content-Type"] == "application/json"
    Product.objects.create(name="desk")
    assert ask(view).content == b'"desk lamp"'
    assert runs["names"] == 2


def test_each_renderer_has_an_answer_of_its_own() -> None:
    view = Names.as_view()
    assert ask(view).headers["Content-Type"] == "application/json"
    assert ask(view, accept="text/html").headers["Content-Type"].startswith("text/html")
    assert ask(view).headers["Content-Type"] == "application/json"
    assert runs["names"] == 2


def test_vary_user_keeps_an_answer_for_each_token() -> None:
    view = Mine.as_view()
    for token in ("ada", "bob", "ada", "bob", ""):
        assert ask(view, token).content == f'"{token or "AnonymousUser"}"'.encode()
    assert runs["mine"] == 3


@pytest.mark.parametrize("view", [Undeclared.as_view(), InSession.as_view(), whole])
def test_an_authenticated_answer_is_not_stored_undeclared(view: Any) -> None:
    for token in ("ada", "bob", "", "ada"):
        response = ask(view, token)
        status = response.headers["Cache-Status"]
        assert "stored" not in status
        assert "hit" not in status


def test_a_whole_view_without_authentication_is_cached() -> None:
    assert ask(public).content == ask(public).content
    assert runs["public"] == 1


@pytest.mark.parametrize("kept", [True, False])
def test_each_key_of_a_user_has_an_answer_of_its_own(kept: bool) -> None:
    view = Scoped.as_view(authentication_classes=[ByKey if kept else ByObject])
    for scope in ("admin", "reader", "admin"):
        request = RequestFactory().get("/rest/", headers={"X-Key": scope})
        response = view(request)
        response = response if getattr(response, "is_rendered", True) else response.render()
        assert scope in response.content.decode()
    assert runs["scoped"] == (2 if kept else 3)


def test_parameters_of_the_accepted_type_are_part_of_the_key() -> None:
    for view in (Names.as_view(), public):
        indented = ask(view, accept="application/json; indent=8")
        assert "indent" in indented.accepted_media_type
        assert "stored" in ask(view).headers["Cache-Status"]
        assert "hit" in ask(view).headers["Cache-Status"]


def test_handlers_of_a_view_set_are_cached_apart() -> None:
    for _ in range(2):
        request = RequestFactory().get("/rest/")
        assert Products.as_view({"get": "list"})(request).content == b'"list"'
        for pk in (1, 2):
            request = RequestFactory().get("/rest/")
            answer = Products.as_view({"get": "retrieve"})(request, pk=pk)
            assert answer.content == str(pk).encode()
    assert (runs["list"], runs["retrieve"]) == (1, 2)


def test_what_a_view_has_put_on_its_request_is_part_of_the_key() -> None:
    for tenant in ("a", "b"):
        request = RequestFactory().get("/rest/", headers={"X-Tenant": tenant})
        answer = Kept.as_view()(request)
        assert answer.content == f'"{tenant}"'.encode()
        assert "stored" in answer.headers["Cache-Status"]
