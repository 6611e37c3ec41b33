"""Cache, Answer and Lead as the package sees them, on the embedded store."""

from __future__ import annotations

import gc
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet

from djsmartcache import _core, process
from tests.core.conftest import Unstorable, cached, settings
from tests.testapp.models import Product
from tests.waiting import until

TAG = _core.tag("t", "scope")
OTHER = _core.tag("t", "other")
TOKEN_LIFE = 7 * 24 * 3600  # seconds; at least


def lead_of(cache: _core.Cache, key: bytes = b"k", **options: Any) -> _core.Lead:
    answer = cache.find(key, **options)
    assert answer.kind == _core.LEAD
    assert answer.lead is not None
    return answer.lead


def fill(cache: _core.Cache, value: Any, key: bytes = b"k", tags: Any = (), **options: Any) -> bool:
    lead = lead_of(cache, key)
    return lead.fill(
        value, tags=list(zip(tags, cache.take(tags), strict=True)), **{"ttl": None, **options}
    )


def test_miss_lead_fill_hit(cache: _core.Cache) -> None:
    answer = cache.find(b"k")
    assert (answer.kind, answer.value, answer.source) == (_core.LEAD, _core.MISS, "")
    assert answer.lead.key == b"k"
    assert answer.lead.key_token != 0
    own = (_core.key_tag(b"k"), answer.lead.key_token)
    tokens = cache.take([TAG])
    value = {"a": [1]}
    assert answer.lead.fill(value, tags=[(TAG, tokens[0])], ttl=60.0)
    value["a"].append("later")

    answer = cache.find(b"k")
    assert (answer.kind, answer.value, answer.source) == (_core.HIT, {"a": [1]}, "local")
    assert answer.lead is None
    assert set(answer.tags) == {(TAG, tokens[0]), own}
    assert 0 < answer.remaining <= 60
    assert cache.peek(b"k") == {"a": [1]}


def test_hits_from_the_store_carry_the_same_evidence(storeless: _core.Cache) -> None:
    fill(storeless, [1], tags=[TAG], ttl=60.0)
    answer = storeless.find(b"k")
    assert (answer.kind, answer.value, answer.source) == (_core.HIT, [1], "store")
    assert {tag for tag, _ in answer.tags} == {TAG, _core.key_tag(b"k")}
    assert 50 < answer.remaining <= 60
    assert storeless.peek(b"k") is _core.MISS
    storeless.put(b"for ever", [1], ttl=None)
    assert storeless.find(b"for ever").remaining is None


def test_a_hit_from_the_store_is_kept_in_l1(configure: Callable[..., _core.Cache]) -> None:
    fill(configure(), {"a": [1]})
    cache = configure()  # another process' L1, so to say
    assert cache.peek(b"k") is _core.MISS
    answer = cache.find(b"k")
    assert (answer.kind, answer.source) == (_core.HIT, "store")
    answer.value["a"].append("mine")
    assert cache.peek(b"k") == {"a": [1]}
    assert cache.find(b"k").source == "local"


def test_miss_is_falsy_and_itself() -> None:
    import copy
    import pickle

    assert not _core.MISS
    assert repr(_core.MISS) == "MISS"
    assert pickle.loads(pickle.dumps(_core.MISS)) is _core.MISS
    assert copy.deepcopy(_core.MISS) is _core.MISS


def test_identity_keeps_old_instances_apart(cache: _core.Cache) -> None:
    lead_of(cache, identity=5).fill("five", tags=[], ttl=None, identity=5)
    assert cache.find(b"k", identity=5).value == "five"
    assert cache.peek(b"k", 5) == "five"
    assert cache.peek(b"k", 6) is _core.MISS
    assert cache.get(b"k", 6) is _core.MISS
    assert cache.get(b"k", 5) == "five"
    assert cache.find(b"k", identity=6).kind == _core.LEAD


def test_bump_makes_entries_unreadable(cache: _core.Cache) -> None:
    fill(cache, 1, b"one", [TAG])
    fill(cache, 2, b"two", [OTHER])
    assert cache.bump([TAG]) == []
    assert cache.peek(b"one") is _core.MISS
    assert cache.get(b"one") is _core.MISS
    assert cache.get(b"two") == 2


def test_schemes_are_registered_and_told(cache: _core.Cache) -> None:
    q = _core.tag("q", "scope")
    tokens = cache.take([TAG], [(TAG, q, "a,b")])
    assert len(tokens) == 1
    ((version, columns),) = cache.bump([TAG], [(TAG, q, 0)])
    assert version != 0
    assert columns == ["a,b"]
    assert cache.bump([TAG], [(TAG, q, version)]) == [(version, ["a,b"])]


