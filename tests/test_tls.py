"""rediss:// against real servers: who is trusted, what goes wrong, and what is said of it."""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from django.test import override_settings

from djsmartcache import (
    SettingError,
    cache_get,
    cache_set,
    checks,
    conf,
    logs,
    process,
    smart_cached,
)
from tests.children import Child
from tests.servers import RedisServer, free_port
from tests.testapp.models import Product
from tests.waiting import until

PASSWORD = "opensesame"
SLACK = 5.0  # seconds that a loaded machine may take beyond a timeout


class Authority:
    """One who signs certificates, which it lays out in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.path = str(folder / "ca.crt")
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, *names: str) -> tuple[str, str]:
        """Return the paths of a certificate of these names, and of its key."""
        issued = self._ca.issue_cert(*names)
        number = len(list(self._folder.iterdir()))
        certificate, key = (str(self._folder / f"{number}.{kind}") for kind in ("crt", "key"))
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key


class TlsServer(RedisServer):
    """Redis with TLS on a port of its own; on the others it can be looked at."""

    def __init__(self, authority: Authority, *options: str, name: str = "localhost") -> None:
        self.tls_port = free_port()
        certificate, key = authority.issue(
            *({name, "127.0.0.1"} if name == "localhost" else {name})
        )
        super().__init__(
            *("--tls-port", str(self.tls_port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", certificate, "--tls-key-file", key),
            *("--tls-ca-cert-file", authority.path, *options),
        )

    def tls_url(self, scheme: str = "rediss", host: str = "localhost", **options: str) -> str:
        query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
        return f"{scheme}://{host}:{self.tls_port}/0?{query}"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def _server(authority: Authority) -> Iterator[TlsServer]:
    with TlsServer(authority) as server:
        yield server


@pytest.fixture
def server(_server: TlsServer) -> TlsServer:
    _server.flush()
    return _server


@pytest.fixture
def use(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let the cache be at a URL."""

    def use(url: str) -> None:
        monkeypatch.setattr(logs, "_logged", {})
        process.close()
        settings.SMARTCACHE_REDIS_URL = url

    yield use
    process.close()


Use = Callable[[str], None]


def failure(caplog: pytest.LogCaptureFixture) -> str:
    """What is logged while the store cannot be asked, and nothing is raised."""
    calls: list[int] = []
    f = smart_cached(key="failing")(lambda: calls.append(1) or len(calls))
    caplog.clear()
    with caplog.at_level(logging.WARNING, "djsmartcache"):
        assert [f(), f()] == [1, 2]
        assert not cache_set("k", 1)
        assert cache_get("k") is None
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_answers_are_kept_and_writes_drop_them(
    use: Use, server: TlsServer, authority: Authority, scheme: str
) -> None:
    use(server.tls_url(scheme, ssl_ca_certs=authority.path))
    calls: list[int] = []

    @smart_cached(key="product:{pk}")
    def name_of(pk: int) -> str:
        calls.append(pk)
        return Product.objects.get(pk=pk).name

    lamp = Product.objects.create(name="lamp")
    assert [name_of(lamp.pk) for _ in range(3)] == ["lamp"] * 3
    assert len(calls) == 1
    lamp.name = "torch"
    lamp.save()
    assert [name_of(lamp.pk) for _ in range(3)] == ["torch"] * 3
    assert len(calls) == 2
    assert process.cache().describe() == f"rediss://localhost:{server.tls_port}/0"
    with server.client() as client:
        clients = client.client_list(_type="pubsub") + client.client_list(_type="normal")
        ours = [each for each in clients if each["name"] == "djsmartcache"]
        # The peer's port of a connection that came in by TLS.
        assert ours
        assert {each["laddr"].rpartition(":")[2] for each in ours} == {str(server.tls_port)}


def test_processes_hear_of_each_other(server: TlsServer, authority: Authority) -> None:
    values = {"SMARTCACHE_REDIS_URL": server.tls_url(ssl_ca_certs=authority.path)}
    environment = {**os.environ, "SMARTCACHE_TEST_SETTINGS": repr(values)}
    reader, writer = (Child("tests.caller", environment) for _ in range(2))
    try:
        assert [child.hear() for child in (reader, writer)] == ["ready", "ready"]
        assert reader.ask("set", "k", "0") == "True"
        until(lambda: reader.ask("hears") == "True")
        for text in map(str, range(1, 20)):
            assert reader.ask("get", "k") is not None  # into its memory
            assert writer.ask("set", "k", text) == "True"
            until(lambda text=text: reader.ask("get", "k") == text)
    finally:
        reader.close()
        writer.close()


@pytest.mark.parametrize("signed", ["by the system's", "by another"])
def test_a_server_that_nobody_trusted_has_signed_is_the_store_being_down(
    use: Use,
    server: TlsServer,
    caplog: pytest.LogCaptureFixture,
    signed: str,
    tmp_path: Path,
) -> None:
    options = {"ssl_ca_certs": Authority(tmp_path).path} if signed == "by another" else {}
    url = server.tls_url(host=f":{PASSWORD}@localhost", **options)
    use(url)
    said = failure(caplog)
    assert f"localhost:{server.tls_port}" in said
    assert "certificate verify failed: " in said
    assert PASSWORD not in said
    assert checks.check_settings() == []  # what is written in it is right
    # What failed in OpenSSL is not left for Python's use of it in this thread to stumble over.
    assert ssl.create_default_context().get_ciphers()


