"""Views: what one visitor's page is made of never reaches another, however it came there."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import logging
import threading
import types
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.messages import get_messages
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest, HttpResponse
from django.http.request import HttpHeaders
from django.template import RequestContext, Template
from django.template.response import SimpleTemplateResponse
from django.test import AsyncClient, AsyncRequestFactory, RequestFactory
from django.urls import resolve
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from django.views import View
from django.views.decorators.gzip import gzip_page

from djsmartcache import UnkeyableArgument, cache_set, cache_ttl, smart_cached
from djsmartcache.page_privacy import refusals
from tests import site
from tests.site import Person, identify
from tests.stores import store
from tests.test_views import get, pages, status
from tests.testapp.models import Product

__all__ = ["pages", "store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store", "pages")]

rf = RequestFactory()
NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.timezone.utc)


def request_of(login: str = "", path: str = "/x/", **state: Any) -> HttpRequest:
    request = rf.get(path, headers={"X-Tenant": login})
    if login:
        request.COOKIES["login"] = login
    request.session = SessionStore()  # type: ignore[assignment]
    request.session["cart"] = f"cart of {login}"
    request.session.accessed = request.session.modified = False
    request.user = SimpleLazyObject(lambda: Person(login))  # type: ignore[assignment]
    for name, value in state.items():
        setattr(request, name, value)
    return request


def mixes_up(view: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether what one visitor gets was made for another."""
    first = view(request_of("ada"), *args, **kwargs)
    again = view(request_of("bob"), *args, **kwargs)
    text = [each.content.decode() if hasattr(each, "content") else each for each in (first, again)]
    return "ada" not in text[0] or "bob" not in text[1]


# --- declared by a callable


def test_a_callable_that_reads_the_user_does_not_declare_the_session() -> None:
    @smart_cached(ttl=60, key="page1", vary=lambda request: request.user.pk and 1)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session["cart"])

    assert not mixes_up(view)


def test_a_callable_that_reads_a_part_of_the_user_does_not_declare_another_user() -> None:
    @smart_cached(ttl=60, key="page2", vary=lambda request: request.user.is_authenticated)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.user.username)

    assert not mixes_up(view)
    assert "hit" in status(view(request_of("ada")))


@pytest.mark.parametrize(
    "vary",
    [
        lambda request: request.COOKIES.get("theme"),
        lambda request: request.session.get("theme"),
        lambda request: "theme" in request.session,
    ],
)
def test_a_callable_declares_the_cookies_and_items_that_it_read(vary: Any) -> None:
    @smart_cached(ttl=60, key="page3", vary=vary)
    def cookie(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.COOKIES["login"])

    @smart_cached(ttl=60, key="page4", vary=vary)
    def cart(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session["cart"])

    assert not mixes_up(cookie)
    assert not mixes_up(cart)


def test_what_a_callable_read_by_item_may_be_read() -> None:
    @smart_cached(
        ttl=60,
        key="itemwise",
        vary=lambda request: (request.COOKIES["login"], request.session.get("cart")),
    )
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.COOKIES["login"] + request.session["cart"])

    assert not mixes_up(view)
    assert "hit" in status(view(request_of("ada")))


@pytest.mark.parametrize(
    "vary",
    [
        lambda request: request.COOKIES,
        lambda request: (request.COOKIES,),
        lambda request: bool(request.COOKIES),
        lambda request: any(name == "theme" for name in request.COOKIES),
        lambda request: bool(request.headers.get("Cookie")),
        lambda request: "HTTP_COOKIE" in request.META,
    ],
)
def test_cookies_that_a_callable_looks_at_as_a_whole_are_in_the_key(vary: Any) -> None:
    @smart_cached(ttl=60, key="whole cookies", vary=vary)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.COOKIES["login"])

    assert not mixes_up(view)
    assert "hit" in status(view(request_of("ada")))


@pytest.mark.parametrize(
    "vary",
    [
        lambda request: bool(request.session.session_key),
        lambda request: request.session.is_empty(),
        lambda request: len(request.session.keys()),
        lambda request: bool([*request.session.items()]),
    ],
)
def test_a_session_that_a_callable_looks_at_as_a_whole_is_in_the_key(vary: Any) -> None:
    @smart_cached(ttl=60, key="whole session", vary=vary)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session["cart"])

    assert not mixes_up(view)
    assert "hit" in status(view(request_of("ada")))


def test_a_session_that_no_content_tells_keeps_pages_that_vary_by_it_from_being_cached() -> None:
    @smart_cached(ttl=60, key="odd session", vary=lambda request: request.session.is_empty())
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session["cart"].name)

    for name in ("ada", "bob"):
        request = request_of(name)
        request.session["cart"] = types.SimpleNamespace(name=name, lock=threading.Lock())
        assert view(request).content.decode() == name


