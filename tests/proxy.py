"""A proxy in front of a server that counts round trips. What passes is real, and not changed."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType


class _Line:
    """A connection of a client, and the one to the server that was made for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.other = {client: server, server: client}
        self.client = client
        self.asked = False
        """Whether the client spoke last."""
        self.trips = 0
        self.listens = False
        self.closed = False

    def pass_on(self, source: socket.socket) -> bool:
        """Pass on what has arrived; False: the connection has ended."""
        try:
            data = source.recv(1 << 20)
        except ConnectionError:
            data = b""
        if source is self.client:
            # All that is sent before an answer comes is one trip. Counted before the server has it.
            self.trips += bool(data) and not self.asked
            self.listens = self.listens or b"SUBSCRIBE" in data
        self.asked = source is self.client
        try:
            self.other[source].sendall(data)
        except ConnectionError:
            data = b""
        return bool(data)

    def close(self) -> None:
        self.closed = True
        for end in self.other:
            end.close()


class CountingProxy:
    """Passes connections on to a port of this machine; a context manager that ends them."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._ends, self._end = socket.socketpair()
        self._lines: list[_Line] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def trips(self) -> int:
        """Round trips so far, but for those of connections that listen for messages."""
        return sum(line.trips for line in self._lines if not line.listens)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._door, selectors.EVENT_READ)
            ready.register(self._ends, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self._ends:
                        return
                    if key.fileobj is self._door:
                        self._connect(ready)
                    elif not key.data.closed and not key.data.pass_on(key.fileobj):
                        for end in key.data.other:
                            ready.unregister(end)
                        key.data.close()

    def _connect(self, ready: selectors.BaseSelector) -> None:
        client, _ = self._door.accept()
        line = _Line(client, socket.create_connection(self._target))
        self._lines.append(line)
        for end in line.other:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(end, selectors.EVENT_READ, line)

    def __enter__(self) -> CountingProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.close()
        self._thread.join()
        for line in self._lines:
            line.close()
        for end in (self._door, self._ends):
            end.close()
