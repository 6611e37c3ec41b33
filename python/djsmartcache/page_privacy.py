"""Whether a page is of one visitor: what its making used of the request that its key lacks."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from .page_keys import PageKeys
from .records import Record, covers, evaluated, state_of, unrecorded


class Privacy:
    """Of what one request leads to.

    Args:
        given: The request as the view gets it: Django's, or one around it.
        page_keys: What the key has of it.
    """

    def __init__(self, given: Any, page_keys: PageKeys) -> None:
        self._given = given
        self._request = page_keys.request
        self._page_keys = page_keys
        session = state_of(self._request).get("session")
        with unrecorded():
            self._session_used = bool(
                getattr(session, "accessed", False) or getattr(session, "modified", False)
            )

    def used_before(self) -> str:
        """What of the request was used before the view, and is not in the key; "" for nothing."""
        with unrecorded():
            return self._used_before()

    def _used_before(self) -> str:
        request, state = self._request, state_of(self._request)
        declared = self._page_keys.declared
        if "user" not in declared:
            user = state.get("user")
            wrapped = self._given is not request
            known = user is not None and evaluated(user) and not wrapped
            # REST framework authenticates before the handler; without a way to, it sets a constant.
            if wrapped and getattr(self._given, "authenticators", None):
                known = True
            if known or "_cached_user" in state or "_acached_user" in state:
                return "the user was read before the view"
            if "HTTP_AUTHORIZATION" in request.META and "header:authorization" not in declared:
                return "Authorization"
            if self._session_used and "session" not in declared:
                return "the session was read before the view"
        if request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
            return "csrf token"
        if hasattr(state.get("_messages"), "_loaded_data"):
            return "messages were read before the view"
        return ""

    def used(
        self, records: Sequence[Record], *, varies_on: Iterable[str] = (), as_page: bool = True
    ) -> list[str]:
        """What the making of an answer used that neither its key has nor these headers.

        Args:
            records: Of the making, in order.
            varies_on: Names of headers, in lower case.
            as_page: Whether its key is that of a page, which has the path and the like.
        """
        allowed = set(self._page_keys.declared) | {f"header:{name}" for name in varies_on}
        if "cookie" in varies_on:
            allowed.add("cookies")
        reads = reads_of(records)
        if not as_page:
            reads = reads.union(*(record.of_pages for record in records))
        private = sorted(read for read in reads if not covers(allowed, read))
        return private or self._changes(records)

    def _changes(self, records: Sequence[Record]) -> list[str]:
        """What was done that shows in no read."""
        state = state_of(self._request)
        if "user" not in self._page_keys.declared and any(
            name in state and name not in records[0].before
            for name in ("_cached_user", "_acached_user")
        ):
            return ["user"]
        with unrecorded():
            if self._request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
                return ["csrf token"]
            if getattr(state.get("session"), "modified", False):
                return ["session, changed"]
            messages = state.get("_messages")
            if getattr(messages, "added_new", False) or getattr(messages, "used", False):
                return ["messages"]
        return []


def reads_of(records: Sequence[Record]) -> set[str]:
    """All that was read while an answer was made."""
    return set().union(*(record.reads() for record in records))


class Refusals:
    """For which keys the page turned out to be of one visitor, so that nobody waits for it."""

    # As waiting.Unshared: no lock, each step is one that the interpreter does not divide.

    KEPT: Final = 1024
    SECONDS: Final = 60.0

    def __init__(self) -> None:
        self.clock = time.monotonic
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def add(self, key: bytes) -> None:
        """Note that the page of a key was not stored."""
        self._until.pop(key, None)
        self._until[key] = self.clock() + self.SECONDS
        if len(self._until) > self.KEPT:
            with contextlib.suppress(KeyError):
                self._until.popitem(last=False)

    def discard(self, key: bytes) -> None:
        """Note that the page of a key may be shared after all."""
        self._until.pop(key, None)

    def __contains__(self, key: bytes) -> bool:
        return self._until.get(key, 0.0) > self.clock()


refusals = Refusals()
"""Those of this process."""