def test_what_the_key_names_of_the_request_may_be_read() -> None:
    @smart_cached(ttl=60, key="page:{request.user.pk}:{request.COOKIES[login]}")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.user.username + request.COOKIES["login"])

    assert not mixes_up(view)
    assert "hit" in status(view(request_of("ada")))


def test_a_callable_of_a_method_gets_the_request_first() -> None:
    class Shop(View):
        @smart_cached(ttl=60, key="page5", vary=lambda request, **_: request.COOKIES["login"])
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.COOKIES["login"])

    assert not mixes_up(Shop.as_view())


class Service:
    """Holds what it needs of a request, under the name that REST framework's requests have for
    Django's."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._data = {"name": request.COOKIES["login"]}

    @smart_cached(ttl=60)
    def method(self) -> str:
        return self._data["name"]


@smart_cached(ttl=60)
def name_of(service: Service) -> str:
    return service._data["name"]


@pytest.mark.parametrize("call", [Service.method, name_of])
def test_what_holds_a_request_is_not_taken_for_one(call: Any) -> None:
    with pytest.raises(UnkeyableArgument, match="has no stable identity"):
        call(Service(request_of("ada")))


# --- declared by the user


class Guest(AnonymousUser):
    def __init__(self, name: str) -> None:
        self.name = name


class Account:
    """A user of a token or another service."""

    is_authenticated = True

    def __init__(self, name: Any, pk: Any = 1) -> None:
        self.name = name
        self.pk = pk


class Slim:
    __slots__ = ("name", "pk")
    is_authenticated = True

    def __init__(self, name: str) -> None:
        self.name, self.pk = name, 1


class Nobody:
    is_authenticated = True


class GuestOfTable(User):
    is_authenticated = False

    class Meta:
        proxy = True
        app_label = "testapp"


class Tenant:
    """What no content tells: it has a lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


JOINED = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def carrying(user: Any, name: Any) -> Any:
    user.name = name
    return user


def page_of(view: Any, user: Any) -> Any:
    return view(request_of(user=user))


def of_users(key: str) -> tuple[Any, Any]:
    """A page, and a function of the request, that show what its user carries."""

    @smart_cached(ttl=60, key=key, vary="user")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.user.name))  # type: ignore[union-attr]

    @smart_cached(ttl=60, key=f"{key} data", vary="user")
    def data(request: HttpRequest) -> str:
        return str(request.user.name)  # type: ignore[union-attr]

    return view, data


@pytest.mark.parametrize(
    "user",
    [
        lambda name: carrying(AnonymousUser(), name),
        Guest,
        lambda name: SimpleLazyObject(lambda: Guest(name)),
        Account,
        lambda name: Account([{name}]),
        Slim,
        lambda name: types.SimpleNamespace(name=name, pk=1, is_authenticated=True),
        lambda name: carrying(GuestOfTable(pk=1, username=name, date_joined=JOINED), name),
        lambda name: carrying(User(pk=1, date_joined=JOINED), name),
    ],
)
def test_users_differ_by_all_that_they_carry(user: Any) -> None:
    view, data = of_users("carried")

    for name in ("ada", "bob"):
        assert name in page_of(view, user(name)).content.decode()
        assert "hit" in status(page_of(view, user(name)))
        assert name in page_of(data, user(name))
        assert name in page_of(data, user(name))


@pytest.mark.parametrize(
    "user",
    [
        lambda name: carrying(AnonymousUser(), Tenant(name)),
        lambda name: Guest(Tenant(name)),  # type: ignore[arg-type]
        lambda name: Account(Tenant(name)),
        lambda name: carrying(User(pk=1), Tenant(name)),
        lambda name: carrying(User(pk=1), [{1: Tenant(name)}]),
        lambda name: carrying(User(), name),
        lambda name: carrying(Nobody(), name),
    ],
)
def test_users_who_carry_what_no_content_tells_go_past_the_cache(user: Any) -> None:
    view, data = of_users("not carried")

    for name in ("ada", "bob", "ada"):
        one = user(name)
        made = page_of(view, one)
        assert made.content.decode() == str(one.name)
        assert "fwd=bypass" in status(made)
        assert page_of(data, one) == str(one.name)


def test_visitors_without_anything_of_their_own_share_a_page() -> None:
    @smart_cached(ttl=60, key="visitors", vary="user")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.user))

    page_of(view, AnonymousUser())
    assert "hit" in status(page_of(view, SimpleLazyObject(AnonymousUser)))


# --- class-based views