def test_take_and_fresh(cache: _core.Cache) -> None:
    pairs = list(zip([TAG, OTHER], cache.take([TAG, OTHER]), strict=True))
    assert cache.fresh(pairs)
    cache.bump([OTHER])
    assert not cache.fresh(pairs)
    assert cache.fresh(pairs[:1])
    assert cache.take([]) == []


def test_explicit_operations(cache: _core.Cache) -> None:
    assert cache.get(b"k") is _core.MISS
    assert cache.put(b"k", [1], ttl=60.0)
    assert cache.get(b"k") == [1]
    assert not cache.put(b"k", [2], ttl=None, condition="if_absent")
    assert cache.put(b"k", [3], ttl=None, condition="if_present")
    assert not cache.put(b"new", [3], ttl=None, condition="if_present")
    with pytest.raises(ValueError, match="if_absent"):
        cache.put(b"k", 1, ttl=None, condition="sometimes")  # type: ignore[arg-type]
    assert cache.ttl(b"k") is None
    assert cache.touch(b"k", 30.0)
    assert 29 < cache.ttl(b"k") <= 30
    with pytest.raises(KeyError):
        cache.ttl(b"absent")
    assert not cache.touch(b"absent", 5.0)
    cache.put(b"l", None, ttl=None)
    assert cache.get_many([b"k", b"l", b"absent"]) == {b"k": [3], b"l": None}
    assert cache.get_many([b"k", b"l"]) == {b"k": [3], b"l": None}
    assert cache.delete([b"k", b"absent"]) == 1
    assert cache.get(b"k") is _core.MISS
    cache.clear()
    assert cache.get(b"l") is _core.MISS


def test_get_answer_tells_where_it_came_from(cache: _core.Cache) -> None:
    assert cache.get_answer(b"k").kind == _core.BYPASS
    assert cache.get_answer(b"k").value is _core.MISS
    cache.put(b"k", 1, ttl=60.0, tags=[(TAG, cache.take([TAG])[0])])
    answer = cache.get_answer(b"k")
    assert (answer.kind, answer.value) == (_core.HIT, 1)
    assert TAG in dict(answer.tags)


def test_user_locks(cache: _core.Cache) -> None:
    assert cache.try_user_lock(b"l", 1, 30.0)
    assert not cache.try_user_lock(b"l", 2, 30.0)
    assert not cache.user_unlock(b"l", 2)
    assert cache.user_unlock(b"l", 1)
    assert cache.try_user_lock(b"l", 2, 30.0)


def test_statistics_description_and_state(cache: _core.Cache) -> None:
    fill(cache, 1)
    cache.peek(b"k")
    stats = cache.stats()
    assert stats["fills"] == 1
    assert stats["local_hits"] == 1
    assert stats["local_entries"] == 1
    assert stats["local_bytes"] > 0
    assert stats["local_slots"] >= 1
    assert cache.describe().startswith("lmdb:")
    assert cache.available
    assert isinstance(cache.trusted(), bool)


@pytest.mark.parametrize("ttl", [0, 0.0, -1])
def test_a_ttl_of_nothing_is_not_stored(cache: _core.Cache, ttl: float) -> None:
    assert not fill(cache, 1, ttl=ttl)
    assert cache.find(b"k").kind == _core.LEAD


@pytest.mark.parametrize("ttl", [None, 1e300, math.inf])
def test_very_long_is_for_ever_or_as_long_as_tokens_live(
    cache: _core.Cache, ttl: float | None
) -> None:
    assert cache.put(b"k", 1, ttl=ttl)
    assert cache.ttl(b"k") is None
    cache.delete([b"k"])
    assert fill(cache, 1, ttl=ttl)
    assert cache.ttl(b"k") == pytest.approx(2 * TOKEN_LIFE, rel=0.01)


def test_not_local_is_not_kept_in_l1(cache: _core.Cache) -> None:
    assert fill(cache, 1, local=False)
    assert cache.peek(b"k") is _core.MISS
    assert cache.get(b"k") == 1


def test_too_large_values_are_counted_not_stored(configure: Callable[..., _core.Cache]) -> None:
    cache = configure(max_payload_bytes=1000)
    assert not fill(cache, b"x" * 2000)
    assert cache.stats()["fills_too_large"] == 1
    assert cache.find(b"k").kind == _core.LEAD
    assert not cache.put(b"k", b"x" * 2000, ttl=None)


# --- leads


