"""A process with settings of its own that computes, waits, reads and stores as it is told.

SMARTCACHE_TEST_SETTINGS has its settings, as a dict. Commands and answers are lines:

- `call NAME`: ask for a value in a thread, which says "computing" when it has to make it, then
  waits for `go`, and says "value NAME PID-OF-THE-MAKER"
- `task NAME`: the same in a task, of one loop
- `hurry NAME`: the same for a value that waits for no other process
- `waits`: how many wait for another process' computation
- `waiting`: how many wait for another thread's or process' computation
- `set KEY TEXT`, `get KEY`, `delete KEY`: explicit ones; "True", the text, a count
- `hears`: whether its memory may be trusted because it hears of changes
- `go-to NAME HOW`: exchange the database: "connect" to that, or only "close" the connection
- `moving NAME`: compute the value of the key `moving`, and connect to another database meanwhile
- `close`: close all connections to databases
"""

from __future__ import annotations

import ast
import asyncio
import functools
import os
import sys
import threading
from collections.abc import Callable

import django
from django.conf import settings
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
for _name, _value in ast.literal_eval(os.environ["SMARTCACHE_TEST_SETTINGS"]).items():
    setattr(settings, _name, _value)
django.setup()

from djsmartcache import (  # noqa: E402
    cache_get,
    cache_get_or_set,
    cache_invalidate,
    cache_set,
    process,
    smart_cached,
)

go = threading.Event()


@smart_cached(key="work:{name}", ttl=60)
def work(name: str) -> int:
    say("computing")
    go.wait()
    return os.getpid()


def go_to(name: str, how: str) -> None:
    connection = connections["default"]
    if how == "close":
        connection.settings_dict["NAME"] = name
        connection.close()
    else:
        connection.close()
        connection.settings_dict["NAME"] = name
        connection.connect()


def moving(name: str) -> str:
    go_to(name, "connect")
    return "computed"


# One entry of two functions: what the other process computes, this one does not wait for.
hurried = smart_cached(key="work:{name}", ttl=60, lock=False)(work.__wrapped__)


@smart_cached(key="work:{name}", ttl=60)
async def work_in_task(name: str) -> int:
    say("computing")
    while not go.is_set():
        await asyncio.sleep(0.01)
    return os.getpid()


def call(function: Callable[[str], int], name: str) -> None:
    say("value", name, function(name))


async def call_in_task(name: str) -> None:
    say("value", name, await work_in_task(name))


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, daemon=True).start()
    return made


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
            case ["task", name]:
                asyncio.run_coroutine_threadsafe(call_in_task(name), loop())
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
            case ["go-to", name, how]:
                go_to(name, how)
                say("there")
            case ["moving", name]:
                say(cache_get_or_set("moving", lambda name=name: moving(name)))
            case ["close"]:
                connections.close_all()
                say("closed")


if __name__ == "__main__":
    main()