class Keeping(View):
    tenant: Any = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.tenant = request.headers["X-Tenant"]
        return super().dispatch(request, *args, **kwargs)

    @smart_cached(ttl=60, key="page6")
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(self.tenant)


class KeepingObject(Keeping):
    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.who = type("Who", (), {"name": request.COOKIES["login"]})()

    @method_decorator(smart_cached(ttl=60))
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(self.who.name)


class KeepingUser(View):
    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.user = request.user
        self.shop = SimpleLazyObject(lambda: request.COOKIES["login"])

    @smart_cached(ttl=60, key="page7")
    def get(self, request: HttpRequest, what: str) -> HttpResponse:
        return HttpResponse(str(getattr(self, what)) if what else "nothing")


def test_what_a_view_has_kept_is_part_of_its_key() -> None:
    assert not mixes_up(Keeping.as_view())
    assert "hit" in status(Keeping.as_view()(request_of("ada")))


def test_a_view_that_keeps_what_cannot_be_in_a_key_is_not_cached() -> None:
    assert not mixes_up(KeepingObject.as_view())
    assert "fwd=bypass" in status(KeepingObject.as_view()(request_of("ada")))


def test_a_lazy_thing_that_a_view_has_kept_counts_once_evaluated() -> None:
    view = KeepingUser.as_view()
    assert not mixes_up(view, "user")
    assert not mixes_up(view, "shop")
    assert "stored" in status(view(request_of("ada"), ""))
    assert "hit" in status(view(request_of("bob"), ""))


def test_what_as_view_was_given_does_not_keep_a_view_from_being_cached() -> None:
    class Listing(View):
        queryset: Any = None

        @smart_cached(ttl=60, key="page8")
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(",".join(p.name for p in self.queryset.all()))

    view = Listing.as_view(queryset=Product.objects.order_by("name"))
    request = request_of()
    match = request.resolver_match = resolve("/plain/", "tests.site")
    match.func = view
    assert "stored" in status(view(request))
    assert "hit" in status(view(request))


# --- what is free because the key has it


def test_the_charset_that_a_client_claims_is_part_of_the_key() -> None:
    @smart_cached(ttl=60, key="page9")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.GET["q"])

    claimed = view(rf.get("/x/?q=%C3%A9", CONTENT_TYPE="text/plain; charset=koi8-r"))
    assert claimed.content.decode() != "é"
    assert view(rf.get("/x/?q=%C3%A9")).content.decode() == "é"


@pytest.mark.parametrize(
    "read",
    [
        lambda request: request.content_type,
        lambda request: request.content_params,
        lambda request: request.encoding,
        lambda request: request.META["SERVER_PROTOCOL"],
        lambda request: vars(request)["customer"],
        lambda request: request.__dict__["customer"],
        lambda request: request.POST.get("a"),
        lambda request: request.session.__dict__["_session_cache"]["cart"],
    ],
)
def test_what_a_client_or_middleware_may_set_is_not_shared(read: Any) -> None:
    @smart_cached(ttl=60, key="page10")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(read(request)))

    def ask(name: str) -> bytes:
        request = rf.get(
            "/x/", CONTENT_TYPE=f"{name}/x; charset={name}; a={name}", SERVER_PROTOCOL=name
        )
        request.customer = name  # type: ignore[attr-defined]
        request.POST = {"a": name}  # type: ignore[assignment]
        request.session = request_of(name).session
        return bytes(view(request).content)

    assert ask("utf-8") != ask("latin-1")


@pytest.mark.parametrize("name", ["tenant", "_tenant", "plan", "_plan", "user", "session"])
@pytest.mark.parametrize(
    "read",
    [
        lambda request, name: getattr(request, name, None),
        hasattr,
        lambda request, name: vars(request).get(name),
    ],
)
def test_what_middleware_sets_for_some_requests_alone_is_not_shared(
    name: str, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "plan" in name:
        monkeypatch.setattr(HttpRequest, name, None, raising=False)

    @smart_cached(ttl=60, key="set for some")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(read(request, name)))

    @smart_cached(ttl=60, key="data set for some")
    def data(request: HttpRequest) -> str:
        return str(read(request, name))

    without, given = rf.get("/x/"), rf.get("/x/")
    setattr(given, name, "ada")
    for request in (without, given, without, given):
        expected = str(read(request, name))
        assert view(request).content.decode() == expected
        assert data(request) == expected


def test_what_django_asks_for_in_vain_keeps_no_page_from_being_shared() -> None:
    @smart_cached(ttl=60, key="in vain")
    def view(request: HttpRequest) -> HttpResponse:
        text = Template("{{ a }}").render(RequestContext(request, {"a": 1}))
        getattr(request, "_csp_nonce", None)  # as the context processor `csp` does
        request.upload_handlers  # noqa: B018
        return HttpResponse(text + str(list(get_messages(request))) + str(request.POST))

    for state in ("stored", "hit"):
        request = rf.get("/x/")
        request.csrf_processing_done = True  # type: ignore[attr-defined]
        assert state in status(view(request))


