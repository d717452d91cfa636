"""Sends what the queue says that hosts lack, and looks whether what may have arrived has."""

import hashlib
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from sfss.django.models import Delivery
from sfss.django.parallel import on_each
from sfss.django.queue import Queue, State, Ticket
from sfss.django.transport import MediaTransport

log = logging.getLogger("sfss.django")

#: Files that are taken from the queue at once.
_AT_ONCE = 50
#: Tombstones are kept for so long, after every host has them.
_TOMBSTONES = timedelta(days=7)


class NoSource(Exception):
    """Nobody has the content that was stored."""


class Sent(NamedTuple):
    delivered: int
    failed: int


class Sender:
    """*url_of*: the path of the URL of a name. *local*: gives a file's content, where the site keeps its own copy."""

    def __init__(
        self,
        queue: Queue,
        transport: MediaTransport,
        url_of: Callable[[str], str],
        local: Callable[[str], bytes] | None = None,
    ):
        self.queue = queue
        self.transport = transport
        self._url_of = url_of
        self._local = local

    def send_all(self) -> Sent:
        """What is due now, until nothing is."""
        delivered = failed = 0
        while True:
            work = list(self.queue.due(_AT_ONCE))
            if not work:
                break
            for ticket, row in work:
                if self._send(ticket, row):
                    delivered += 1
                else:
                    failed += 1
        self.queue.forget(_TOMBSTONES)
        return Sent(delivered, failed)

    def _send(self, ticket: Ticket, row: Delivery) -> bool:
        host = row.host
        try:
            if not (row.must_verify and self.has(host, ticket.state)):
                self._bring(host, ticket.state)
        except Exception as error:
            self.queue.failed(ticket, host, error)
            log.warning(
                "a media server still lacks a file",
                extra={"host": host, "file": ticket.state.name, "reason": str(error)},
            )
            return False
        self.queue.done(ticket, [host])
        return True

    def has(self, host: str, state: State) -> bool:
        """Whether a host has what it is to have."""
        url = self._url_of(state.name)
        if state.is_deleted:
            return not self.transport.exists(host, url)
        try:
            if self.transport.size(host, url) != state.size:
                return False
            return _sha256(self.transport.content(host, url)) == state.sha256
        except FileNotFoundError:
            return False

    def _bring(self, host: str, state: State) -> None:
        url = self._url_of(state.name)
        if state.is_deleted:
            self.transport.delete(host, url)
        else:
            self.transport.create(host, url, self.content(state))

    def content(self, state: State) -> bytes:
        """What was stored: from the site's own copy, or a host that has it. :raises NoSource:"""
        if self._local is not None:
            try:
                content = self._local(state.name)
            except OSError as error:
                log.warning("the own copy cannot be read", extra={"file": state.name, "reason": str(error)})
            else:
                if _sha256(content) == state.sha256:
                    return content
                log.warning("the own copy is not what was stored", extra={"file": state.name})
        for host in self.queue.clean_hosts(state):
            try:
                content = self.transport.content(host, self._url_of(state.name))
            except OSError:
                continue  # the next one may have it
            if _sha256(content) == state.sha256:
                return content
            log.error(
                "a media server has another content than was stored", extra={"host": host, "file": state.name}
            )
        raise NoSource("neither this site nor any server has what was stored")

    def send_now(self, ticket: Ticket, content: bytes | None) -> dict[str, Exception]:
        """To all whose lease the ticket has, in parallel; *content* None: a delete. What failed, by host."""
        url = self._url_of(ticket.state.name)

        def send(host: str) -> None:
            if content is None:
                self.transport.delete(host, url)
            else:
                self.transport.create(host, url, content)

        results = on_each(ticket.hosts, send)
        failures = {host: result for host, result in results.items() if isinstance(result, Exception)}
        self.queue.done(ticket, [host for host in ticket.hosts if host not in failures])
        for host, error in failures.items():
            self.queue.failed(ticket, host, error)
        return failures


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
