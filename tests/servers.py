"""Private servers for tests, benchmarks and the example: real, in temporary folders, on free ports.

As a program, `python -m tests.servers redis postgres -- COMMAND` runs COMMAND with the servers'
addresses in SMARTCACHE_TEST_* variables. A server dies with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

START_SECONDS = 30  # far beyond a start on a loaded machine; only a failing start takes as long


class Server:
    """A child process with a folder of its own; a context manager that stops it."""

    user: str | None = None

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smartcache-", dir=_short_folder()))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise

    def prepare(self) -> None:
        """Lay out what the server needs before its first start."""

    def command_line(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is stopped"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on its port, unless it runs, and wait until it answers."""
        if self.running:
            return
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_dying_with_parent(self.user), *self.command_line()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command_line()[0]} did not start:\n{log.read_text()}")
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process, with SIGKILL if it takes more than ten seconds."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    def pause(self) -> None:
        """Freeze the process: its sockets stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RedisServer(Server):
    """redis-server without persistence, on a loopback port and a Unix socket.

    Args:
        options: further arguments, such as `"--maxmemory", "5mb"`.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        super().__init__()

    @property
    def socket(self) -> str:
        return str(self.folder / "redis.sock")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def command_line(self) -> list[str]:
        return [
            _program("redis-server"),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            *self._options,
        ]

    def client(self, **options: Any) -> Any:
        """Return a redis-py client, to look at the server or act on it from outside."""
        import redis

        return redis.Redis(unix_socket_path=self.socket, **options)

    def flush(self) -> None:
        """Remove every key, and the scripts the server has learned."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(self.socket)
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False

    def environment(self) -> dict[str, str]:
        return {
            "SMARTCACHE_TEST_REDIS_URL": self.url,
            "SMARTCACHE_TEST_REDIS_PORT": str(self.port),
            "SMARTCACHE_TEST_REDIS_SOCKET": self.socket,
        }


class PostgresServer(Server):
    """PostgreSQL that forgets: no fsync. As root it runs as user postgres, as it insists.

    Args:
        durable: Whether a COMMIT waits for the disk, as where it is installed.
    """

    user = "postgres" if os.geteuid() == 0 else None

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        super().__init__()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        how = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        self._make_data("initdb", *how)

    def _make_data(self, program: str, *arguments: str) -> None:
        if self.user:
            shutil.chown(self.folder, self.user)
        subprocess.run(
            [
                *(*_dying_with_parent(self.user), _postgres_program(program), "--no-sync"),
                *("--username=postgres", *arguments, "--pgdata", str(self.folder / "data")),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def command_line(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 200,
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        given = [f"--{name}={value}" for name, value in settings.items()]
        return [_postgres_program("postgres"), "-D", str(self.folder / "data"), *given]

    def answers(self) -> bool:
        probe = [_postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        super().stop(how)  # SIGTERM would wait for the clients to leave

    def environment(self) -> dict[str, str]:
        return {"SMARTCACHE_TEST_POSTGRES_URL": self.url}


class StandbyServer(PostgresServer):
    """A server that follows another, and only answers reads.

    Args:
        primary: The server that it copies and follows.
    """

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__()

    def prepare(self) -> None:
        how = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast")
        self._make_data("pg_basebackup", *how, "--host=127.0.0.1", f"--port={self._primary.port}")


class MariaDBServer(Server):
    """MariaDB that forgets, with the empty database `smartcache`. As root it runs as user mysql."""

    user = "mysql" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"mysql://smartcache@127.0.0.1:{self.port}/smartcache"

    def prepare(self) -> None:
        first = self.folder / "first.sql"
        first.write_text(
            "CREATE DATABASE IF NOT EXISTS smartcache CHARACTER SET utf8mb4;\n"
            "CREATE USER IF NOT EXISTS smartcache@'%';\n"
            "GRANT ALL ON *.* TO smartcache@'%';\n"
        )
        if self.user:
            shutil.chown(self.folder, self.user)
        subprocess.run(
            [
                *(*_dying_with_parent(self.user), _program("mariadb-install-db"), "--no-defaults"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
                f"--datadir={self.folder / 'data'}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def command_line(self) -> list[str]:
        settings = {
            "datadir": self.folder / "data",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.folder / "mariadb.sock",
            "pid-file": self.folder / "mariadb.pid",
            "init-file": self.folder / "first.sql",
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-flush-method": "nosync",
            "innodb-doublewrite": 0,
            "innodb-buffer-pool-size": "64M",
        }
        given = [f"--{name}={value}" for name, value in settings.items()]
        return [_program("mariadbd"), "--no-defaults", "--skip-name-resolve", *given]

    def answers(self) -> bool:
        where = ["--protocol=tcp", "-h", "127.0.0.1", "-P", str(self.port), "-u", "smartcache"]
        probe = [_program("mariadb-admin"), "--no-defaults", *where, "status"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run(probe, **quiet).returncode == 0

    def environment(self) -> dict[str, str]:
        return {"SMARTCACHE_TEST_MYSQL_URL": self.url}


def _short_folder() -> str | None:
    # A Unix socket's path has 107 bytes at most, which a deep TMPDIR would exceed.
    return "/tmp" if len(tempfile.gettempdir()) > 60 else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dying_with_parent(user: str | None) -> list[str]:
    become = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
    return [_program("setpriv"), "--pdeathsig", "KILL", *become, "--"]


def _program(name: str, *folders: Path) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, folders), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if not found:
        raise RuntimeError(f"{name} is not installed: `make test` installs it, or says how")
    return found


def _postgres_program(name: str) -> str:
    # Debian keeps each major version's programs apart, off the PATH: take the newest.
    folders = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    return _program(name, *sorted(folders, key=lambda f: int(f.parent.name), reverse=True))


KINDS: dict[str, Callable[[], Server]] = {
    "redis": RedisServer,
    "postgres": PostgresServer,
    "mariadb": MariaDBServer,
}


def main(arguments: Sequence[str]) -> int:
    """Run the command after `--` beside the servers named before it; return its exit status."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    kinds, command = arguments[:split], arguments[split + 1 :]
    if not command or not kinds or set(kinds) - set(KINDS):
        print(f"usage: python -m tests.servers {{{','.join(KINDS)}}}... -- COMMAND...")
        return 2
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        for kind in kinds:
            environment |= stack.enter_context(KINDS[kind]()).environment()
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