def test_a_server_of_another_name_is_the_store_being_down(
    use: Use, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with TlsServer(authority, name="another.example") as server:
        use(server.tls_url(ssl_ca_certs=authority.path))
        assert "certificate verify failed: hostname mismatch" in failure(caplog)
        use(server.tls_url(host="127.0.0.1", ssl_ca_certs=authority.path))
        assert "certificate verify failed: IP address mismatch" in failure(caplog)
        use(server.tls_url(ssl_ca_certs=authority.path, ssl_check_hostname="false"))
        assert cache_set("k", 1)
        use(server.tls_url(ssl_cert_reqs="none"))
        assert cache_get("k") == 1


def test_a_server_may_ask_for_a_certificate(
    use: Use, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = authority.issue("client.example")
    with TlsServer(authority, "--tls-auth-clients", "yes") as server:
        use(server.tls_url(ssl_ca_certs=authority.path))
        assert "certificate required" in failure(caplog)
        own = {"ssl_certfile": certificate, "ssl_keyfile": key}
        use(server.tls_url(ssl_ca_certs=authority.path, **own))
        assert cache_set("k", 1)
        assert cache_get("k") == 1


def test_a_server_without_tls_is_found_out_in_time(
    use: Use, settings: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    # It takes a greeting for the beginning of a command, and waits for the rest.
    settings.SMARTCACHE_REDIS_TIMEOUT = 0.1
    use(redis_server.url.replace("redis://", "rediss://"))
    began = time.monotonic()
    said = failure(caplog)
    assert time.monotonic() - began < SLACK
    assert "is TLS spoken there?" in said


def test_a_stalled_handshake_takes_no_longer_than_the_timeout(
    use: Use, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SMARTCACHE_REDIS_TIMEOUT = 0.1
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody answers
        use(f"rediss://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        said = failure(caplog)
        assert time.monotonic() - began < SLACK
    assert "did not answer in time" in said


# Python 3.12 warns of just what is tried here.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(
    use: Use, server: TlsServer, authority: Authority
) -> None:
    use(server.tls_url(ssl_ca_certs=authority.path))
    assert cache_set("k", "of the parent")
    until(lambda: process.cache().trusted())
    pid = os.fork()
    if pid == 0:
        fine = cache_get("k") == "of the parent" and cache_set("child", 1)
        os._exit(0 if fine else 1)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert cache_get("child") == 1
    assert cache_set("k", 2)
    assert process.cache().trusted()


@pytest.mark.parametrize("scheme", conf.TLS_SCHEMES)
def test_without_the_module_a_check_says_how_to_get_it(
    use: Use, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setitem(sys.modules, "djsmartcache._tls", None)
    use(f"{scheme}://:{PASSWORD}@localhost/main")
    (error,) = checks.check_settings()
    assert error.id == "smartcache.E004"
    assert (
        f"SMARTCACHE_REDIS_URL: {scheme}:// needs the optional module djsmartcache._tls"
        in error.msg
    )
    assert error.hint
    assert "libssl-dev" in error.hint
    assert "SMARTCACHE_TLS=ON" in error.hint
    assert PASSWORD not in error.msg + error.hint
    # Never without TLS instead, and the first use says so, too.
    with pytest.raises(SettingError, match="libssl-dev"):
        cache_get("k")
    use("redis://localhost:1")
    assert cache_get("k") is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("ssl_cert_reqs=maybe", "ssl_cert_reqs 'maybe' (allowed: required, optional, none)"),
        ("ssl_check_hostname=2", "ssl_check_hostname '2' (allowed: true, false)"),
        ("ssl_cert_reqs=none&ssl_check_hostname=true", "which checks nothing"),
        ("ssl_keyfile=/k", "ssl_keyfile without ssl_certfile"),
        ("ssl_pasword=x", "unknown option 'ssl_pasword'"),
        ("ssl_ca_certs=/nonesuch", "ssl_ca_certs '/nonesuch': No such file or directory"),
        ("ssl_certfile=/dev/null", "ssl_certfile '/dev/null': no certificate in it"),
    ],
)
def test_a_bad_option_is_an_error_of_the_check(query: str, said: str) -> None:
    with override_settings(SMARTCACHE_REDIS_URL=f"rediss://u:{PASSWORD}@localhost?{query}"):
        (error,) = checks.check_settings()
    assert error.id == "smartcache.E005"
    assert said in error.msg
    assert re.findall("SMARTCACHE_[A-Z_]+", error.msg) == ["SMARTCACHE_REDIS_URL"]
    assert PASSWORD not in error.msg


def test_files_that_are_missing_are_the_store_being_down_until_they_are_there(
    use: Use,
    server: TlsServer,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    late = tmp_path / "late.crt"
    use(server.tls_url(ssl_ca_certs=str(late)))
    assert f"ssl_ca_certs '{late}': No such file or directory" in failure(caplog)
    late.write_bytes(Path(authority.path).read_bytes())
    until(lambda: cache_set("k", 1))


@pytest.mark.parametrize(
    "work",
    [
        "cache_set('k', 1)",
        "while True: cache_set('k', [1]); cache_get('k')",
    ],
)
def test_a_process_ends_quietly_amid_its_calls(
    server: TlsServer, authority: Authority, work: str
) -> None:
    program = f"""
    import threading
    import django
    from django.conf import settings
    settings.configure(
        SECRET_KEY="x", INSTALLED_APPS=["djsmartcache"], DATABASES={{}},
        SMARTCACHE_REDIS_URL={server.tls_url(ssl_ca_certs=authority.path)!r},
    )
    django.setup()
    from djsmartcache import cache_get, cache_set
    def work():
        {work}
    for _ in range(4): threading.Thread(target=work, daemon=True).start()
    while cache_get('k') is None: pass
    """
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


def test_many_threads_connect_at_once(use: Use, server: TlsServer, authority: Authority) -> None:
    use(server.tls_url(ssl_ca_certs=authority.path))
    cache_set("k", 1)
    outcomes: list[bool] = []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        outcomes.extend(cache_set(f"k{number}", i) for i in range(20))

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 160
