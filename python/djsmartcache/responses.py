"""Which responses may be stored, and the compact form in which they are.

A stored response is a plain tuple that the core encodes and copies without pickle: status, headers,
content, and what decorators inside have noted on the response for middleware.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from django.http import (
    Http404,
    HttpResponse,
    HttpResponseGone,
    HttpResponseNotFound,
    HttpResponsePermanentRedirect,
    JsonResponse,
)
from django.http.request import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import parse_http_date_safe

STORABLE: Final = frozenset({200, 203, 300, 301})
STORABLE_ERRORS: Final = frozenset({404, 410})

_RESPONSE: Final = "djsmartcache.response.1"
_VARIES: Final = "djsmartcache.varies.1"
_RAISED: Final = "djsmartcache.http404.1"
_CLASSES: Final = {
    cls.__name__: cls
    for cls in (
        HttpResponse,
        HttpResponseGone,
        HttpResponseNotFound,
        HttpResponsePermanentRedirect,
        JsonResponse,
    )
}
# Attributes that every response has, or that cannot or need not be kept.
_OWN: Final = frozenset(
    {
        "_charset", "_container", "_handler_class", "_is_rendered", "_post_render_callbacks",
        "_reason_phrase", "_request", "_resource_closers", "_resolver_match", "accepted_media_type",
        "accepted_renderer", "closed", "context_data", "context", "cookies", "data", "exception",
        "headers", "renderer_context", "status_code", "template_name", "templates", "using",
        "wsgi_request", "_cached_user",
    }
)  # fmt: skip
Packed = tuple[Any, ...]


def refusal(response: Any, *, cache_errors: bool) -> str:
    """Why a response must not be stored, by itself; "" if it may."""
    if not isinstance(response, HttpResponseBase):
        return "not a response"
    if response.streaming:
        return "streaming"
    status = response.status_code
    if status not in STORABLE and not (cache_errors and status in STORABLE_ERRORS):
        return f"status {status}"
    if response.cookies:
        return "sets a cookie"
    directives = {
        part.strip().partition("=")[0].lower() for part in _list(response, "Cache-Control")
    }
    for directive in ("private", "no-store", "no-cache"):
        if directive in directives:
            return f"Cache-Control: {directive}"
    if max_age(response) == 0:
        return "Cache-Control: max-age=0"
    if "*" in varies_on(response):
        return "Vary: *"
    if response.has_header("Set-Cookie") or response.has_header("WWW-Authenticate"):
        return "sets a cookie or asks for credentials"
    for name, value in vars(response).items():
        if name not in _OWN and not _is_plain(value):
            return f"its attribute {name} cannot be kept"
    return ""


def max_age(response: Any) -> int | None:
    """For how many seconds the response lets shared caches keep it; None: it does not say."""
    ages = {}
    for part in _list(response, "Cache-Control"):
        name, _, value = part.partition("=")
        if (text := value.strip().strip('"')).isdecimal():
            ages[name.strip().lower()] = int(text)
    return ages.get("s-maxage", ages.get("max-age"))


def varies_on(response: Any) -> frozenset[str]:
    """Names of the headers in Vary, in lower case."""
    return frozenset(name.lower() for name in _list(response, "Vary"))


def _list(response: Any, header: str) -> Iterable[str]:
    return filter(None, (part.strip() for part in response.headers.get(header, "").split(",")))


def pack(response: Any) -> Packed:
    """The form in which a response is stored. Gives the response an ETag if it has none."""
    content = response.content
    if response.status_code == 200 and content and not response.has_header("ETag"):
        response.headers["ETag"] = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'
    extras = {k: v for k, v in vars(response).items() if k not in _OWN}
    name = type(response).__name__
    return (
        _RESPONSE,
        name if _CLASSES.get(name) is type(response) else "HttpResponse",
        response.status_code,
        response.reason_phrase,
        tuple((k, v) for k, v in response.headers.items() if k != "Cache-Status"),
        content,
        extras,
    )


def pack_404(error: Http404) -> Packed:
    """What is stored where a view raised Http404."""
    return (_RAISED, *(str(part) for part in error.args))


def is_404(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and value[0] == _RAISED


def raise_404(packed: Packed) -> None:
    """Raise what was packed, if that is what was packed."""
    if is_404(packed):
        raise Http404(*packed[1:])


def _is_plain(value: Any, depth: int = 4) -> bool:
    if isinstance(value, str | int | float | bool | bytes | None):
        return True
    if not depth:
        return False
    if isinstance(value, dict):
        return all(_is_plain(part, depth - 1) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and all(_is_plain(part, depth - 1) for part in value)


def is_packed(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 7 and value[0] == _RESPONSE


def look_of(response: Any) -> tuple[Any, ...]:
    """What an unrendered response will be rendered of, to see whether somebody changes it."""
    context = getattr(response, "context_data", None)
    return (
        response.template_name,
        None if context is None else {name: id(value) for name, value in context.items()},
        tuple(response.headers.items()),
        response.cookies.output(),
        response.status_code,
        # Those of Django's decorators do to what is rendered what they do to any response.
        [
            each
            for each in response._post_render_callbacks
            if getattr(each, "__module__", "") != "django.utils.decorators"
        ],
    )


def unpack(packed: Packed) -> HttpResponse:
    """A new response out of its stored form."""
    _, name, status, reason, headers, content, extras = packed
    cls = _CLASSES.get(name, HttpResponse)
    response: HttpResponse = cls.__new__(cls)
    HttpResponse.__init__(response, content, status=status, reason=reason)
    del response.headers["Content-Type"]
    for header, value in headers:
        response.headers[header] = value
    vars(response).update(extras)
    return response


def marker(names: Iterable[str]) -> Packed:
    """What is stored in place of responses that vary on headers: the names of these."""
    return (_VARIES, *sorted(names))


def marked(value: Any) -> frozenset[str] | None:
    """The names in a marker; None for anything else."""
    if isinstance(value, tuple) and value and value[0] == _VARIES:
        return frozenset(value[1:])
    return None


def conditional(request: HttpRequest, response: Any) -> Any:
    """The response, or 304 if the client has it already; without content for HEAD."""
    whole = response
    if response.status_code == 200:
        modified = response.headers.get("Last-Modified")
        response = get_conditional_response(
            request,
            etag=response.headers.get("ETag"),
            last_modified=modified and parse_http_date_safe(modified),
            response=response,
        )
    if request.method == "HEAD" and response.status_code != 304 and not response.streaming:
        response.headers.setdefault("Content-Length", str(len(response.content)))
        response.content = b""
    if response is not whole and whole.has_header("Cache-Status"):
        response.headers["Cache-Status"] = whole.headers["Cache-Status"]
    return response


def tell(response: Any, *parts: str, detail: str = "") -> None:
    """Add to Cache-Status (RFC 9211) where the response came from."""
    if not isinstance(response, HttpResponseBase):
        return
    said = ["djsmartcache", *parts]
    if detail:
        text = (
            "".join(c for c in detail if " " <= c <= "~").replace("\\", "\\\\").replace('"', '\\"')
        )
        said.append(f'detail="{text}"')
    before = response.headers.get("Cache-Status")
    response.headers["Cache-Status"] = ", ".join(filter(None, (before, "; ".join(said))))