def test_a_dropped_lead_lets_somebody_else_lead(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    assert cache.find(b"k", wait=False).kind == _core.WAIT
    del lead
    assert cache.find(b"k", wait=False).kind == _core.LEAD


def test_an_abandoned_lead_does_nothing_more(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    lead.abandon(retry=True)
    lead.abandon(retry=False)
    assert not lead.fill(1, tags=[], ttl=None)
    assert lead.key == b"k"
    assert lead.key_token
    assert cache.get(b"k") is _core.MISS


def test_a_value_that_cannot_be_stored_abandons(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    with pytest.raises(Unstorable):
        lead.fill((x for x in ()), tags=[], ttl=None)
    assert cache.find(b"k", wait=False).kind == _core.LEAD


@pytest.mark.parametrize(
    "wrong", [{"tags": [(1,)]}, {"tags": [("a", "b")]}, {"tags": 5}, {"ttl": "x"}]
)
def test_wrong_arguments_of_fill_abandon(cache: _core.Cache, wrong: dict[str, Any]) -> None:
    lead = lead_of(cache)
    with pytest.raises((TypeError, ValueError, RuntimeError, IndexError)):
        lead.fill(1, **{"tags": [], "ttl": None, **wrong})
    assert cache.find(b"k", wait=False).kind == _core.LEAD


def test_an_invalidated_computation_is_not_stored(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    cache.delete([b"k"])
    assert not lead.fill(1, tags=[], ttl=None)
    assert cache.get(b"k") is _core.MISS


def test_a_caller_that_leads_never_waits_for_itself(cache: _core.Cache) -> None:
    lead = lead_of(cache, owner=7)
    assert cache.find(b"k", owner=7).kind == _core.BYPASS
    del lead


def test_waiters_get_what_the_leader_brought(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    answers: list[_core.Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(cache.find(b"k"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    until(lambda: cache.stats()["flight_waits"] == 5)
    assert lead.fill({"n": [1]}, tags=[], ttl=None)
    for thread in threads:
        thread.join()
    assert [answer.value for answer in answers] == [{"n": [1]}] * 5
    assert len({id(answer.value["n"]) for answer in answers}) == 5


def test_subscribers_are_called_when_the_flight_ends(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    waiting = cache.find(b"k", wait=False)
    assert waiting.kind == _core.WAIT
    called: list[int] = []
    waiting.subscribe(lambda: called.append(threading.get_ident()))
    waiting.subscribe(lambda: cache.find(b"k").value and called.append(0))
    assert called == []
    finisher = threading.Thread(target=lambda: lead.fill(1, tags=[], ttl=None))
    finisher.start()
    finisher.join()
    assert called == [finisher.ident, 0]
    waiting.subscribe(lambda: called.append(1))
    assert called[-1] == 1
    with pytest.raises(ValueError, match="WAIT"):
        cache.find(b"k").subscribe(lambda: None)


def test_a_subscriber_that_raises_is_reported_not_raised(
    cache: _core.Cache, monkeypatch: Any
) -> None:
    reported = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)
    lead = lead_of(cache)
    cache.find(b"k", wait=False).subscribe(lambda: 1 / 0)
    assert lead.fill(1, tags=[], ttl=None)
    assert [type(r.exc_value) for r in reported] == [ZeroDivisionError]


def test_subscribers_are_let_go(cache: _core.Cache) -> None:
    import weakref

    class Callback:
        def __call__(self) -> None: ...

    callback = Callback()
    gone = weakref.ref(callback)
    lead = lead_of(cache)
    cache.find(b"k", wait=False).subscribe(callback)
    del callback
    assert gone() is not None
    del lead
    cache.peek(b"k")
    gc.collect()
    assert gone() is None


# --- undecodable


def test_what_cannot_be_decoded_is_computed_anew(configure: Callable[..., _core.Cache]) -> None:
    class Odd(Exception):
        pass

    broken = False

    def loads(data: bytes, codec: int) -> Any:
        if broken:
            raise Odd
        return "loaded"

    cache = configure(local_max_bytes=0, loads=loads, dumps=lambda value: (b"x", 2))
    fill(cache, Odd())
    assert cache.find(b"k").value == "loaded"
    broken = True
    assert cache.get(b"k") is _core.MISS
    assert cache.get_answer(b"k").kind == _core.BYPASS
    assert cache.get_many([b"k"]) == {}
    answer = cache.find(b"k")
    assert answer.kind == _core.LEAD
    assert answer.value is _core.MISS
    assert answer.lead.fill("new", tags=[], ttl=None)
    assert cache.get(b"k") == "new"


# --- what is no Exception is nobody's to swallow


@pytest.mark.parametrize("local_max_bytes", [0, 1 << 20])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_value_is_decoded_is_raised(
    configure: Callable[..., _core.Cache], kind: type[BaseException], local_max_bytes: int
) -> None:
    class Odd:
        pass

    interrupts: list[BaseException] = []

    def loads(data: bytes, codec: int) -> Any:
        if interrupts:
            raise interrupts.pop()
        return "loaded"

    def interrupted(call: Callable[[], Any]) -> None:
        interrupts.append(error := kind(7))
        with pytest.raises(kind) as raised:
            call()
        assert raised.value is error
        assert not interrupts

    cache = configure(local_max_bytes=local_max_bytes, loads=loads, dumps=lambda _: (b"x", 2))
    fill(cache, Odd())
    assert (cache.peek(b"k") is _core.MISS) == (local_max_bytes == 0)
    interrupted(lambda: cache.get(b"k"))
    interrupted(lambda: cache.get_answer(b"k"))
    interrupted(lambda: cache.get_many([b"k"]))
    interrupted(lambda: cache.find(b"k"))
    assert cache.find(b"k").value == "loaded", "the entry is as good as before"
    payload = _core.encode(Odd())
    interrupted(lambda: _core.decode(*payload))
    computed = []
    f = cached(lambda: computed.append(1) or Odd())
    f()
    interrupted(f)
    assert f() == "loaded"
    assert computed == [1]


def test_an_interrupt_while_a_stale_value_is_decoded_lets_somebody_else_lead(
    configure: Callable[..., _core.Cache],
) -> None:
    class Odd:
        pass

    broken = False

    def loads(data: bytes, codec: int) -> Any:
        if broken:
            raise SystemExit
        return "loaded"

    for local_max_bytes in (0, 1 << 20):
        broken = False
        cache = configure(
            local_max_bytes=local_max_bytes, loads=loads, dumps=lambda value: (b"x", 2)
        )
        key = b"%d" % local_max_bytes
        fill(cache, Odd(), key, ttl=1e-9, stale=1000.0)
        broken = True
        with pytest.raises(SystemExit):
            cache.find(key, stale=True)
        broken = False
        answer = cache.find(key, stale=True, wait=False)
        assert (answer.kind, answer.value) == (_core.LEAD, "loaded")


class Interrupted(QuerySet):  # type: ignore[type-arg]
    interrupts = [KeyboardInterrupt()]

    def _fetch_all(self) -> None:
        if self.interrupts:
            raise self.interrupts.pop()
        self._result_cache = []


def test_an_interrupt_while_a_value_is_encoded_is_raised(
    configure: Callable[..., _core.Cache],
) -> None:
    configure()
    queryset = Interrupted(Product)
    with pytest.raises(KeyboardInterrupt):
        _core.encode(queryset)
    assert _core.encode(queryset)[1] == 1


def test_an_interrupt_while_a_model_is_looked_up_is_raised(
    configure: Callable[..., _core.Cache],
) -> None:
    def model_of(label: str) -> type:
        raise KeyboardInterrupt

    configure()
    payload = _core.encode(Product(name="lamp"))
    configure(model_of=model_of)
    with pytest.raises(KeyboardInterrupt):
        _core.decode(*payload)


def until_interrupted() -> None:
    for _ in range(10_000):
        len(())


def test_an_interrupt_while_a_class_is_looked_up_is_raised_soon(
    configure: Callable[..., _core.Cache],
) -> None:
    interrupts = [SystemExit(7)]

    def label_of(cls: type) -> str | None:
        if interrupts:
            raise interrupts.pop()
        return process.label_of(cls)

    configure(label_of=label_of)
    with pytest.raises(SystemExit) as raised:  # noqa: PT012 - when it is raised is not told
        _core.encode(Product(name="lamp"))
        until_interrupted()
    assert raised.value.code == 7
    assert _core.encode(Product(name="lamp"))[1] == 1, "the class was given up for ever"


def test_an_interrupt_in_a_subscriber_is_raised_soon(cache: _core.Cache) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    lead = lead_of(cache)
    cache.find(b"k", wait=False).subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - when it is raised is not told
        lead.fill(1, tags=[], ttl=None)
        until_interrupted()
    assert cache.get(b"k") == 1


# --- configure and close


def test_configuring_again_closes_the_old_cache(configure: Callable[..., _core.Cache]) -> None:
    old = configure()
    lead = lead_of(old)
    new = configure()
    assert _core.current() is new
    assert not lead.fill("late", tags=[], ttl=None)
    assert new.get(b"k") is _core.MISS
    assert old.find(b"k").kind == _core.BYPASS
    assert old.get(b"k") is _core.MISS
    assert not old.available


def test_close_leaves_no_cache(cache: _core.Cache) -> None:
    lead = lead_of(cache)
    _core.close()
    _core.close()
    assert _core.current() is None
    del lead
    assert cache.find(b"k").kind == _core.BYPASS
    assert cache.take([TAG]) is None


@pytest.mark.parametrize("url", ["ftp://x", "redis", "redis://host:port/0", ""])
def test_a_bad_url_is_named_and_changes_nothing(
    configure: Callable[..., _core.Cache], url: str
) -> None:
    cache = configure()
    cache.put(b"k", 1, ttl=None)
    with pytest.raises(ValueError, match="redis"):
        configure(url=url)
    assert _core.current() is cache
    assert cache.get(b"k") == 1


def test_wrong_settings_are_refused(configure: Callable[..., _core.Cache], tmp_path: Path) -> None:
    for wrong in ({"secret": b"short"}, {"local_max_bytes": -1}):
        with pytest.raises(ValueError, match="must"):
            configure(**wrong)
    for wrong in ({"dumps": None}, {"unknown": 1}, {"prefix": 5}):
        with pytest.raises(TypeError):
            configure(**wrong)
    arguments = settings(tmp_path)
    del arguments["loads"]
    with pytest.raises(TypeError):
        _core.configure(**arguments)


def test_redis_that_is_down_never_raises_on_reads(configure: Callable[..., _core.Cache]) -> None:
    cache = configure(url="redis://127.0.0.1:1/0")
    assert cache.find(b"k").kind == _core.BYPASS
    assert cache.get(b"k") is _core.MISS
    assert cache.get_many([b"k"]) == {}
    assert cache.take([TAG]) is None
    assert cache.bump([TAG]) is None
    assert not cache.put(b"k", 1, ttl=None)
    with pytest.raises(_core.StoreUnavailable):
        cache.try_user_lock(b"l", 1, 1.0)


def test_redis_stores_and_finds(configure: Callable[..., _core.Cache], redis_url: str) -> None:
    cache = configure(url=redis_url)
    assert fill(cache, {"a": [1]}, tags=[TAG], ttl=60.0)
    assert cache.find(b"k").value == {"a": [1]}
    assert configure(url=redis_url, start_listener=False).find(b"k").value == {"a": [1]}


# --- forks


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_uses_the_cache(cache: _core.Cache) -> None:
    fill(cache, {"a": [1]}, tags=[TAG])
    fill(cache, "old", b"parents", ttl=1e-9, stale=60.0)
    kept = lead_of(cache, b"parents", stale=True)
    child = os.fork()
    if child == 0:
        try:
            _core.after_fork()
            good = cache.get(b"k") == {"a": [1]}
            good = good and fill(cache, 2, b"childs")
            del kept
            # The parent still holds the lock, and computes.
            good = good and cache.find(b"parents", stale=True).kind == _core.STALE
            cache.bump([TAG])
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.get(b"childs") == 2
    assert cache.get(b"k") is _core.MISS
    assert kept.fill(1, tags=[], ttl=None)


# --- functions


def test_tags_are_of_one_bucket_for_one_scope() -> None:
    table, row = _core.tag("t", "db/shop_product"), _core.tag("r", "db/shop_product", "5")
    assert table >> 56 == row >> 56
    assert table != row
    assert _core.tag("r", "s", "5") == _core.tag("r", "s", b"5")
    with pytest.raises(ValueError, match="kind"):
        _core.tag("x", "s")  # type: ignore[arg-type]


def test_entries_are_authenticated() -> None:
    secret = bytes(32)
    envelope = _core.encode_entry(secret, b"k", b"payload", 1)
    assert _core.decode_entry(secret, b"k", envelope) == (b"payload", 1)
    assert _core.decode_entry(secret, b"other", envelope) is None
    assert _core.decode_entry(b"\x01" * 32, b"k", envelope) is None
    assert _core.decode_entry(secret, b"k", envelope[:-1]) is None
    with pytest.raises(ValueError, match="32"):
        _core.encode_entry(b"short", b"k", b"", 1)


@pytest.mark.parametrize(
    "call", [lambda c: c.find("k"), lambda c: c.get(5), lambda c: c.peek(None)]
)
def test_keys_are_bytes(cache: _core.Cache, call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        call(cache)
