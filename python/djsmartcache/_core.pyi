"""The compiled core: one process-wide cache, and the callable that serves hits.

Every call that may block releases the GIL. Nothing here imports Django.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, final

HIT: Final[int]
STALE: Final[int]
LEAD: Final[int]
WAIT: Final[int]
BYPASS: Final[int]

@final
class MissType: ...

MISS: Final[MissType]
"""What reads return for a miss; falsy, never stored."""

class StoreUnavailable(Exception):
    """The store could not be asked.

    Never reaches users: the package turns it into a miss or False.
    """

def configure(
    *,
    url: str | None,
    directory: str,
    prefix: str,
    secret: bytes,
    local_max_bytes: int,
    max_payload_bytes: int,
    use_lock: bool,
    lock_timeout: float,
    channel: str,
    start_listener: bool,
    redis_timeout: float,
    embedded_max_bytes: int,
    mark_lease: float,
    dumps: Callable[[Any], tuple[bytes, int]],
    loads: Callable[[bytes, int], Any],
    model_of: Callable[[str], type],
    label_of: Callable[[type], str | None],
) -> Cache:
    """Make the process' cache, closing the one before. Does not connect.

    ``url`` None is the embedded store in ``directory``. Times are in seconds. ``dumps`` encodes
    what the native codec cannot as (bytes, codec); ``loads`` is its inverse, also for compressed
    payloads. ``model_of`` finds a model class by ``app_label.ModelName`` (raises LookupError);
    ``label_of`` gives the label of a model class whose instances may be rebuilt from their fields
    alone, None for others (those go through dumps).

    Raises:
        ValueError: The URL is malformed or of an unknown scheme; names it and the allowed ones.
    """

def check_folder(directory: str, prefix: str) -> None:
    """Make the folder of an embedded store, for whoever named it.

    Raises:
        ValueError: It cannot be used as long as nothing is changed about it: another user's, open
            to others, a file, on a network.
        StoreUnavailable: It cannot be used just now: a full disk, too many open files.
    """

def register_tls(capsule: Any) -> None:
    """Take what djsmartcache._tls makes TLS sessions with; it calls this when it is imported.

    Raises:
        ImportError: It was built for another version of this module.
    """

def check_tls(url: str) -> None:
    """See whether the certificates and keys that a URL names can be used. Does not connect.

    Raises:
        ValueError: One of them cannot.
    """

def current() -> Cache | None:
    """The process' cache, or None before configure."""

def close() -> None: ...
def after_fork() -> None:
    """In a forked child: drop the parent's sockets, threads and trust.

    Registered with os.register_at_fork.
    """

class Context:
    """Begins a context in which calls must not be answered without asking Python.

    While there is one, every CachedFunction calls its ``slow`` path: a computation being recorded,
    a transaction that wrote, a smartcache_disabled block. Dropping it ends it. A forked child has
    those of the thread that forked, and no others.
    """

    def __init__(self) -> None: ...
    def end(self) -> None:
        """End it, once, in any thread."""

def contexts() -> int:
    """How many contexts are under way in this process."""

def enable(enabled: bool, strict: bool = False) -> None:
    """SMARTCACHE_ENABLED: False makes every CachedFunction take its slow path. ``strict``: every
    read asks what `set_fenced` was given."""

def set_fenced(fenced: Callable[[], bool]) -> None:
    """What reads ask whether slots may prove an entry fresh: always where ``strict``, else while
    `count_fences` is above 0."""

def count_fences(change: int) -> None:
    """Count blocks in which reads ask."""

def tag(kind: Literal["t", "b", "q", "r", "c", "u"], scope: str, detail: str | bytes = "") -> int:
    """The 64-bit tag; see smartcache/tag.h for kinds. Cost: one hash."""

def key_tag(key: bytes) -> int: ...
def set_prefix(prefix: Callable[[], bytes] | bytes) -> None:
    """What goes before the keys of every CachedFunction whose own prefix is None."""