@pytest.mark.parametrize("name", ["PATH_INFO", "REQUEST_METHOD", "SCRIPT_NAME", "QUERY_STRING"])
def test_what_meta_says_of_the_path_is_part_of_the_key(name: str) -> None:
    @smart_cached(ttl=60, key="meta")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.META[name])

    def ask(said: str) -> Any:
        request = rf.get("/x/")
        request.META[name] = said  # as middleware that rewrites paths or methods leaves it
        return view(request)

    assert [ask(said).content for said in ("one", "two")] == [b"one", b"two"]
    assert "hit" in status(ask("one")) or name == "REQUEST_METHOD"


def test_time_zones_of_one_name_do_not_share_a_page() -> None:
    @smart_cached(ttl=60, key="zones")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(timezone.localtime(NOON)))

    def ask(hours: int) -> bytes:
        zone = datetime.timezone(datetime.timedelta(hours=hours), "browser")
        with timezone.override(zone):
            return bytes(view(rf.get("/x/")).content)

    assert ask(1).endswith(b"13:00:00+01:00")
    assert ask(5).endswith(b"17:00:00+05:00")


def test_a_time_zone_that_cannot_be_in_a_key_keeps_pages_from_being_cached() -> None:
    class Local(datetime.tzinfo):
        def __init__(self, hours: int) -> None:
            self.hours = hours

        def utcoffset(self, _: Any) -> datetime.timedelta:
            return datetime.timedelta(hours=self.hours)

        def dst(self, _: Any) -> datetime.timedelta:
            return datetime.timedelta(0)

        def tzname(self, _: Any) -> str:
            return "local"

    @smart_cached(ttl=60, key="odd zones")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(timezone.localtime(NOON)))

    for hours in (1, 5):
        with timezone.override(Local(hours)):
            response = view(rf.get("/x/"))
        assert response.content.decode().endswith(f"0{hours}:00")
        assert "time zone" in status(response)


def test_a_query_that_middleware_has_replaced_is_part_of_the_key() -> None:
    @smart_cached(ttl=60, key="page11")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.GET.get("tenant", ""))

    def ask(tenant: str) -> HttpResponse:
        request = rf.get("/x/")
        request.GET = request.GET.copy()  # type: ignore[assignment]
        if tenant:
            request.GET["tenant"] = tenant
        return view(request)

    for tenant in ("ada", "bob", ""):
        assert ask(tenant).content.decode() == tenant
    looked_at = rf.get("/x/")
    assert not looked_at.GET
    assert "hit" in status(view(looked_at))


def test_queries_that_are_spelled_in_other_ways_do_not_meet() -> None:
    @smart_cached(ttl=60, key="page12")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.META["QUERY_STRING"])

    for query in ("q=<b>", "q=%3Cb%3E"):
        assert view(rf.get("/x/", QUERY_STRING=query)).content.decode() == query


def test_the_host_of_a_header_that_does_not_make_the_key_counts(settings: Any) -> None:
    settings.USE_X_FORWARDED_HOST = settings.USE_X_FORWARDED_PORT = True

    @smart_cached(ttl=60, key="page13")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.META["HTTP_HOST"])

    @smart_cached(ttl=60, key="page14")
    def port(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.get_port())

    for host in ("evil.example", "good.example"):
        asked = rf.get("/x/", headers={"Host": host, "X-Forwarded-Host": "good.example"})
        assert view(asked).content.decode() == host
    for number in ("81", "82"):
        asked = rf.get("/x/", headers={"X-Forwarded-Port": number})
        assert port(asked).content.decode() == number


# --- where the request is


@pytest.mark.parametrize("of", ["keyword", "third", "list", "dict", "context"])
def test_a_request_is_found_wherever_it_is_given(of: str) -> None:
    def text(request: HttpRequest) -> str:
        return request.COOKIES["login"]

    @smart_cached(ttl=60, key="page:{pk}")
    def by_keyword(request: HttpRequest, pk: int) -> HttpResponse:
        return HttpResponse(text(request))

    @smart_cached(ttl=60, key="third:{a}")
    def third(a: int, b: int, asked: HttpRequest) -> str:
        return text(asked)

    @smart_cached(ttl=60, key="inside")
    def inside(things: Any) -> str:
        return text(things[0] if isinstance(things, list) else things["request"])

    calls: dict[str, Any] = {
        "keyword": lambda request: by_keyword(request=request, pk=1),
        "third": lambda request: third(1, 2, request),
        "list": lambda request: inside([request]),
        "dict": lambda request: inside({"request": request}),
        "context": lambda request: inside(RequestContext(request, {"request": request})),
    }
    assert not mixes_up(calls[of])


