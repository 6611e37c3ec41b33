"""Show the atlas at work: the same pages cold, warm, and after an edit made through another worker.

Loads the atlas on first use, starts the site under gunicorn with several preloaded workers,
measures, and stays up for a browser when run from a terminal. Fails if any worker shows an old
answer after the edit, or if the edit drops pages that do not show what was edited.
"""

import http.client
import itertools
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
BERLIN = 2950159

PAGES = [
    ("country", "/country/FR/"),
    ("city", f"/city/{PARIS}/"),
    ("another city", f"/city/{LYON}/"),
    ("nearby", f"/city/{PARIS}/nearby/"),
    ("search", "/search/?q=york"),
    ("statistics", "/statistics/"),
    ("JSON API", f"/api/cities/{PARIS}/"),
]

# What shows the edited place, and what does not.
OF_PARIS = ["/country/FR/", f"/city/{PARIS}/", "/statistics/", f"/api/cities/{PARIS}/"]
OF_GERMANY = ["/country/DE/", "/api/countries/DE/", f"/api/cities/{BERLIN}/"]

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
    done = subprocess.run([sys.executable, "manage.py", *arguments], cwd=HERE)
    if done.returncode != 0:
        raise SystemExit(f"manage.py {arguments[0]} failed")


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


def warm(site: Site) -> None:
    """Let every worker have every page in its memory."""
    for path in OF_PARIS + OF_GERMANY:
        site.by_worker(path)


def edit_by_who_knows(site: Site) -> tuple[Answer, int]:
    """Edit until a worker does that has edited before; give its answer, and the population.

    By its first write a worker learns by which columns places are looked up. Not knowing, it drops
    whatever was found by one.
    """
    editors = set()
    for population in itertools.count(2_000_000 + int(time.time()) % 1_000_000):
        warm(site)
        saved = edit(site, population)
        if saved.worker in editors:
            break
        editors.add(saved.worker)
    return saved, population


def show_edit(site: Site) -> bool:
    saved, population = edit_by_who_knows(site)
    console.print(
        f"\nWorker {saved.worker} saved Paris with {population} people "
        f"in {saved.milliseconds:.1f} ms."
    )
    # Each page's first answer tells whether it was still there.
    after = {path: site.get(path) for path in OF_PARIS + OF_GERMANY}
    table = Table(title="What each worker shows right after")
    for column in ("worker", "Paris", "ms", "answer", "Germany"):
        table.add_column(column)
    city, other = site.by_worker(f"/city/{PARIS}/"), site.by_worker("/country/DE/")
    right = len(city) == WORKERS
    for worker in sorted(city):
        seen = f"{population} people" in city[worker].body
        right = right and seen
        table.add_row(
            worker,
            "[green]new[/]" if seen else "[red]OLD[/]",
            f"{city[worker].milliseconds:.1f}",
            short(city[worker].source),
            short(other[worker].source) if worker in other else "?",
        )
    console.print(table)
    right = right and str(population) in after[f"/api/cities/{PARIS}/"].body
    if right:
        console.print("[green]The edit was seen at once by every worker.[/]")
    else:
        console.print("[red]Not every worker showed the edit.[/]")
    return show_what_was_left(after) and right


def show_what_was_left(after: dict[str, Answer]) -> bool:
    table = Table(title="What the edit of Paris dropped, and what it left")
    for column in ("page", "its first answer after the edit"):
        table.add_column(column)
    for path, answer in after.items():
        table.add_row(path, short(answer.source))
    console.print(table)
    made_anew = [path for path in OF_PARIS if "fwd=miss" in after[path].source]
    lost = [path for path in OF_GERMANY if "hit" not in after[path].source]
    if lost or made_anew != OF_PARIS:
        console.print("[red]The edit did not drop what shows Paris and nothing else.[/]")
        return False
    console.print(
        f"[green]The edit had {len(made_anew)} pages made anew; "
        f"{len(OF_GERMANY)} of Germany stayed in the cache.[/]"
    )
    return True


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