class Answer:
    """What find and get came to. ``kind`` is HIT, STALE, LEAD, WAIT or BYPASS."""

    kind: int
    value: Any
    """HIT, STALE: the value, a private copy.

    LEAD: a stale value to serve should computing fail, else MISS.
    """
    lead: Lead | None
    tags: list[tuple[int, int]]
    """(tag, token) of the entry that a HIT or STALE came from, its own key's included.

    What composition inherits.
    """
    elsewhere: bool
    """WAIT: another process computes it, so there is nothing to subscribe to."""
    remaining: float | None
    """Seconds of the hard TTL that remain; None: no expiry."""
    source: str
    """"local" or "store" for HIT and STALE, else ""."""
    def subscribe(self, callback: Callable[[], object]) -> None:
        """WAIT only: call back once, at once or from the thread that ends the flight (GIL held)."""

class Lead:
    """The right and duty to bring one key's value.

    Dropping it unfinished abandons it with retry.
    """

    key: bytes
    key_token: int
    def fill(
        self,
        value: Any,
        *,
        tags: Sequence[tuple[int, int]],
        ttl: float | None,
        stale: float = 0.0,
        cost: float = 0.0,
        identity: int = 0,
        local: bool = True,
        encoded: tuple[bytes, int] | None = None,
    ) -> bool:
        """Store the value and wake the waiters. The caller keeps ``value``: what is stored is a
        copy.

        ``encoded``: what `encode` gave for it, where that had to come first. ``ttl`` None: as long
        as its tokens live. False when it was not stored (the key was invalidated meanwhile, too
        large, the store is down); the waiters then compute for themselves.

        Raises:
            What ``dumps`` raises for a value that cannot be stored; the lead is then abandoned.
        """
    def abandon(self, *, retry: bool) -> None: ...

class Mark:
    """A writer's marks. Dropping it leaves them to their lease."""

class Cache:
    def peek(self, key: bytes, identity: int = 0) -> Any:
        """L1 only: a private copy of the value if fresh, else MISS. Never blocks."""
    def find(
        self,
        key: bytes,
        *,
        identity: int = 0,
        owner: int = 0,
        lock: bool = True,
        wait: bool = True,
        linger: bool = True,
        nested: bool = False,
        stale: bool = False,
        patience: Callable[[], bool] | None = None,
    ) -> Answer:
        """The way of a read. Waits for others' computations, in which handlers of signals run:
        ``wait`` for those of this process, ``linger`` for those of others.

        ``patience`` is called in the waiting thread ten times a second: False ends the wait, with
        an answer of kind BYPASS; what it or a handler raises is raised.
        """
    def get(self, key: bytes, identity: int = 0) -> Any:
        """An explicit read: the value (a private copy) or MISS. One round trip if not in L1."""
    def get_answer(self, key: bytes, identity: int = 0) -> Answer:
        """As get, with the evidence: kind HIT or BYPASS."""
    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Any]: ...
    def ttl(self, key: bytes) -> float | None:
        """Remaining seconds; None: no expiry. Raises KeyError when there is no entry."""
    def take(
        self, tags: Sequence[int], schemes: Sequence[tuple[int, int, str]] = ()
    ) -> list[int] | None:
        """Tokens of tags, created where missing; None when the store is down.

        ``schemes`` are (table tag, condition-bulk tag, "col_a,col_b") to register first.
        """
    def fence(self) -> bool:
        """Have L1 hear of every bump that was acknowledged before the call; shared by those who ask
        meanwhile. False: the server has not answered in time, or there is no listener."""
    def fresh(self, tags: Sequence[tuple[int, int]]) -> bool: ...
    def mark(
        self, tags: Sequence[int], schemes: Sequence[tuple[int, int, int]] = ()
    ) -> Mark | None:
        """Say what is about to be committed, before the database is told to: should this process
        die before it bumps, the tokens of these tags end with the mark's lease. None: the store is
        down.
        """
    def stand(self, tables: Iterable[tuple[int, int, int]]) -> Mark | None:
        """As `mark`, of whole tables, each by its table, bulk and condition-bulk tag: by marks that
        stand for as long as this process goes on writing to them, so that most calls cost no round
        trip.
        """
    def bump(
        self,
        tags: Sequence[int],
        schemes: Sequence[tuple[int, int, int]] = (),
        mark: Mark | None = None,
    ) -> list[tuple[int, list[str]]] | None:
        """Drop tokens everywhere. ``schemes`` are (table tag, condition-bulk tag, known version); a
        table whose version is another one has its condition-bulk tag dropped too. Returns (version,
        column combinations) for each, or None when the store is down: the bump is then queued and
        nothing served before it is replayed. ``mark`` is taken back, and empty afterwards.
        """
    def put(
        self,
        key: bytes,
        value: Any,
        *,
        ttl: float | None,
        tags: Sequence[tuple[int, int]] = (),
        condition: Literal["always", "if_absent", "if_present"] = "always",
        identity: int = 0,
    ) -> bool:
        """Store explicitly. False: the condition did not hold, or the store is down."""
    def delete(self, keys: Sequence[bytes]) -> int: ...
    def touch(self, key: bytes, ttl: float | None) -> bool: ...
    def clear(self) -> None: ...
    def try_user_lock(self, key: bytes, owner: int, lease: float) -> bool: ...
    def user_unlock(self, key: bytes, owner: int) -> bool: ...
    def stats(self) -> dict[str, int]:
        """Counters by name (smartcache/stats.h) and local_entries, local_bytes, local_slots."""
    def describe(self) -> str: ...
    def trusted(self) -> bool: ...
    @property
    def available(self) -> bool: ...
    @property
    def pending(self) -> bool:
        """Whether bumps wait for the store to be back; nothing is served meanwhile."""
    def last_failure(self) -> tuple[str, float] | None:
        """Why the store could not be asked the last time, without passwords, and how many seconds
        ago."""

