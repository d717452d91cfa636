"""Says whether the servers of the site's storages answer, and what the queues still have to send."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Count, Min
from django.utils import timezone

from sfss.django.checks import storages_of_site
from sfss.django.http import NoAnswer, ask
from sfss.django.models import Delivery
from sfss.django.replicated import ReplicatedStorage
from sfss.django.storage import SFSSStorage


class Command(BaseCommand):
    help = "Say whether media servers and gateways answer, and what they still lack. Exit code 1 if something is wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *_: Any, **options: Any) -> None:
        report: list[dict[str, Any]] = []
        for alias, storage in storages_of_site():
            timeout = storage.options["timeout"]
            if isinstance(storage, ReplicatedStorage):
                begin = f"{storage.options['scheme']}://"
                urls = {host: begin + host + storage.url_path("sfss-health") for host in storage.hosts}
                lacking = _lacking(storage.options["queue"]) if storage.options["queue"] else {}
            else:
                is_gateway = isinstance(storage, SFSSStorage)
                bases = storage.options["gateways" if is_gateway else "storage_nodes"]
                urls = {url: url.rstrip("/") + "/readyz" for url in bases}
                lacking = {}
            for server, url in urls.items():
                report.append(
                    {"storage": alias, "server": server, "answer": _answer(url, timeout)}
                    | lacking.get(server, {})
                )
        if options["json"]:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for line in report:
                words = f"{line['storage']:12} {line['server']:40} {line['answer']}"
                if line.get("lacks"):
                    words += f"; lacks {line['lacks']} files, the oldest for {line['seconds']} s"
                self.stdout.write(words)
        if any(line["answer"] != "answers" or line.get("lacks") for line in report):
            raise SystemExit(1)


def _answer(url: str, timeout: float) -> str:
    try:
        status = ask("HEAD", url, timeout=timeout).status
    except NoAnswer as error:
        return f"no answer: {error}"
    return "answers" if status < 500 else f"answers {status}"


def _lacking(queue: str) -> dict[str, dict[str, int]]:
    dirty = Delivery.objects.filter(file__queue=queue, is_dirty=True).values("host")
    rows = dirty.annotate(count=Count("pk"), oldest=Min("file__changed"))
    now = timezone.now()
    return {
        row["host"]: {"lacks": row["count"], "seconds": round((now - row["oldest"]).total_seconds())}
        for row in rows
    }