def test_a_request_that_cannot_be_found_is_refused() -> None:
    class Holder:
        def __init__(self, request: HttpRequest) -> None:
            self.request = request

    @smart_cached(ttl=60, key="held:{holder.request}")
    def view(holder: Holder) -> str:
        return holder.request.COOKIES["login"]

    with pytest.raises(UnkeyableArgument, match="request"):
        view(Holder(request_of("ada")))


def test_a_response_is_never_stored_but_as_a_page() -> None:
    @smart_cached(ttl=60, key="response")
    def made(login: str) -> HttpResponse:
        return HttpResponse(login)

    assert made("ada").content == b"ada"
    assert made("bob").content == b"bob"


def test_data_made_without_reading_the_request_is_stored_under_its_key() -> None:
    @smart_cached(ttl=60, key="menu:{lang}")
    def menu(request: HttpRequest, lang: str) -> dict[str, str]:
        site.count("menu")
        return {"lang": lang}

    for path in ("/x/", "/y/"):
        assert menu(request_of("ada", path), "de") == {"lang": "de"}
    assert menu(request_of("bob"), "fr") == {"lang": "fr"}
    assert site.runs["menu"] == 2
    assert menu.get(request_of(), "de") == {"lang": "de"}
    assert menu.key(request_of(), "de") == "menu:de"
    assert menu.invalidate(request_of(), "de")
    menu(request_of(), "de")
    assert site.runs["menu"] == 3


@pytest.mark.parametrize("read", ["COOKIES", "path", "GET", "user"])
def test_data_made_of_the_request_is_not_stored_and_that_is_told_once(
    read: str, caplog: pytest.LogCaptureFixture
) -> None:
    @smart_cached(ttl=60, key="data:{lang}")
    def data(request: HttpRequest, lang: str) -> str:
        return str(getattr(request, read)) + str(site.count("data"))

    with caplog.at_level(logging.WARNING, "djsmartcache"):
        for _ in range(3):
            data(request_of("ada"), "de")
    assert site.runs["data"] == 3
    told = [r.getMessage() for r in caplog.records if "not cached" in r.getMessage()]
    assert len(told) == 1
    assert read.lower().rstrip("s") in told[0].lower()


def test_data_varies_by_what_is_declared() -> None:
    @smart_cached(ttl=60, key="mine", vary="user")
    def mine(request: HttpRequest) -> str:
        site.count("mine")
        return str(request.user)

    @smart_cached(ttl=60, key="page15", vary=lambda request: request.path)
    def crumbs(request: HttpRequest) -> list[str]:
        site.count("crumbs")
        return request.path.split("/")

    for _ in range(2):
        assert [mine(request_of(name)) for name in ("ada", "bob")] == ["ada", "bob"]
        assert crumbs(request_of(path="/a/")) != crumbs(request_of(path="/b/"))
    assert (site.runs["mine"], site.runs["crumbs"]) == (2, 2)


async def test_data_of_a_task_is_stored_alike() -> None:
    @smart_cached(ttl=60, key="task:{lang}")
    async def menu(request: HttpRequest, lang: str) -> dict[str, str]:
        site.count("menu")
        return {"lang": lang}

    for _ in range(3):
        assert await menu(AsyncRequestFactory().get("/x/"), "de") == {"lang": "de"}
    assert site.runs["menu"] == 1


# --- views in views


def test_an_outer_view_knows_what_an_inner_one_is_of() -> None:
    @smart_cached(ttl=60, key="page16", vary="user")
    def inner(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.user))

    @smart_cached(ttl=60, key="page17")
    def outer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"<" + inner(request).content + b">")

    for name in ("ada", "bob"):
        inner(request_of(name))
    assert not mixes_up(outer)


def test_an_outer_view_knows_the_headers_that_an_inner_one_varies_on() -> None:
    @smart_cached(ttl=60, key="page18")
    def outer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(site.varying(request).content)

    for name in ("ada", "bob"):
        site.varying(request_of(name))
    assert not mixes_up(outer)


def test_a_view_around_a_cached_one_is_cached_whole() -> None:
    @smart_cached(ttl=60, key="page19")
    def outer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"<" + site.plain(request).content + b">")

    assert "stored" in status(outer(rf.get("/x/")))
    assert status(outer(rf.get("/x/"))) == 'djsmartcache; hit; detail="local"'
    etag = site.plain(rf.get("/x/"))["ETag"]
    assert outer.uncached(rf.get("/x/", headers={"If-None-Match": etag})).content == b"<plain 1 >"


