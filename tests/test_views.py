"""Views: what is answered from the cache, and that nobody gets another's answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import Http404, HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.utils import timezone, translation

from djsmartcache import smart_cached, smartcache_disabled
from tests import site
from tests.stores import store
from tests.testapp.models import Product

__all__ = ["store"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store", "pages")]


@pytest.fixture
def pages(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.site"
    settings.ALLOWED_HOSTS = ["*"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.fallback.FallbackStorage"
    settings.TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "tests.site.identify",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    site.runs.clear()


def get(path: str, login: str = "", **headers: str) -> Any:
    client = Client()
    if login:
        client.cookies["login"] = login
    return client.get(path, headers=headers)


def status(response: Any) -> str:
    return str(response.headers["Cache-Status"])


def test_a_page_is_made_once_and_then_served() -> None:
    first, second = get("/plain/"), get("/plain/")
    assert first.content == second.content == b"plain 1 "
    assert status(first) == "djsmartcache; fwd=miss; stored"
    assert status(second) == 'djsmartcache; hit; detail="local"'


def test_pages_differ_by_query_host_scheme_and_arguments() -> None:
    assert get("/plain/?q=1").content != get("/plain/?q=2").content
    assert get("/plain/", host="a.example").content != get("/plain/", host="b.example").content
    assert Client().get("/plain/").content != Client().get("/plain/", secure=True).content
    assert get("/json/1/").json() == {"pk": 1, "run": 1}
    assert get("/json/2/").json() == {"pk": 2, "run": 2}
    assert get("/json/2/").headers["Content-Type"] == "application/json"


def test_a_view_called_with_other_arguments_at_one_path_is_another_page() -> None:
    request = RequestFactory().get("/same/")
    assert b'"pk": 1' in site.as_json(request, 1).content
    assert b'"pk": 2' in site.as_json(request, 2).content


def test_what_a_template_response_reads_while_rendered_invalidates_it() -> None:
    Product.objects.create(name="lamp")
    assert get("/products/").content == get("/products/").content == b"lamp "
    assert site.runs["products"] == 1
    Product.objects.create(name="desk")
    assert get("/products/").content == b"desk lamp "


# Each of these would hand one visitor's page to the next if its reading went unnoticed.
@pytest.mark.parametrize("what", site.READS)
def test_a_page_that_read_what_is_not_in_its_key_is_not_stored(what: str) -> None:
    for login in ("ada", "bob", "ada"):
        response = get(f"/reading/{what}/", login, **{"X-Tenant": login})
        assert "stored" not in status(response)
        assert "hit" not in status(response)
    assert site.runs[what] == 3


def test_looking_at_the_user_without_evaluating_it_is_no_read() -> None:
    @smart_cached(ttl=60)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{hasattr(request, 'user')}")

    def respond(login: str) -> Any:
        request = RequestFactory().get("/lazy/")
        request.COOKIES["login"] = login
        return site.identify(view)(request)

    assert "stored" in status(respond("ada"))
    assert "hit" in status(respond("bob"))


@pytest.mark.parametrize("what", ["user", "user by template"])
def test_vary_user_keeps_a_page_for_each_user(what: str) -> None:
    url = f"/of-user/{what}/"
    assert get(url, "ada").content == get(url, "ada").content == b"of user 1 ada"
    assert get(url, "bob").content == get(url, "bob").content == b"of user 2 bob"
    assert "stored" in status(get(url))
    assert "hit" in status(get(url))
    assert get(url, "ada").content == b"of user 1 ada"


@pytest.mark.parametrize(
    "what", ["session", "cookie", "what middleware set", "messages", "address"]
)
def test_vary_user_declares_the_user_alone(what: str) -> None:
    for _ in range(2):
        assert "stored" not in status(get(f"/of-user/{what}/", "ada"))
    assert site.runs["of user"] == 2


def test_a_callable_declares_what_it_reads() -> None:
    url = "/by-callable/cookie/"
    assert get(url, "ada").content == get(url, "ada").content == b"by callable 1 ada"
    assert get(url, "bob").content == b"by callable 2 bob"
    for _ in range(2):
        assert "stored" not in status(get("/by-callable/session/", "ada"))


@pytest.mark.parametrize("what", site.RESPONSES)
def test_a_response_that_says_so_is_not_stored(what: str) -> None:
    assert "stored" not in status(get(f"/responding/{what}/"))
    assert "hit" not in status(get(f"/responding/{what}/"))


def test_a_page_lies_apart_for_each_value_of_the_headers_it_varies_on() -> None:
    for tenant in ("a", "b"):
        first = get("/varying/", **{"X-Tenant": tenant})
        again = get("/varying/", **{"X-Tenant": tenant})
        assert first.content == again.content
        assert again.content.endswith(tenant.encode())
        assert "hit" in status(again)
    assert site.runs["varying"] == 2


def test_a_view_that_varies_on_more_than_before_mixes_nothing_up() -> None:
    def ask(tenant: str, colour: str) -> Any:
        return get("/varying-more/", **{"X-Tenant": tenant, "X-Colour": colour})

    ask("b", "red")
    ask("a", "red")
    for colour in ("red", "blue", "red", "blue"):
        assert ask("a", colour).content.endswith(f"a{colour}".encode())
    assert "hit" in status(ask("a", "blue"))


def test_dropping_a_page_drops_it_for_all_headers() -> None:
    requests = [RequestFactory().get("/varying/", headers={"X-Tenant": tenant}) for tenant in "abc"]
    for request in requests:
        site.varying(request)
        assert "hit" in status(site.varying(request))
    assert site.varying.invalidate(RequestFactory().get("/varying/"))  # type: ignore[attr-defined]
    for request in requests:
        assert "stored" in status(site.varying(request))


def test_a_request_whose_user_was_read_before_is_neither_answered_nor_stored() -> None:
    def view(request: HttpRequest) -> Any:
        str(request.user)
        return site.plain(request)

    get("/plain/")
    request = RequestFactory().get("/plain/")
    assert "fwd=bypass" in status(site.identify(view)(request))


@pytest.mark.parametrize("used", ["session", "authorization", "csrf"])
def test_a_request_that_came_with_private_things_used_goes_past_the_cache(used: str) -> None:
    request = RequestFactory().get("/plain/")
    if used == "session":
        request.session = type("S", (), {"accessed": True, "modified": False})()  # type: ignore[assignment]
    elif used == "authorization":
        request.META["HTTP_AUTHORIZATION"] = "Bearer x"
    else:
        request.META["CSRF_COOKIE_NEEDS_UPDATE"] = True
    for _ in range(2):
        assert "fwd=bypass" in status(site.plain(request))


def test_posts_go_past_the_cache() -> None:
    request = RequestFactory().post("/plain/")
    assert status(site.plain(request)) == status(site.plain(request)) == "djsmartcache; fwd=method"


def test_the_request_is_as_it_was_after_the_view() -> None:
    request = RequestFactory().get("/reading/", headers={"X-Tenant": "a"})
    kind, state = type(request), set(request.__dict__)
    site.reading(request, "header")
    assert type(request) is kind
    assert type(request.META) is dict
    assert set(request.__dict__) <= state | {"headers"}


def test_errors_are_stored_where_that_is_asked_for() -> None:
    for how in ("raised", "returned"):
        assert get(f"/missing/{how}/").status_code == 404
        assert get(f"/missing/{how}/").status_code == 404
    assert site.runs["missing"] == 2


def test_a_hit_of_what_was_not_found_has_no_page_of_its_own() -> None:
    request = RequestFactory().get("/missing/")
    for _ in range(2):
        with pytest.raises(Http404):
            site.missing(request, "raised")
    assert site.runs["missing"] == 1


def test_language_and_time_zone_are_part_of_the_key() -> None:
    seen = set()
    for language in ("en", "de"):
        for zone in ("UTC", "Europe/Paris"):
            with translation.override(language), timezone.override(zone):
                seen.add(site.local(RequestFactory().get("/local/")).content)
    assert len(seen) == 4


def test_a_client_that_has_the_page_gets_304() -> None:
    etag = get("/plain/").headers["ETag"]
    response = get("/plain/", **{"If-None-Match": etag})
    assert (response.status_code, response.content) == (304, b"")
    assert site.runs["plain"] == 1


def test_head_is_answered_from_the_page_that_was_got() -> None:
    got = get("/plain/")
    head = Client().head("/plain/")
    assert "hit" in status(head)
    assert head.content == b""
    assert head.headers["Content-Length"] == str(len(got.content))


def test_what_decorators_tell_middleware_is_kept() -> None:
    assert "X-Frame-Options" in get("/plain/").headers
    for _ in range(2):
        assert "X-Frame-Options" not in get("/framed/").headers
    assert site.runs["framed"] == 1


@pytest.mark.parametrize("url", ["/decorated/1/", "/direct/", "/dispatched/", "/as-view/"])
def test_class_based_views_are_cached_in_every_way_to_decorate_them(url: str) -> None:
    assert get(url).content == get(url).content
    assert sum(site.runs.values()) == 1


def test_a_forged_query_does_not_meet_another_page() -> None:
    get("/plain/?q=1")
    for query in ("?q=1%27", "?q=1|", "?q=1%23", "?q=1%00"):
        assert "hit" not in status(get(f"/plain/{query}"))


def test_nothing_is_cached_while_disabled() -> None:
    with smartcache_disabled():
        assert get("/plain/").content != get("/plain/").content


async def test_a_coroutine_view_is_cached_and_invalidated() -> None:
    client = AsyncClient()
    await Product.objects.acreate(name="lamp")
    first, second = await client.get("/task/"), await client.get("/task/")
    assert first.content == second.content
    assert "hit" in status(second)
    await Product.objects.acreate(name="desk")
    assert b"desk" in (await client.get("/task/")).content
    assert site.runs["task"] == 2