class KeyPlan:
    """How a call becomes a key: compiled once, at decoration."""

    def __init__(
        self,
        parameters: Sequence[str],
        *,
        positional: int,
        keyword_only: Sequence[str],
        varargs: str | None,
        varkw: str | None,
        defaults: dict[str, Any],
        literal: str,
        template: Sequence[str | tuple[str, Sequence[tuple[Literal["attr", "item"], str | int]]]]
        | None,
        identify: Callable[[str, Any], tuple[bytes, int]],
    ) -> None:
        """``parameters``: names that can be given by position or keyword, in order; the first
        ``positional`` of them only by position. ``literal``: module and qualified name, for auto
        keys. ``template``: literals and fields (argument, path); None: auto key. ``identify`` gives
        (typed injective bytes, identity fingerprint or 0) for an argument of a type that the core
        does not encode itself; raises TypeError for one without a stable identity, naming the
        argument.

        Raises:
            KeyError: A field names no parameter.
        """
    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, int]:
        """(key, identity) of a call.

        Raises TypeError as the function itself would for wrong arguments.
        """

class CachedFunction:
    """Calls a function through the cache: a hit is answered here, anything else by ``slow``.

    A descriptor like a function: taken from an instance it binds. Has a ``__dict__`` for
    ``update_wrapper`` and for the handles (invalidate, refresh, ...); taken from a bound method, a
    handle has the instance bound as well.
    """

    def __init__(
        self,
        plan: KeyPlan,
        slow: Callable[..., Any],
        *,
        prefix: Callable[[], bytes] | bytes | None = b"",
        coroutine: bool = False,
        lock: bool = True,
        stale: bool = False,
    ) -> None:
        """``slow(key, identity, args, kwargs)`` is called on anything but a hit, with the full key;
        ``slow(key, identity, args, kwargs, answer)`` where the store has been asked, as
        ``Cache.find`` would with ``lock`` and ``stale``. ``prefix`` goes before every key
        (namespace, schema fingerprint); a callable is asked at each call; None: that of the
        process. ``coroutine``: a hit is returned wrapped in an awaitable, and ``slow`` returns one.
        """
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, int]:
        """(full key with prefix, identity)."""
    hits: int
    """Hits answered here, approximately."""
    asks_store: bool
    """Whether the store is asked before ``slow`` is called, where no context is under way. False
    at first: of some functions the entry lies under another key, which only ``slow`` knows."""

def encode(value: Any) -> tuple[bytes, int]:
    """Payload and codec byte, as fill stores it. For tests and tools."""

def decode(payload: bytes, codec: int) -> Any: ...
def encode_entry(secret: bytes, key: bytes, payload: bytes, codec: int) -> bytes:
    """A bare envelope. For tests of tampering."""

def decode_entry(secret: bytes, key: bytes, envelope: bytes) -> tuple[bytes, int] | None: ...
def encode_text(value: str | int | float | bool | bytes | None) -> bytes:
    """The typed, injective rendering of a plain value inside a key."""

__all__: Sequence[str]
