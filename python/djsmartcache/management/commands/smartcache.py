"""`manage.py smartcache PART ...`: arguments and messages; what is done is done elsewhere.

A further part is one more class in `PARTS`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Protocol

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections

from djsmartcache.orm import outbox
from djsmartcache.orm.relay import Relay

Say = Callable[[str], object]


class Part(Protocol):
    """What follows `manage.py smartcache`; its docstring is the help."""

    def arguments(self, parser: CommandParser) -> None:
        """Add its arguments."""

    def run(self, say: Say, options: dict[str, Any]) -> None:
        """Do it.

        Raises:
            CommandError: It could not be done: the exit status is 1.
        """


class InstallTriggers:
    """Let PostgreSQL keep what is written for the relay, whoever writes it."""

    def arguments(self, parser: CommandParser) -> None:
        _on_tables(parser, "tables to be watched; none: those of all models that migrations manage")
        parser.add_argument(
            "--no-notify",
            action="store_true",
            help="do not wake the relay, which then looks once a second: for databases that use "
            "PREPARE TRANSACTION, or whose many writers would queue to notify",
        )

    def run(self, say: Say, options: dict[str, Any]) -> None:
        alias, tables, notify = options["database"], options["tables"], not options["no_notify"]
        with closing(outbox.session(alias)) as connection:
            if options["print_sql"]:
                steps = outbox.installation(connection, alias, tables, notify=notify, anew=True)
                _print_sql(say, steps)
                return
            for step in outbox.install(connection, alias, tables, notify=notify):
                say(f"done: {step.about}")
        say("The triggers are as they should be. `manage.py smartcache relay` has to run now.")


class RemoveTriggers:
    """Take away what install_triggers made, once all that was noted has been relayed."""

    def arguments(self, parser: CommandParser) -> None:
        _on_tables(parser, "tables to be no longer watched; none: all, and the outbox with them")

    def run(self, say: Say, options: dict[str, Any]) -> None:
        alias, tables = options["database"], options["tables"]
        with closing(outbox.session(alias)) as connection:
            if options["print_sql"]:
                last = [] if tables else outbox.end(connection)
                _print_sql(say, [*outbox.removal(connection, tables), *last])
                return
            for step in outbox.remove(connection, tables):
                say(f"done: {step.about}")
            if tables or outbox.schema_of(connection) is None:
                return
            with closing(Relay(alias, say)) as relay:
                left = relay.drain()
            if left.rows:
                raise CommandError(
                    f"The outbox is left, for the store was not told of all in it: {left}. Run "
                    "this again."
                )
            for step in outbox.apply(connection, outbox.end(connection)):
                say(f"done: {step.about}")


class RunRelay:
    """Tell the cache what the triggers have noted, until SIGTERM or SIGINT."""

    def arguments(self, parser: CommandParser) -> None:
        _on_database(parser)
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument(
            "--once",
            action="store_true",
            help="relay what there is, and end: status 1 if some of it is left",
        )
        ways.add_argument(
            "--check",
            type=float,
            metavar="SECONDS",
            help="relay nothing: print what waits; status 1 if some of it does for longer",
        )

    def run(self, say: Say, options: dict[str, Any]) -> None:
        with closing(Relay(options["database"], say)) as relay:
            if options["check"] is not None:
                waiting = relay.backlog()
                if waiting.age > options["check"]:
                    raise CommandError(f"{waiting}: does a relay run, and does the store answer?")
                say(str(waiting))
            elif options["once"]:
                left = relay.drain()
                told = f"{relay.relayed} changes relayed, {left}"
                if left.rows:
                    raise CommandError(told)
                say(told)
            else:
                with _ending(relay.stop):
                    relay.run()
                say(f"ended, {relay.relayed} changes relayed")


PARTS: dict[str, type[Part]] = {
    "install_triggers": InstallTriggers,
    "remove_triggers": RemoveTriggers,
    "relay": RunRelay,
}


class Command(BaseCommand):
    help = "What the cache is told, and what it tells."

    def add_arguments(self, parser: CommandParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
        for name, part in PARTS.items():
            told = part.__doc__
            part().arguments(parts.add_parser(name, help=told, description=told))

    def handle(self, *_: Any, **options: Any) -> None:
        def say(line: str) -> None:
            self.stdout.write(line)
            self.stdout.flush()

        try:
            PARTS[options["part"]]().run(say, options)
        except outbox.OutboxError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database: {str(error).strip()}") from error


def _on_database(parser: CommandParser) -> None:
    parser.add_argument(
        "--database",
        default=DEFAULT_DB_ALIAS,
        choices=tuple(connections),
        help="alias of the database (%(default)s)",
    )


def _on_tables(parser: CommandParser, help_text: str) -> None:
    _on_database(parser)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=help_text)
    parser.add_argument(
        "--print-sql",
        "--dry-run",
        action="store_true",
        help="change nothing: print the SQL, for those who may run it",
    )


def _print_sql(say: Say, steps: Iterable[outbox.Step]) -> None:
    for step in steps:
        say("\n".join([f"-- {step.about}", "BEGIN;", *(f"{sql};" for sql in step.statements)]))
        say("COMMIT;\n")


@contextmanager
def _ending(stop: Callable[[], object]) -> Iterator[None]:
    """End cleanly, between two rounds, when the process is told to."""
    before: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # another thread than the main one hears no signals
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, lambda *_: stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
