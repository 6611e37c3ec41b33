"""A process with settings of its own that computes, waits, reads and stores as it is told.

SMARTCACHE_TEST_SETTINGS has its settings, as a dict. Commands and answers are lines:

- `call NAME`: ask for a value in a thread, which says "computing" when it has to make it, then
  waits for `go`, and says "value NAME PID-OF-THE-MAKER"
- `hurry NAME`: the same for a value that waits for no other process
- `waits`: how many wait for another process' computation
- `waiting`: how many wait for another thread's or process' computation
- `set KEY TEXT`, `get KEY`, `delete KEY`: explicit ones; "True", the text, a count
- `hears`: whether its memory may be trusted because it hears of changes
"""

from __future__ import annotations

import ast
import os
import sys
import threading
from collections.abc import Callable

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
for _name, _value in ast.literal_eval(os.environ["SMARTCACHE_TEST_SETTINGS"]).items():
    setattr(settings, _name, _value)
django.setup()

from djsmartcache import cache_get, cache_invalidate, cache_set, process, smart_cached  # noqa: E402

go = threading.Event()


@smart_cached(key="work:{name}", ttl=60)
def work(name: str) -> int:
    say("computing")
    go.wait()
    return os.getpid()


# One entry of two functions: what the other process computes, this one does not wait for.
hurried = smart_cached(key="work:{name}", ttl=60, lock=False)(work.__wrapped__)


def call(function: Callable[[str], int], name: str) -> None:
    say("value", name, function(name))


_saying = threading.Lock()


def say(*words: object) -> None:
    with _saying:  # print writes a line in parts
        print(*words, flush=True)


def main() -> None:
    say("ready")
    for line in iter(sys.stdin.readline, ""):
        match line.split():
            case ["call", name]:
                threading.Thread(target=call, args=[work, name], daemon=True).start()
            case ["hurry", name]:
                threading.Thread(target=call, args=[hurried, name], daemon=True).start()
            case ["go"]:
                go.set()
            case ["waits"]:
                say(process.cache().stats()["lock_waits"])
            case ["waiting"]:
                counted = process.cache().stats()
                say(counted["lock_waits"] + counted["flight_waits"])
            case ["set", key, text]:
                say(cache_set(key, text))
            case ["get", key]:
                say(cache_get(key))
            case ["delete", key]:
                say(cache_invalidate(key))
            case ["hears"]:
                say(process.cache().trusted())


if __name__ == "__main__":
    main()
