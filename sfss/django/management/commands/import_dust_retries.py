"""Takes over what django_dust still had to send."""

from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from sfss.django.files import sha256_of
from sfss.django.queue import Ticket
from sfss.django.sender import Sender
from sfss.django.senders import senders_for_a_command


class Command(BaseCommand):
    help = (
        "Take over django_dust's table of retries: what is in it is sent by process_failed_media. The table stays as "
        "it is; it may be imported again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", default="default", help="(default: %(default)s)")
        parser.add_argument("--table", default="django_dust_retry", help="(default: %(default)s)")
        parser.add_argument("--database", default="default", help="where the table is (default: %(default)s)")

    def handle(self, *_: Any, **options: Any) -> None:
        (sender,) = senders_for_a_command([options["queue"]]).values()
        newest: dict[str, tuple[str, str]] = {}
        targets: dict[str, set[str]] = {}
        for operation, name, target, source in self._rows(options["database"], options["table"]):
            newest[name] = operation.lower(), source  # the rows are in the order of their time
            targets.setdefault(name, set()).add(target)
        put = deleted = known = 0
        missing: list[str] = []
        for name, (operation, source) in sorted(newest.items()):
            if sender.queue.look(name)[0] is not None:
                known += 1  # imported before, or changed since
            elif operation == "delete":
                # Who had deleted it, and has it, got it again since.
                if _content(sender, name, source, without=targets[name]) is not None:
                    known += 1
                else:
                    _leave(sender, sender.queue.change(name, is_deleted=True))
                    deleted += 1
            elif (content := _content(sender, name, source)) is None:
                missing.append(name)
            else:
                _leave(sender, sender.queue.change(name, sha256=sha256_of(content), size=len(content)))
                put += 1
        self.stdout.write(
            f"{put} files to send, {deleted} to delete, {known} known or there again, {len(missing)} that no server has"
        )
        for name in missing:
            self.stderr.write(f"nowhere: {name}")

    def _rows(self, database: str, table: str) -> list[tuple[str, str, str, str]]:
        connection = connections[database]
        if table not in connection.introspection.table_names():
            raise CommandError(f"the database has no table {table}: nothing is to be imported")
        with connection.cursor() as cursor:
            quoted = connection.ops.quote_name(table)
            cursor.execute(
                f"SELECT operation, filename, target_host, source_host FROM {quoted} ORDER BY created"
            )
            rows: list[tuple[str, str, str, str]] = cursor.fetchall()
            return rows


def _content(sender: Sender, name: str, source: str, without: Iterable[str] = ()) -> bytes | None:
    """From this site's own copy, the host that django_dust noted, or any other but *without*; None: nowhere."""
    try:
        return sender.own_content(name)
    except OSError:
        hosts = [host for host in sender.queue.hosts if host not in without]
        for host in sorted(hosts, key=lambda host: host != source):
            try:
                return sender.transport.content(host, sender.url_of(name))
            except OSError:
                continue
    return None


def _leave(sender: Sender, ticket: Ticket | None) -> None:
    assert ticket is not None
    sender.queue.leave(ticket)
