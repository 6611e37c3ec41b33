"""A COMMIT whose outcome nobody learns: what others read until it is known ends with the mark."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db import transaction as django_transaction

from djsmartcache import process, smart_cached
from tests.testapp.models import Product

LEASE = 1.0  # seconds

pytestmark = [
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("database", ["postgresql"], indirect=True),
]


class HoldingProxy:
    """Passes connections on to a server of this machine. Of one that says a word it hangs up on the
    client, and holds the word back until it is released."""

    def __init__(self, port: int, word: bytes) -> None:
        self._target = ("127.0.0.1", port)
        self._word = word
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self.held = threading.Event()
        self.released = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client and self._word in data:
                        self.held.set()
                        client.shutdown(socket.SHUT_RDWR)
                        self.released.wait(30)
                        server.sendall(data)
                        server.recv(1 << 16)  # it is done
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        self.released.set()
        self._door.close()


@pytest.fixture
def proxied(
    shop: None, database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[HoldingProxy]:
    """Let the alias `proxied` be the same database through a proxy that holds COMMITs back."""
    monkeypatch.setattr(process, "MARK_LEASE", LEASE)
    process.configure()
    proxy = HoldingProxy(int(database["PORT"]), b"COMMIT")
    # Encrypted, nobody would see a word of it.
    options = {**database.get("OPTIONS", {}), "sslmode": "disable", "gssencmode": "disable"}
    connections.settings["proxied"] = {
        **connections.settings["default"],
        "PORT": str(proxy.port),
        "OPTIONS": options,
    }
    yield proxy
    connections["proxied"].close()
    proxy.close()
    del connections["proxied"]
    del connections.settings["proxied"]


@smart_cached(ttl=None)
def stock(pk: int) -> int:
    return Product.objects.get(pk=pk).stock


def test_a_commit_that_takes_effect_after_its_client_is_gone(proxied: HoldingProxy) -> None:
    lamp = Product.objects.create(name="lamp")
    assert stock(lamp.pk) == 0
    with pytest.raises(OperationalError), django_transaction.atomic(using="proxied"):
        Product.objects.using("proxied").filter(pk=lamp.pk).update(stock=5)
    assert proxied.held.is_set()
    # The server has not heard of it yet.
    assert stock(lamp.pk) == 0
    proxied.released.set()
    end = time.monotonic() + 20
    while stock.uncached(lamp.pk) == 0 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(LEASE)
    assert stock(lamp.pk) == stock.uncached(lamp.pk) == 5
