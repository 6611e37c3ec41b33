"""What is noted of a request while something is made of it, and how.

`recording` sees to it that reads come here. A request belongs to one thread or task at a time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

if TYPE_CHECKING:
    from .request_items import Items

ACTIVE: Final = "_smartcache_records"
"""The attribute by which a watched request or session has its records."""


class Record:
    """What was read: "user", "session:cart", "cookie:theme", "header:accept", "request.tenant"."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.before = frozenset(state_of(request))
        self.of_pages: set[str] = set()
        """What was read that the key of a page has."""
        self._reads: set[str] = set()
        self._lazy: list[tuple[str, Any]] = []
        self._whole: list[tuple[str, Items]] = []

    def note(self, what: str, value: Any = None) -> None:
        """Note a read, of something that counts once it is evaluated if it is lazy."""
        if is_lazy(value):
            self._lazy.append((what, value))
        else:
            self._reads.add(what)

    def note_handed(self, what: str, given: Items) -> None:
        """Note a read of all of a mapping, unless it turns out to be asked for items."""
        self._whole.append((what, given))

    def reads(self) -> set[str]:
        """All that counts by now."""
        lazily = {what for what, value in self._lazy if evaluated(value)}
        return self._reads | lazily | {what for what, given in self._whole if not given.asked}


def covers(declared: Iterable[str], what: str) -> bool:
    """Whether a read is among the declared ones, or part of one that is a whole."""
    known = set(declared)
    kind = what.partition(":")[0]
    return what in known or {"cookie": "cookies", "session": "session"}.get(kind) in known


def is_lazy(value: Any) -> bool:
    return issubclass(type(value), LazyObject)


def evaluated(value: Any) -> bool:
    """Whether a value is there, or a lazy one has been looked at."""
    return not is_lazy(value) or object.__getattribute__(value, "__dict__")["_wrapped"] is not empty


def state_of(request: HttpRequest) -> dict[str, Any]:
    """`vars(request)`, which is no read."""
    state: dict[str, Any] = object.__getattribute__(request, "__dict__")
    return state


_silent: ContextVar[bool] = ContextVar("smartcache_unrecorded", default=False)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Reads of the block are not noted: what they lead to is in the key, or noted as a whole."""
    before = _silent.get()
    _silent.set(True)
    try:
        yield
    finally:
        _silent.set(before)


def note(request: HttpRequest, *whats: str) -> None:
    """Note reads on behalf of whoever records the request by now, if anybody does."""
    for what in whats:
        note_in(state_of(request).get(ACTIVE) or [], what)


def note_of_page(request: HttpRequest, what: str) -> None:
    """Note a read of what the key of a page has."""
    note_of_page_in(state_of(request).get(ACTIVE) or [], what)


def note_page(request: HttpRequest) -> None:
    """Note on behalf of an outer function that what it got depends on the key of a page."""
    note_of_page(request, "request.path and all that pages differ by")


def note_in(records: list[Record], what: str, value: Any = None) -> None:
    """Note a read in each of some records."""
    for record in records:
        record.note(what, value)


def note_of_page_in(records: list[Record], what: str) -> None:
    """Note a read of what the key of a page has in each of some records."""
    for record in records:
        record.of_pages.add(what)


def is_silent() -> bool:
    """Whether reads are those of a block that is `unrecorded`."""
    return _silent.get()


def note_read(request: HttpRequest, what: str) -> None:
    """Note a read, if reads are noted."""
    if not is_silent():
        note(request, what)


def silently(get: Callable[[], Any]) -> Any:
    """Give what `get` gives; reads by it are not noted, nor those of a method that it gives."""
    with unrecorded():
        value = get()
    if not isinstance(value, MethodType):
        return value

    @functools.wraps(value)
    def call(*args: Any, **kwargs: Any) -> Any:
        with unrecorded():
            return value(*args, **kwargs)

    return call


# --- classes that note what is read of their instances

CLASSES: dict[type, type] = {}
"""Those that have been made, by the class that they are made of."""

OF_ANOTHER_CLASS: Final = 1
"""The last protocol by which pickle takes what stands for an object and is of another class."""


def subclass(cls: type, body: dict[str, Any]) -> type:
    """Make a class that looks like ``cls``."""
    # The name and module stay: templates and error pages show them.
    body |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), body)
