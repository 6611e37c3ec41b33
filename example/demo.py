"""Show the atlas at work: the same pages cold, warm, and after an edit made through another worker.

Loads the atlas on first use, starts the site under gunicorn with several preloaded workers,
measures, and stays up for a browser when run from a terminal. Fails if any worker shows an old
answer after the edit.
"""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
WORKERS = 4
START_SECONDS = 60
# Enough connections that every worker gets one, though the kernel deals them out as it likes.
MAX_TRIES = 400
PARIS = 2988507
LYON = 2996944

PAGES = [
    ("country", "/country/FR/"),
    ("city", f"/city/{PARIS}/"),
    ("another city", f"/city/{LYON}/"),
    ("nearby", f"/city/{PARIS}/nearby/"),
    ("search", "/search/?q=york"),
    ("statistics", "/statistics/"),
    ("JSON API", f"/api/cities/{PARIS}/"),
]

console = Console()


@dataclass
class Answer:
    status: int
    body: str
    worker: str
    source: str
    milliseconds: float
    headers: http.client.HTTPMessage


class Site:
    """A visitor of the site, with a cookie jar; each request takes a new connection and so any
    worker."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: SimpleCookie = SimpleCookie()

    def request(self, method: str, path: str, form: dict[str, object] | None = None) -> Answer:
        body = urlencode(form, doseq=True) if form else None
        headers = {
            "Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())
        }
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        milliseconds = (time.perf_counter() - began) * 1000
        for header in response.headers.get_all("Set-Cookie", []):
            self.cookies.load(header)
        source = response.headers.get("Cache-Status", "not cached")
        worker = response.headers.get("X-Worker", "?")
        return Answer(response.status, text, worker, source, milliseconds, response.headers)

    def get(self, path: str) -> Answer:
        answer = self.request("GET", path)
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
        return answer

    def by_worker(self, path: str) -> dict[str, Answer]:
        """The first answer of each worker."""
        answers: dict[str, Answer] = {}
        for _ in range(MAX_TRIES):
            answer = self.get(path)
            answers.setdefault(answer.worker, answer)
            if len(answers) == WORKERS:
                break
        return answers


def manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=HERE, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(port: int) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "atlas.wsgi",
        "--preload",
        "--workers",
        str(WORKERS),
    ]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    # Whoever ends the demonstration, ends the site too: by default Python would not clean up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    server = subprocess.Popen(command, cwd=HERE)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the site did not start")
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()  # its workers end when they are left alone
            raise SystemExit("the site did not stop") from None


def short(source: str) -> str:
    """`djsmartcache; hit; detail="local"` without the name of the cache and the quotes."""
    return source.removeprefix("djsmartcache; ").replace("detail=", "").replace('"', "")


def show_cold_and_warm(site: Site) -> None:
    table = Table(title=f"The same pages, cold and warm ({WORKERS} workers)")
    for column in (
        "page",
        "cold ms",
        "answer",
        "same page ms",
        "answer",
        "every worker warm, ms",
        "answer",
    ):
        table.add_column(column, justify="right" if column.endswith("ms") else "left")
    for name, path in PAGES:
        cold = site.get(path)
        again = site.get(path)
        site.by_worker(path)
        warm = sorted((site.get(path) for _ in range(9)), key=lambda answer: answer.milliseconds)[4]
        row = [name]
        for answer in (cold, again, warm):
            row += [f"{answer.milliseconds:.1f}", short(answer.source)]
        table.add_row(*row)
    console.print(table)


def edit(site: Site, population: int) -> Answer:
    """Change the population of Paris by its form, as an editor would."""
    path = f"/city/{PARIS}/edit/"
    page = site.get(path).body
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    name = re.search(r'name="name" value="([^"]+)"', page)
    timezone = re.search(r'name="timezone" value="([^"]+)"', page)
    labels = re.findall(r'name="labels" value="(\d+)"[^>]* checked', page)
    if not (token and name and timezone):
        raise SystemExit("the edit form is not as expected")
    form = {
        "csrfmiddlewaretoken": token[1],
        "name": name[1],
        "timezone": timezone[1],
        "population": population,
        "labels": labels,
    }
    answer = site.request("POST", path, form)
    if answer.status != 302:
        raise SystemExit(f"the edit was answered {answer.status}")
    return answer


def show_edit(site: Site) -> bool:
    population = 2_000_000 + int(time.time()) % 1_000_000
    saved = edit(site, population)
    console.print(
        f"\nWorker {saved.worker} saved Paris with {population} people "
        f"in {saved.milliseconds:.1f} ms."
    )
    table = Table(title="What each worker shows right after")
    for column in ("worker", "Paris", "ms", "answer", "the other city", "statistics"):
        table.add_column(column)
    right = True
    city = site.by_worker(f"/city/{PARIS}/")
    other = site.by_worker(f"/city/{LYON}/")
    statistics = site.by_worker("/statistics/")
    for worker in sorted(city):
        seen = f"{population} people" in city[worker].body
        right = right and seen
        table.add_row(
            worker,
            "[green]new[/]" if seen else "[red]OLD[/]",
            f"{city[worker].milliseconds:.1f}",
            short(city[worker].source),
            short(other[worker].source) if worker in other else "?",
            short(statistics[worker].source) if worker in statistics else "?",
        )
    console.print(table)
    fresh = str(population) in site.get(f"/api/cities/{PARIS}/").body
    if right and fresh and len(city) == WORKERS:
        console.print("[green]The edit was seen at once by every worker.[/]")
        return True
    console.print("[red]Not every worker showed the edit.[/]")
    return False


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atlas.settings")
    os.environ.setdefault("ATLAS_DATA", str(HERE.parent / "build" / "atlas"))
    manage("migrate", "--verbosity", "0")
    manage("load_atlas")
    port = int(os.environ.get("PORT", 0)) or free_port()
    # A cache of its own, so that the first pages are cold each time.
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("ATLAS_CACHE", cache)
        return show(port)


def show(port: int) -> int:
    with serving(port):
        site = Site(port)
        show_cold_and_warm(site)
        right = show_edit(site)
        if right and sys.stdin.isatty() and sys.stdout.isatty():
            console.print(
                f"\nThe atlas stays up at http://127.0.0.1:{port}/ until you press Ctrl-C."
            )
            try:
                signal.pause()
            except KeyboardInterrupt:
                console.print()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
