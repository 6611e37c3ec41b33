"""A small site: views as people write them, each cached and counting its runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template import Context, Template
from django.template.response import SimpleTemplateResponse
from django.urls import path
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from django.views import View
from django.views.decorators.cache import cache_control
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.vary import vary_on_headers

from djsmartcache import smart_cached
from tests.testapp.models import Product

runs: Counter[str] = Counter()
"""How often each view ran, by name."""
gate = asyncio.Event()
"""What the view `slow` waits for."""


class Person:
    """A user without a database."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self, name: str) -> None:
        self.pk = self.username = name

    def __str__(self) -> str:
        return self.username


def identify(get_response: Any) -> Any:
    """Middleware: a cookie tells who a request is from, looked at lazily as Django does."""

    def find(request: HttpRequest) -> Any:
        name = request.COOKIES.get("login")
        request._cached_user = Person(name) if name else AnonymousUser()  # type: ignore[attr-defined]
        return request._cached_user  # type: ignore[attr-defined]

    def middleware(request: HttpRequest) -> Any:
        request.user = SimpleLazyObject(lambda: find(request))  # type: ignore[assignment]
        request.auser = sync_to_async(lambda: find(request))  # type: ignore[attr-defined]
        request.customer = request.COOKIES.get("login", "nobody")  # type: ignore[attr-defined]
        return get_response(request)

    return middleware


def count(name: str) -> int:
    runs[name] += 1
    return runs[name]


def page(name: str, text: Any = "") -> HttpResponse:
    return HttpResponse(f"{name} {count(name)} {text}")


@smart_cached(ttl=60)
def plain(request: HttpRequest) -> HttpResponse:
    return page("plain", request.GET.get("q", ""))


@smart_cached(ttl=60)
def as_json(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"pk": pk, "run": count("json")})


@smart_cached(ttl=60)
def products(request: HttpRequest) -> SimpleTemplateResponse:
    count("products")

    class Rendered(SimpleTemplateResponse):
        @property
        def rendered_content(self) -> str:
            template = Template("{% for p in products %}{{ p.name }} {% endfor %}")
            return template.render(Context({"products": Product.objects.order_by("name")}))

    return Rendered("unused")


@smart_cached(ttl=60)
async def products_in_a_task(request: HttpRequest) -> SimpleTemplateResponse:
    return products.uncached(request)


READS: dict[str, Any] = {
    "user": lambda request: request.user.username,
    "user by template": lambda request: Template("{{ request.user }}").render(
        Context({"request": request})
    ),
    "session": lambda request: request.session.get("name"),
    "session key": lambda request: request.session.session_key,
    "cookie": lambda request: request.COOKIES.get("login"),
    "cookie of META": lambda request: request.META.get("HTTP_COOKIE"),
    "cookie of headers": lambda request: request.headers.get("Cookie"),
    "cookie of environ": lambda request: request.environ["HTTP_COOKIE"],
    "all of META": lambda request: sorted(map(str, request.META.items())),
    "all headers": lambda request: dict(request.headers),
    "copy of META": lambda request: str(request.META.copy()),
    "address": lambda request: request.META["REMOTE_ADDR"],
    "header": lambda request: request.headers.get("X-Tenant"),
    "header of META": lambda request: request.META.get("HTTP_X_TENANT"),
    "has header": lambda request: "X-Tenant" in request.headers,
    "what middleware set": lambda request: request.customer,
    "what middleware may set": lambda request: getattr(request, "tenant", None),
    "csrf token": get_token,
    "messages": lambda request: [str(m) for m in messages.get_messages(request)],
    "new message": lambda request: messages.success(request, "done"),
    "body": lambda request: request.body,
    "change of the session": lambda request: request.session.update({"seen": True}),
    "language for the client": lambda request: translation.get_language_from_request(request),
}


@smart_cached(ttl=60)
def reading(request: HttpRequest, what: str) -> HttpResponse:
    return page(what, READS[what](request))


@smart_cached(ttl=60, vary="user")
def of_user(request: HttpRequest, what: str) -> HttpResponse:
    return page("of user", READS[what](request))


@smart_cached(ttl=60, vary=lambda request, **_: request.COOKIES.get("login"))
def by_callable(request: HttpRequest, what: str) -> HttpResponse:
    return page("by callable", READS[what](request))


