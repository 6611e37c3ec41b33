"""A proxy in front of a server that can be slow, silent, or in front of another server.

What passes is real, and not changed. Connections that listen for messages can be hindered apart
from those that ask.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType


class _Line:
    """A connection of a client, and the one to the server that was made for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.listens = False

    def close(self) -> None:
        for end in self.ends:
            # Wakes the threads that read from it, which closing alone does not.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class SlowProxy:
    """Passes connections on to a port of this machine; a context manager that ends them."""

    def __init__(self, port: int) -> None:
        self.target = port
        """Where connections go that are made from here on."""
        self.delay = 0.0
        """Seconds for which all that is sent to the server waits."""
        self.asked = 0
        """How often something was sent to the server, new connections counted."""
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._lines: list[_Line] = []
        self._silent: set[bool] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def silence(self, *, listening: bool, asking: bool) -> None:
        """Keep back what is sent either way, on connections of these kinds; nothing is lost."""
        with self._changed:
            self._silent = {kind for kind, held in ((True, listening), (False, asking)) if held}
            self._changed.notify_all()

    def cut(self) -> None:
        """End all connections."""
        lines, self._lines = self._lines, []
        for line in lines:
            line.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return  # closed
            self.asked += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            line = _Line(client, server)
            self._lines.append(line)
            for end in line.ends:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, to in (line.ends, line.ends[::-1]):
                threading.Thread(target=self._pass_on, args=(line, source, to), daemon=True).start()

    def _pass_on(self, line: _Line, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if source is line.ends[0]:
                    self.asked += 1
                    line.listens = line.listens or b"SUBSCRIBE" in data
                    time.sleep(self.delay)
                with self._changed:
                    self._changed.wait_for(lambda: line.listens not in self._silent)
                to.sendall(data)
        line.close()

    def close(self) -> None:
        self._door.close()
        self.silence(listening=False, asking=False)
        self.cut()

    def __enter__(self) -> SlowProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