# --- templates and responses


def test_what_middleware_puts_into_a_template_response_reaches_its_visitor_alone() -> None:
    class Rendered(SimpleTemplateResponse):
        @property
        def rendered_content(self) -> str:
            return f"{site.count('rendered')} {self.context_data}"

    @smart_cached(ttl=60, key="page20")
    def view(request: HttpRequest) -> SimpleTemplateResponse:
        return Rendered("unused", {})

    def ask(name: str) -> Any:
        response = view(rf.get("/x/"))
        if name and hasattr(response, "render"):
            response.context_data["name"] = name
        return response.render() if hasattr(response, "render") else response

    for name in ("ada", "bob"):
        response = ask(name)
        assert name in response.content.decode()
        assert "stored" not in status(response)
    assert "stored" in status(ask(""))
    assert "hit" in status(ask(""))


def test_a_callback_that_middleware_adds_to_a_template_response_is_called_for_every_visitor() -> (
    None
):
    class Rendered(SimpleTemplateResponse):
        rendered_content = "page"

    @smart_cached(ttl=60, key="callbacks")
    def view(request: HttpRequest) -> SimpleTemplateResponse:
        response = Rendered("unused", {})
        response.add_post_render_callback(add_mark)
        return response

    def add_mark(response: Any) -> None:
        response.content += b" of the view"

    def ask(name: str) -> bytes:
        def add_name(response: Any) -> None:
            response.content += f" for {name}".encode()

        response = view(rf.get("/x/"))
        if name and hasattr(response, "render"):
            response.add_post_render_callback(add_name)
        response = response.render() if hasattr(response, "render") else response
        return bytes(response.content)

    assert ask("ada") == b"page of the view for ada"
    assert ask("bob") == b"page of the view for bob"
    assert ask("") == ask("") == b"page of the view"


def test_a_decorator_around_a_cached_template_response_does_its_work_on_hits_too() -> None:
    class Rendered(SimpleTemplateResponse):
        rendered_content = "page " * 100

    @gzip_page
    @smart_cached(ttl=60, key="zipped")
    def view(request: HttpRequest) -> SimpleTemplateResponse:
        return Rendered("unused", {})

    for found in ("stored", "hit"):
        response = view(rf.get("/x/", headers={"Accept-Encoding": "gzip"}))
        if hasattr(response, "render"):
            response.render()
        assert found in status(response)
        assert gzip.decompress(response.content) == b"page " * 100


def test_what_a_response_carries_and_cannot_be_kept_keeps_it_from_being_stored() -> None:
    @smart_cached(ttl=60, key="page21")
    def view(request: HttpRequest) -> HttpResponse:
        response = HttpResponse("x")
        response.owner = object()  # type: ignore[attr-defined]
        return response

    for _ in range(2):
        response = view(rf.get("/x/"))
        assert hasattr(response, "owner")
        assert "owner" in status(response)


@pytest.mark.parametrize("control", ["no-cache", "max-age=0", "max-age=60, s-maxage=0"])
def test_a_response_that_forbids_shared_caches_is_not_stored(control: str) -> None:
    @smart_cached(ttl=60, key="page22")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("x", headers={"Cache-Control": control})

    assert "stored" not in status(view(rf.get("/x/")))


def test_a_response_is_kept_no_longer_than_it_allows() -> None:
    @smart_cached(ttl=600, key="page30")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("x", headers={"Cache-Control": "max-age=60"})

    view(rf.get("/x/"))
    kept = cache_ttl(view.key(rf.get("/x/")))
    assert kept is not None
    assert kept <= 60


def test_a_304_tells_where_it_came_from() -> None:
    etag = get("/plain/")["ETag"]
    response = get("/plain/", **{"If-None-Match": etag})
    assert response.status_code == 304
    assert "hit" in status(response)


# --- handles


def test_handles_take_and_give_responses() -> None:
    @smart_cached(ttl=60, key="page23")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("made", headers={"Vary": "X-Tenant"})

    assert view.get(request_of("ada"), default="none") == "none"
    view(request_of("ada"))
    assert view.get(request_of("ada")).content == b"made"
    assert view.get(request_of("bob"), default="none") == "none"
    assert view.set(request_of("ada"), value=HttpResponse("given"))
    assert view(request_of("ada")).content == b"given"
    assert view.set(request_of("ada"), value=HttpResponse("of ada", headers={"Vary": "X-Tenant"}))
    assert view(request_of("ada")).content == b"of ada"
    assert view(request_of("bob")).content == b"made"
    with pytest.raises(TypeError, match="responses"):
        view.set(request_of("ada"), value="text")
    with pytest.raises(ValueError, match="cookie"):
        view.set(request_of("ada"), value=site.RESPONSES["set-cookie"]())


