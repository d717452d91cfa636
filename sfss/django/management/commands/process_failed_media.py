"""Sends to media servers what they have missed."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, close_old_connections

from sfss.django.senders import senders_for_a_command


class Command(BaseCommand):
    help = "Send to media servers what they have missed, as the delivery queues say."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queues", nargs="*", help="only these (default: those of all storages)")
        parser.add_argument("--forever", action="store_true", help="go on until SIGTERM or SIGINT")
        parser.add_argument(
            "--every",
            type=float,
            default=5.0,
            metavar="SECONDS",
            help="with --forever (default: %(default)g)",
        )

    def handle(self, *queues: str, **options: Any) -> None:
        queues = tuple(options["queues"])
        mine = senders_for_a_command(queues)
        done = threading.Event()
        if options["forever"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: done.set())
        while True:
            for name, sender in mine.items():
                try:
                    sent = sender.send_all()
                except DatabaseError as error:
                    if not options["forever"]:
                        raise
                    self.stderr.write(f"{name}: {error}")
                    continue
                if any(sent) or not options["forever"]:
                    self.stdout.write(f"{name}: {sent.delivered} delivered, {sent.failed} failed")
            if not options["forever"] or done.wait(options["every"]):
                break
            close_old_connections()