@smart_cached(ttl=60)
@vary_on_headers("X-Tenant")
def varying(request: HttpRequest) -> HttpResponse:
    return page("varying", request.headers.get("X-Tenant"))


@smart_cached(ttl=60)
def varying_more(request: HttpRequest) -> HttpResponse:
    """Says only for some tenants that it varies on the colour too."""
    response = page("varying more", request.headers.get("X-Tenant"))
    response["Vary"] = "X-Tenant"
    if request.headers["X-Tenant"] == "a":
        response.write(request.headers.get("X-Colour"))
        response["Vary"] = "X-Tenant, X-Colour"
    return response


def _cookie() -> HttpResponse:
    response = page("cookie")
    response.set_cookie("a", "b")
    return response


RESPONSES: dict[str, Any] = {
    "set-cookie": _cookie,
    "private": lambda: cache_control(private=True)(lambda request: page("private"))(HttpRequest()),
    "no-store": lambda: cache_control(no_store=True)(lambda request: page("store"))(HttpRequest()),
    "streaming": lambda: StreamingHttpResponse([str(count("streaming"))]),
    "redirect": lambda: HttpResponse(str(count("redirect")), status=302, headers={"Location": "/"}),
    "error": lambda: HttpResponse(str(count("error")), status=500),
    "not found": lambda: HttpResponse(str(count("not found")), status=404),
    "vary star": lambda: HttpResponse(str(count("star")), headers={"Vary": "*"}),
}


@smart_cached(ttl=60)
def responding(request: HttpRequest, what: str) -> Any:
    return RESPONSES[what]()


@smart_cached(ttl=60, cache_errors=True)
def missing(request: HttpRequest, how: str) -> HttpResponse:
    count("missing")
    if how == "raised":
        raise Http404
    return HttpResponse(status=404)


@smart_cached(ttl=60)
def local(request: HttpRequest) -> HttpResponse:
    return page("local", f"{translation.get_language()} {timezone.get_current_timezone_name()}")


@smart_cached(ttl=60)
@xframe_options_exempt
def framed(request: HttpRequest) -> HttpResponse:
    return page("framed")


@smart_cached(ttl=60)
async def in_a_task(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    names = [product.name async for product in Product.objects.order_by("name")]
    return page("task", names)


@smart_cached(ttl=60)
async def private_in_a_task(request: HttpRequest) -> HttpResponse:
    user = await request.auser()  # type: ignore[attr-defined]
    return page("private task", user)


@smart_cached(ttl=60, vary="user")
async def of_user_in_a_task(request: HttpRequest) -> HttpResponse:
    user = await request.auser()  # type: ignore[attr-defined]
    return page("user task", user)


@smart_cached(ttl=60)
async def slow(request: HttpRequest) -> HttpResponse:
    await gate.wait()
    return page("slow")


class Decorated(View):
    @method_decorator(smart_cached(ttl=60))
    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        return page("method_decorator", pk)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        return page("post", pk)


class Direct(View):
    @smart_cached(ttl=60)
    def get(self, request: HttpRequest) -> HttpResponse:
        return page("direct")


@method_decorator(smart_cached(ttl=60), name="dispatch")
class Dispatched(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return page("dispatched")


urlpatterns = [
    path("plain/", plain),
    path("json/<int:pk>/", as_json),
    path("products/", products),
    path("products-task/", products_in_a_task),
    path("reading/<str:what>/", reading),
    path("of-user/<str:what>/", of_user),
    path("by-callable/<str:what>/", by_callable),
    path("varying/", varying),
    path("varying-more/", varying_more),
    path("responding/<str:what>/", responding),
    path("missing/<str:how>/", missing),
    path("local/", local),
    path("framed/", framed),
    path("task/", in_a_task),
    path("private-task/", private_in_a_task),
    path("user-task/", of_user_in_a_task),
    path("slow/", slow),
    path("decorated/<int:pk>/", Decorated.as_view()),
    path("direct/", Direct.as_view()),
    path("dispatched/", Dispatched.as_view()),
    path("as-view/", smart_cached(ttl=60)(Direct.as_view())),
]