@pytest.mark.parametrize("junk", ["text", ("djsmartcache.response.1",), None, 5])
def test_what_is_no_page_under_the_key_of_one_is_a_miss(junk: Any) -> None:
    @smart_cached(ttl=60, key="junk")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")

    cache_set(view.key(rf.get("/x/")), junk)
    cache_set("junk", junk)
    assert view(rf.get("/x/")).content == b"page"
    assert "hit" in status(view(rf.get("/x/")))


# --- what goes on at once


def test_nobody_waits_for_a_page_that_was_not_shared_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Barrier(2)
    together = threading.Event()

    @smart_cached(ttl=60, key="page24")
    def view(request: HttpRequest) -> HttpResponse:
        if together.is_set():
            gate.wait(20)  # broken if the two do not run at once
        return HttpResponse(request.COOKIES["login"])

    view(request_of("ada"))
    together.set()
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(view(request_of(name)).content))
        for name in ("ada", "bob")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [b"ada", b"bob"]
    later = refusals.clock() + refusals.SECONDS + 1
    assert any(key in refusals for key in list(refusals._until))
    monkeypatch.setattr(refusals, "clock", lambda: later)
    assert not any(key in refusals for key in list(refusals._until))


def test_a_page_that_fails_is_served_stale_though_it_varies(store: str) -> None:
    @smart_cached(ttl=60, key="page25", stale=600)
    def view(request: HttpRequest) -> HttpResponse:
        if site.count("stale") > 1:
            raise RuntimeError
        return HttpResponse("page", headers={"Vary": "X-Tenant"})

    assert "stored" in status(view(request_of("ada")))
    marker = cache_ttl(view.key(rf.get("/x/")))
    assert marker is not None
    assert marker > (60 + 600) * 1.05  # it outlives what it leads to
    assert view.get(request_of("ada")).content == b"page"


# --- caching changes nothing else


def test_what_a_view_sees_of_the_request_is_what_it_would_see() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        meta, headers, cookies = request.META, request.headers, request.COOKIES
        assert isinstance(meta, dict)
        assert isinstance(cookies, dict)
        assert isinstance(headers, HttpHeaders)
        assert dict(meta) == meta | {} == {**meta} == meta.copy()
        assert {} | cookies == cookies == {"login": "ada"}
        assert len(headers) == len(dict(headers)) == len(list(headers))
        assert headers == dict(headers)
        assert headers["x_tenant"] == headers.get("X-TENANT") == "ada"
        assert meta.setdefault("NEW", "1") == meta.pop("NEW") == "1"
        meta["A"] = "b"
        assert request.META["A"] == "b"
        del meta["A"]
        assert "A" not in request.META
        assert type(request.session).__name__ == "SessionStore"
        assert isinstance(request.session, SessionStore)
        assert list(request.session.items()) == [("cart", "cart of ada")]
        request.session["x"] = 1
        assert request.session.pop("x") == 1
        return HttpResponse("same")

    request = request_of("ada")
    session = request.session
    view(request)
    assert smart_cached(ttl=60, key="same")(view)(request_of("ada")).content == b"same"
    cached = smart_cached(ttl=60, key="same")(view)
    cached(request)
    assert type(session) is SessionStore
    assert not {name for name in vars(session) if "smartcache" in name}


def test_code_in_c_that_looks_into_cookies_is_noticed() -> None:
    @smart_cached(ttl=60, key="page26")
    def view(request: HttpRequest) -> HttpResponse:
        cookies = request.COOKIES
        return HttpResponse(str(dict.get(cookies, "login")))

    assert not mixes_up(view)


def test_a_user_of_middleware_is_found_once() -> None:
    finds: list[str] = []

    def find(name: str) -> Person:
        finds.append(name)
        return Person(name)

    @smart_cached(ttl=60, key="page27", vary="user")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(request.user))

    identify(view)
    for name in ("ada", "bob"):
        request = request_of(name)
        request.user = SimpleLazyObject(lambda name=name: find(name))  # type: ignore[misc, assignment]
        assert view(request).content.decode() == name
    assert finds == ["ada", "bob"]


kept: list[Any] = []


def keep(request: HttpRequest, name: str, value: Any) -> None:
    """As middleware does that has a lazy thing in a thread-local as well."""
    lazy = SimpleLazyObject(lambda: value)
    setattr(request, name, lazy)
    kept[:] = [lazy]


class Rendering(SimpleTemplateResponse):
    @property
    def rendered_content(self) -> str:
        return str(kept[0])


