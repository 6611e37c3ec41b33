"""META, cookies and headers of a request that note what is read of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.http.request import HttpHeaders

from .records import OF_ANOTHER_CLASS, is_silent, note, note_of_page, note_read, state_of

_META_OF_PAGES: Final = frozenset({"PATH_INFO", "QUERY_STRING", "SCRIPT_NAME"})
_FREE_META: Final = frozenset({"SERVER_SOFTWARE", "CSRF_COOKIE_NEEDS_UPDATE"})


class Items(dict[str, Any]):
    """A dict of the request whose reads are noted; writes reach the request.

    It holds a copy for the sake of code in C that looks at it as at any dict; `asked` tells that
    somebody did not do so.
    """

    def __init__(
        self, real: dict[str, Any], request: HttpRequest, noting: Callable[[HttpRequest, str], None]
    ) -> None:
        super().__init__(real)
        self._real = real
        self._request = request
        self._noting = noting
        self.asked = False

    def _note(self, name: Any = "*") -> dict[str, Any]:
        self.asked = True
        self._noting(self._request, str(name))
        return self._real

    def _copy(self, real: dict[str, Any]) -> None:
        super().clear()
        super().update(real)

    def __getitem__(self, name: str) -> Any:
        return self._note(name)[name]

    def __contains__(self, name: object) -> bool:
        return name in self._note(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self._note(name).get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._note())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._note())

    def __len__(self) -> int:
        return len(self._note())

    def keys(self) -> Any:
        return self._note().keys()

    def values(self) -> Any:
        return self._note().values()

    def items(self) -> Any:
        return self._note().items()

    def __copy__(self) -> dict[str, Any]:
        return self._note().copy()

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return copy.deepcopy(self._note(), memo)

    def __reduce_ex__(self, _: Any) -> Any:
        return dict, (dict(self._note()),)

    def copy(self) -> dict[str, Any]:
        return self._note().copy()

    def __eq__(self, other: object) -> bool:
        return self._note() == other

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        return self._note() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._note()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(self._note())

    def __setitem__(self, name: str, value: Any) -> None:
        self.asked = True
        self._real[name] = value
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        del self._note(name)[name]
        super().pop(name, None)

    def pop(self, name: str, *default: Any) -> Any:
        super().pop(name, None)
        return self._note(name).pop(name, *default)

    def popitem(self) -> Any:
        made = self._note().popitem()
        super().pop(made[0], None)
        return made

    def setdefault(self, name: str, default: Any = None) -> Any:
        super().setdefault(name, default)
        return self._note(name).setdefault(name, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.asked = True
        self._real.update(*args, **kwargs)
        self._copy(self._real)

    def clear(self) -> None:
        self.asked = True
        self._real.clear()
        super().clear()


def note_cookie(request: HttpRequest, name: str) -> None:
    note_read(request, "cookies" if name == "*" else f"cookie:{name}")


def note_meta(request: HttpRequest, name: str) -> None:
    if is_silent() or name in _FREE_META:
        return
    if name in _META_OF_PAGES or _is_of_pages(request, name):
        note_of_page(request, f"META:{name}")
    else:
        note(request, meaning(name))


def _is_of_pages(request: HttpRequest, name: str) -> bool:
    if name == "HTTP_HOST":
        return not settings.USE_X_FORWARDED_HOST  # the host of the key may be another header's
    state = state_of(request)
    return name == "REQUEST_METHOD" and state["META"].get(name) == state.get("method")


def meaning(name: str) -> str:
    """What reading this item of META is noted as."""
    if name == "CSRF_COOKIE":
        return "csrf token"
    if name == "HTTP_COOKIE":
        return "cookies"
    if name.startswith("HTTP_"):
        return f"header:{name[5:].replace('_', '-').lower()}"
    if name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return f"header:{name.replace('_', '-').lower()}"
    return f"META:{name}"


class Headers(HttpHeaders):
    """`request.headers` whose reads are noted."""

    def __init__(self, headers: HttpHeaders, request: HttpRequest) -> None:
        self._real = headers
        self._request = request

    @property
    def _store(self) -> Any:  # type: ignore[override]
        note_read(self._request, "header:*")
        return self._real._store

    def __getitem__(self, name: str) -> str:
        note_meta(self._request, HttpHeaders.to_wsgi_name(name))
        return self._real[name]

    def __reduce_ex__(self, _: Any) -> Any:
        note_read(self._request, "header:*")
        return self._real.__reduce_ex__(OF_ANOTHER_CLASS)
