"""Sessions that read their own writes on any server, and one fence for each request at `strict`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.http.response import HttpResponseBase

from . import conf, levels
from .records import unrecorded

COOKIE: Final = "smartcache_session"
MAX_AGE: Final = math.ceil(levels.BOUND) + 1
"""Seconds. After the bound every process has heard of the write."""


class SmartCacheSessionMiddleware:
    """What SMARTCACHE_CONSISTENCY asks of requests.

    `session`: the response to a request that wrote sets a signed cookie for some seconds; requests
    that bring it read after a fence. `strict`: each request reads after a fence, one for all of its
    reads, which then see what was acknowledged before the request began. `bounded`: nothing.

    Put it first: what other middleware reads is read at the level as well.

    *Cost*: one round trip at the first read of a request that is fenced.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._arespond(request)
        with levels.block(asks=_asks(request)) as block:
            response: HttpResponseBase = self.get_response(request)
        return _told(request, response, block)

    async def _arespond(self, request: HttpRequest) -> HttpResponseBase:
        with levels.block(asks=_asks(request)) as block:
            response: HttpResponseBase = await self.get_response(request)
        return _told(request, response, block)


def _asks(request: HttpRequest) -> bool:
    level = conf.current().consistency
    if level != "session":
        return level == "strict"
    with unrecorded():  # no page differs by it
        cookies = parse_cookie(request.META.get("HTTP_COOKIE", ""))
    return COOKIE in cookies and levels.is_ticket(cookies[COOKIE])


def _told(
    request: HttpRequest, response: HttpResponseBase, block: levels.Block
) -> HttpResponseBase:
    if block.wrote and conf.current().consistency == "session":
        response.set_cookie(
            COOKIE,
            levels.session_ticket(),
            max_age=MAX_AGE,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response