@pytest.mark.parametrize("name", ["user", "tenant"])
def test_a_lazy_thing_that_is_evaluated_past_the_request_counts(name: str) -> None:
    @smart_cached(ttl=60, key="kept")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(kept[0]))

    @smart_cached(ttl=60, key="kept data")
    def data(request: HttpRequest) -> str:
        return str(kept[0])

    @smart_cached(ttl=60, key="kept template")
    def template(request: HttpRequest) -> HttpResponse:
        return Rendering("unused")

    def ask(cached: Any, who: str) -> str:
        request = request_of()
        keep(request, name, Person(who))
        made = cached(request)
        if isinstance(made, SimpleTemplateResponse):
            made.render()
        return made if isinstance(made, str) else made.content.decode()

    for cached in (view, data, template):
        assert [ask(cached, who) for who in ("ada", "bob", "ada", "bob")] == [
            "ada", "bob", "ada", "bob",
        ]  # fmt: skip


def test_a_lazy_thing_that_is_evaluated_past_the_request_may_be_declared() -> None:
    @smart_cached(ttl=60, key="kept user", vary="user")
    def of_user(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(kept[0]))

    @smart_cached(ttl=60, key="kept tenant", vary=lambda request: str(request.tenant))
    def of_tenant(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(kept[0]))

    for name, view in (("user", of_user), ("tenant", of_tenant)):
        for who in ("ada", "bob"):
            for state in ("stored", "hit"):
                request = request_of()
                keep(request, name, Person(who))
                made = view(request)
                assert made.content.decode() == who
                assert state in status(made)


def test_a_lazy_thing_that_is_not_evaluated_does_not_count() -> None:
    @smart_cached(ttl=60, key="left alone")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("nothing")

    for who, state in (("ada", "stored"), ("bob", "hit")):
        request = request_of(who)
        keep(request, "tenant", Person(who))
        assert state in status(view(request))


# --- more than one at a time


async def test_views_of_one_request_that_overlap_are_recorded_until_the_last_ends() -> None:
    first_began, first_ended, second_began = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @smart_cached(ttl=60, key="first")
    async def first(request: HttpRequest) -> HttpResponse:
        first_began.set()
        await second_began.wait()
        return HttpResponse("first")

    @smart_cached(ttl=60, key="second")
    async def second(request: HttpRequest) -> HttpResponse:
        second_began.set()
        await first_ended.wait()
        return HttpResponse(request.COOKIES["login"])

    async def first_then_tell(request: HttpRequest) -> None:
        await first(request)
        first_ended.set()

    async def then_second(request: HttpRequest) -> None:
        await first_began.wait()
        await second(request)

    request = request_of("ada")
    await asyncio.gather(first_then_tell(request), then_second(request))
    assert (await second(request_of("bob"))).content == b"bob"
    assert type(request).__getattribute__ is object.__getattribute__


def test_data_made_of_a_page_depends_on_what_pages_differ_by() -> None:
    @smart_cached(ttl=60, key="page28")
    def part(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.path)

    @smart_cached(ttl=60, key="box")
    def box(request: HttpRequest) -> bytes:
        return part(request).content

    for path in ("/a/", "/b/"):
        part(request_of(path=path))
    for path in ("/a/", "/b/", "/a/", "/b/"):
        assert box(request_of(path=path)).decode() == path


def test_data_is_made_anew_for_requests_that_do_something() -> None:
    @smart_cached(ttl=60, key="done")
    def done(request: HttpRequest) -> int:
        return site.count("done")

    assert done(rf.get("/x/")) == done(rf.get("/x/")) == 1
    assert [done(rf.post("/x/")) for _ in range(2)] == [2, 3]


def test_what_middleware_reads_before_a_response_is_rendered_counts() -> None:
    class Rendered(SimpleTemplateResponse):
        @property
        def rendered_content(self) -> str:
            return str(self.context_data)

    @smart_cached(ttl=60, key="page29")
    def view(request: HttpRequest) -> SimpleTemplateResponse:
        return Rendered("unused", {"names": []})

    def ask(request: HttpRequest) -> Any:
        response = view(request)
        if hasattr(response, "render"):
            response.context_data["names"].append(request.COOKIES["login"])
            response = response.render()
        return response

    assert not mixes_up(ask)


async def test_a_template_response_of_a_task_is_stored_once_rendered() -> None:
    client = AsyncClient()
    await Product.objects.acreate(name="lamp")
    for _ in range(2):
        assert (await client.get("/products-task/")).content == b"lamp "
    assert site.runs["products"] == 1
    await Product.objects.acreate(name="desk")
    response = await client.get("/products-task/")
    assert response.content == b"desk lamp "
    assert "stored" in status(response)
