"""A request that is watched behaves as any other, and what is looked at in it counts."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest, HttpResponse
from django.http.request import HttpHeaders
from django.template import Context, Engine
from django.test import AsyncRequestFactory, RequestFactory

from djsmartcache import smart_cached
from djsmartcache.recording import recording
from tests.stores import store

__all__ = ["store"]

NONE: set[str] = set()
ITEM, WHOLE, EITHER, NOTHING = "item", "whole", "either", "nothing"

# By name: what is done with a mapping and a key, and what of the mapping that is a read of.
FORMS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "get": (lambda m, k: m.get(k), ITEM),
    "get or else": (lambda m, k: m.get(k, "else"), ITEM),
    "[]": (lambda m, k: m[k], ITEM),
    "in": (lambda m, k: k in m, ITEM),
    "not in": (lambda m, k: k not in m, ITEM),
    "has_key": (lambda m, k: m.has_key(k), ITEM),
    "pop": (lambda m, k: m.pop(k), ITEM),
    "pop or else": (lambda m, k: m.pop(k, "else"), ITEM),
    "setdefault": (lambda m, k: m.setdefault(k, "else"), ITEM),
    "setdefault to none": (lambda m, k: m.setdefault(k), ITEM),
    "% ": (lambda m, k: f"%({k})s" % m, ITEM),
    "format_map": (lambda m, k: f"{{{k}}}".format_map(m), ITEM),
    "match": (lambda m, k: match(m, k), EITHER),
    "del": (lambda m, k: m.__delitem__(k), EITHER),
    "set": (lambda m, k: m.__setitem__(k, "new"), NOTHING),
    "update": (lambda m, k: m.update({k: "new"}), NOTHING),
    "clear": (lambda m, k: m.clear(), EITHER),
    "items": (lambda m, k: list(m.items()), WHOLE),
    "keys": (lambda m, k: list(m.keys()), WHOLE),
    "values": (lambda m, k: list(m.values()), WHOLE),
    "len": (lambda m, k: len(m), WHOLE),
    "iteration": (lambda m, k: [each for each in m], WHOLE),  # noqa: C416
    "list": (lambda m, k: list(m), WHOLE),
    "sorted": (lambda m, k: sorted(m), WHOLE),
    "reversed": (lambda m, k: list(reversed(m)), WHOLE),
    "dict": (lambda m, k: dict(m), WHOLE),
    "**": (lambda m, k: {**m}, WHOLE),
    "arguments": (lambda m, k: (lambda **given: given)(**m), WHOLE),
    "|": (lambda m, k: m | {"more": 1}, WHOLE),
    "| of another": (lambda m, k: {"more": 1} | m, WHOLE),
    "bool": (lambda m, k: bool(m), WHOLE),
    "not": (lambda m, k: not m, WHOLE),
    "==": (lambda m, k: m == {k: "x"}, WHOLE),
    "== of another": (lambda m, k: {k: "x"} == m, WHOLE),
    "!=": (lambda m, k: m != {k: "x"}, WHOLE),
    "== of itself": (lambda m, k: m == m, WHOLE),
    "<": (lambda m, k: m < {}, EITHER),
    "repr": (lambda m, k: repr(m) if " object at " not in repr(m) else "", WHOLE),
    "copy": (lambda m, k: contents(m.copy()), WHOLE),
    "copy.copy": (lambda m, k: contents(copy.copy(m)), WHOLE),
    "deepcopy": (lambda m, k: contents(copy.deepcopy(m)), WHOLE),
    "pickle": (lambda m, k: contents(pickle.loads(pickle.dumps(m))), WHOLE),
    "json": (lambda m, k: json.dumps(m), WHOLE),
    "str.join": (lambda m, k: ",".join(m), WHOLE),
    "any": (lambda m, k: any(m), WHOLE),
    "popitem": (lambda m, k: m.popitem(), WHOLE),
    "hash": (lambda m, k: hash(m) and None, EITHER),
    "attribute": (lambda m, k: getattr(m, k), EITHER),
    "index": (lambda m, k: m[0], EITHER),
    "isinstance": (lambda m, k: (isinstance(m, dict), callable(m)), EITHER),
}
# A session is equal to itself alone, prints as an object, and had no truth of its own once.
OTHERWISE = {("session", form): EITHER for form in FORMS if "=" in form or form == "repr"}
if not hasattr(SessionStore, "__bool__"):
    OTHERWISE |= {("session", "bool"): EITHER, ("session", "not"): EITHER}


def match(mapping: Any, key: str) -> Any:
    match mapping:
        case {"theme": found}:
            return found
    return None


def contents(made: Any) -> Any:
    if isinstance(made, SessionStore):
        return type(made).__name__, dict(made.items())
    return isinstance(made, HttpHeaders), isinstance(made, dict), dict(made)


KEYS = {
    "COOKIES": ("theme", "absent"),
    "META": ("HTTP_X_TENANT", "HTTP_X_ABSENT"),
    "environ": ("HTTP_X_TENANT", "HTTP_X_ABSENT"),
    "headers": ("X-Tenant", "X-Absent"),
    "session": ("theme", "absent"),
}
NOTED = {
    "COOKIES": ("cookies", "cookie:{}"),
    "META": ("META:*", "header:x-{}"),
    "environ": ("META:*", "header:x-{}"),
    "headers": ("header:*", "header:x-{}"),
    "session": ("session", "session:{}"),
}


def request_of() -> HttpRequest:
    request = RequestFactory().get("/x/", headers={"X-Tenant": "ada"})
    request.COOKIES["theme"] = "dark"
    request.session = SessionStore()  # type: ignore[assignment]
    request.session["theme"] = "dark"
    request.session.accessed = request.session.modified = False
    # Streams cannot be compared, pickled or printed alike.
    for name in ("wsgi.input", "wsgi.errors"):
        request.META.pop(name, None)
    return request


def outcome(do: Callable[[], Any]) -> Any:
    try:
        result = do()
    except Exception as error:
        return type(error), error.args if isinstance(error, KeyError) else ()
    return type(result), result if isinstance(result, type) else repr(result)


def left(request: HttpRequest) -> Any:
    """What a request has afterwards."""
    session = request.session
    flags = session.accessed, session.modified
    return request.META, request.COOKIES, dict(session.items()), flags


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("present", [True, False], ids=["present", "absent"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_watched_behaves_as_without(name: str, present: bool, form: str) -> None:
    do, kind = FORMS[form]
    kind = OTHERWISE.get((name, form), kind)
    key = KEYS[name][0 if present else 1]
    plain, watched = request_of(), request_of()
    expected = outcome(lambda: do(getattr(plain, name), key))
    with recording(watched) as record:
        assert outcome(lambda: do(getattr(watched, name), key)) == expected
    assert left(watched) == left(plain)
    assert type(watched) is type(plain)
    whole, item = NOTED[name]
    item = item.format("absent" if not present else "tenant" if "x-" in item else "theme")
    reads = record.reads()
    if expected[0] in (AttributeError, TypeError):
        return  # there is no such thing
    if kind == ITEM:
        assert reads == {item}
    elif kind == WHOLE:
        # A session has no iterator, so that Python asks it for the items 0, 1, ...
        assert reads & {whole, "session:0"} if name != "headers" else reads
    elif kind == NOTHING:
        assert reads == NONE


TEMPLATES = {
    "cookie": "{{ request.COOKIES.KEY }}",
    "header": "{{ request.headers.KEY }}",
    "META": "{{ request.META.HTTP_KEY }}",
    "session": "{{ request.session.KEY }}",
    "default": "{{ request.COOKIES.KEY|default:'none' }}",
    "if": "{% if request.session.KEY %}yes{% else %}no{% endif %}",
    "if in": "{% if 'KEY' in request.COOKIES %}yes{% else %}no{% endif %}",
    "if in session": "{% if 'KEY' in request.session %}yes{% else %}no{% endif %}",
    "with": "{% with x=request.session.KEY %}{{ x }}{% endwith %}",
    "for": "{% for k, v in request.session.items %}{{ k }}={{ v }}{% endfor %}",
    "for cookies": "{% for k, v in request.COOKIES.items %}{{ k }}={{ v }}{% endfor %}",
    "index": "{{ request.COOKIES.0 }}{{ request.session.0 }}{{ request.META.0 }}",
    "length": "{{ request.COOKIES|length }}",
    "attribute": "{{ request.session.KEY.deeper }}{{ request.COOKIES.KEY.deeper }}",
    "key": "{{ request.session.session_key }}",
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("key", ["theme", "absent", "x_tenant"])
def test_a_template_finds_what_it_would_find(template: str, key: str) -> None:
    source = TEMPLATES[template].replace("HTTP_KEY", f"HTTP_{key.upper()}").replace("KEY", key)
    made = Engine(string_if_invalid="?").from_string(source)
    expected = made.render(Context({"request": request_of()}))
    watched = request_of()
    with recording(watched) as record:
        assert made.render(Context({"request": watched})) == expected
    assert record.reads()
    of_session = {what for what in record.reads() if what.startswith("session")}
    if template in ("session", "if", "if in session", "with"):
        assert of_session == {f"session:{key}"}, "an item, present or not, is no more than that"


@pytest.mark.usefixtures("store")
@pytest.mark.django_db
@pytest.mark.parametrize("key", ["theme", "absent"])
@pytest.mark.parametrize(
    "read",
    [
        lambda request, key: request.COOKIES[key],
        lambda request, key: request.session[key],
        lambda request, key: request.META[f"HTTP_{key.upper()}"],
        lambda request, key: request.headers[key],
    ],
    ids=["COOKIES", "session", "META", "headers"],
)
def test_a_view_that_minds_an_absent_item_is_not_shared(
    read: Callable[[HttpRequest, str], str], key: str
) -> None:
    @smart_cached(ttl=60, key="minding")
    def view(request: HttpRequest) -> HttpResponse:
        try:
            return HttpResponse(read(request, key))
        except KeyError as error:
            return HttpResponse(f"no {error}")

    for request in (request_of(), request_of()):
        assert view(request).content == view.uncached(request_of()).content
    other = RequestFactory().get("/x/", headers={key: "here"})
    other.COOKIES[key] = "here"
    other.session = SessionStore()  # type: ignore[assignment]
    other.session[key] = "here"
    assert view(other).content == b"here"


@pytest.mark.usefixtures("store")
@pytest.mark.django_db
def test_a_view_that_lets_an_absent_item_raise_raises_it() -> None:
    @smart_cached(ttl=60, key="raising")
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.COOKIES["absent"])

    with pytest.raises(KeyError, match="absent"):
        view(request_of())


ASYNC_FORMS: dict[str, Callable[[Any, str], Any]] = {
    "aget": lambda s, k: s.aget(k),
    "aget or else": lambda s, k: s.aget(k, "else"),
    "apop": lambda s, k: s.apop(k),
    "apop or else": lambda s, k: s.apop(k, "else"),
    "asetdefault": lambda s, k: s.asetdefault(k, "else"),
    "ahas_key": lambda s, k: s.ahas_key(k),
    "akeys": lambda s, k: s.akeys(),
    "aitems": lambda s, k: s.aitems(),
    "avalues": lambda s, k: s.avalues(),
    "aset": lambda s, k: s.aset(k, "new"),
    "aupdate": lambda s, k: s.aupdate({k: "new"}),
}


@pytest.mark.parametrize("key", ["theme", "absent"])
@pytest.mark.parametrize("form", ASYNC_FORMS)
def test_a_session_of_a_task_behaves_as_without(form: str, key: str) -> None:
    def requested() -> HttpRequest:
        request: HttpRequest = AsyncRequestFactory().get("/x/")
        request.session = request_of().session
        return request

    def do(request: HttpRequest) -> Any:
        async def run() -> Any:
            result = ASYNC_FORMS[form](request.session, key)
            return await result if inspect.isawaitable(result) else result

        return outcome(lambda: asyncio.run(run()))

    plain, watched = requested(), requested()
    expected = do(plain)
    with recording(watched) as record:
        assert do(watched) == expected
    assert dict(watched.session.items()) == dict(plain.session.items())
    if form.startswith(("aget", "apop", "asetdefault", "ahas")):
        assert record.reads() == {f"session:{key}"}
    elif form in ("akeys", "aitems", "avalues"):
        assert record.reads() == {"session"}


def test_a_session_of_two_requests_counts_for_the_second_as_well() -> None:
    outer, inner = RequestFactory().get("/"), HttpRequest()
    outer.session = inner.session = SessionStore()
    outer.session["theme"] = "dark"
    with recording(outer), recording(inner) as record:
        assert inner.session["theme"] == "dark"
    assert "session" in record.reads()
