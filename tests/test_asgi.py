"""Views under a real ASGI server: one computes, and private pages stay private."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from django.core.handlers.asgi import ASGIHandler

from tests import site
from tests.servers import free_port
from tests.stores import store
from tests.test_views import pages
from tests.testapp.models import Product
from tests.waiting import Waiters, waiters

__all__ = ["pages", "store", "waiters"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store", "pages")]

WAIT = 20


@pytest.fixture
def server(pages: None, store: str) -> Iterator[int]:
    """Serve the site from a thread of this process; give the port."""
    port = free_port()
    config = uvicorn.Config(ASGIHandler(), port=port, log_level="error", lifespan="off")
    made = uvicorn.Server(config)
    started = threading.Event()
    startup = made.startup

    async def then_tell(*args: Any, **kwargs: Any) -> None:
        await startup(*args, **kwargs)
        started.set()

    made.startup = then_tell  # type: ignore[method-assign]
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    assert started.wait(WAIT)
    yield port
    made.should_exit = True
    thread.join(WAIT)
    assert not thread.is_alive()


def get(port: int, path: str, login: str = "", method: str = "GET") -> tuple[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    connection.request(method, path, headers={"Cookie": f"login={login}"} if login else {})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    assert response.status == 200, body
    return body, response.headers["Cache-Status"]


def test_a_page_is_made_once_and_made_again_after_a_write(server: int) -> None:
    assert get(server, "/task/") == ("task 1 []", "djsmartcache; fwd=miss; stored")
    assert get(server, "/task/") == ("task 1 []", 'djsmartcache; hit; detail="local"')
    Product.objects.create(name="lamp")
    assert get(server, "/task/")[0] == "task 2 ['lamp']"
    body, status = get(server, "/task/", method="HEAD")
    assert (body, "hit" in status) == ("", True)


def test_of_many_requests_at_once_one_computes(
    server: int, waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "gate", asyncio.Event())
    waiters.then(11, lambda: site.gate.set())

    def ask(_: int) -> str:
        return get(server, "/slow/")[0]

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(ask, range(12))) == {"slow 1 "}


@pytest.mark.parametrize("path", ["/private-task/", "/of-user/user/", "/user-task/"])
def test_nobody_gets_another_s_page(server: int, path: str) -> None:
    logins = ["ada", "bob", ""] * 4

    def ask(login: str) -> bool:
        return get(server, path, login)[0].endswith(
            f" {login}" if login else ("AnonymousUser", " ")[path.startswith("/of")]
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, logins))
    assert ("hit" in get(server, path, "ada")[1]) == (path != "/private-task/")


def test_synchronous_views_work_alike(server: int) -> None:
    assert get(server, "/plain/")[0] == get(server, "/plain/")[0] == "plain 1 "
    assert get(server, "/decorated/3/")[0] == get(server, "/decorated/3/")[0]
    assert get(server, "/dispatched/")[0] == get(server, "/dispatched/")[0]


def test_what_a_page_read_of_an_asgi_request_is_noticed(server: int) -> None:
    for what in ("cookie", "cookie of META", "header", "what middleware set", "all of META"):
        for login in ("ada", "bob"):
            assert "stored" not in get(server, f"/reading/{what.replace(' ', '%20')}/", login)[1]
