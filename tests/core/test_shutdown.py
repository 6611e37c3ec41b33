"""The end of a process: quiet, whatever still lives."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

BEGINNING = """
import sys, threading
from pathlib import Path
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", INSTALLED_APPS=["django.contrib.contenttypes"])
django.setup()
from djsmartcache import _core
from tests.core.conftest import cached, settings as arguments
cache = _core.configure(**arguments(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    "program",
    [
        "",
        "f = cached(lambda n: {'n': [n]}); f(1); f(1)",
        "f = cached(lambda n: {'n': [n]}); f(1); _core.close()",
        "lead = cache.find(b'k').lead; sys.lead = lead",
        "sys.modules['kept'] = [cache.find(b'k'), cache.find(b'k', wait=False), cache]",
        "lead = cache.find(b'k').lead; cache.find(b'k', wait=False).subscribe(print)",
        # A daemon thread in the middle of the core while the interpreter goes.
        """
        lead = cache.find(b'k').lead
        waiting = threading.Thread(target=cache.find, args=(b'k',), daemon=True)
        waiting.start()
        while not cache.stats()['flight_waits']: pass
        """,
        """
        def hammer():
            while True: cache.put(b'k', [1], ttl=None); cache.get(b'k'); cache.delete([b'k'])
        for _ in range(4): threading.Thread(target=hammer, daemon=True).start()
        while cache.stats()['fills'] + cache.stats()['store_hits'] < 20: pass
        """,
        """
        class End:
            def __del__(self): cached(lambda n: [n])(1)
        sys.end = End()
        f = cached(lambda n: [n]); f(1); f.end = End()
        """,
    ],
)
def test_processes_end_quietly(program: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            "-c",
            BEGINNING + textwrap.dedent(program),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
