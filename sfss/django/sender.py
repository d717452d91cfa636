"""Sends what the queue says that hosts lack, and looks whether what may have arrived has."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from sfss.django.files import sha256_of
from sfss.django.listings import prefix_on_a_node
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
        self.url_of = url_of
        self._local = local

    @property
    def prefix(self) -> str:
        """What the paths of all files begin with, on a node."""
        return prefix_on_a_node(self.url_of)

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
        host, state = row.host, ticket.state
        try:
            if not (row.must_verify and self.has(host, state)):
                content = None if state.is_deleted else self.content(state)
                if not self.queue.renew(ticket):
                    self.queue.leave(ticket)
                    return False  # it took too long, or there is something newer
                self._bring(host, state, content)
        except Exception as error:
            self.queue.failed(ticket, host, error)
            log.warning(
                "a media server still lacks a file",
                extra={"host": host, "file": state.name, "reason": str(error)},
            )
            return False
        self.queue.done(ticket, [host])
        return True

    def has(self, host: str, state: State) -> bool:
        """Whether a host has what it is to have."""
        url = self.url_of(state.name)
        if state.is_deleted:
            return not self.transport.exists(host, url)
        try:
            if self.transport.size(host, url) != state.size:
                return False
            return sha256_of(self.transport.content(host, url)) == state.sha256
        except FileNotFoundError:
            return False

    def _bring(self, host: str, state: State, content: bytes | None) -> None:
        url = self.url_of(state.name)
        if content is None:
            self.transport.delete(host, url)
        else:
            self.transport.create(host, url, content)

    @property
    def has_own(self) -> bool:
        """Whether this site keeps copies of its own."""
        return self._local is not None

    def own_content(self, name: str) -> bytes:
        """What this site itself has. :raises OSError: if it keeps no copies, or this one cannot be read."""
        if self._local is None:
            raise FileNotFoundError(f"this site keeps no copy of {name}")
        return self._local(name)

    def content(self, state: State) -> bytes:
        """What was stored: from the site's own copy, or a host that has it. :raises NoSource:"""
        try:
            content = self.own_content(state.name)
            if sha256_of(content) == state.sha256:
                return content
            log.warning("the own copy is not what was stored", extra={"file": state.name})
        except FileNotFoundError:
            pass  # there is none, or none any more
        except OSError as error:
            log.warning("the own copy cannot be read", extra={"file": state.name, "reason": str(error)})
        _, clean = self.queue.look(state.name)
        for host in [*clean, *(host for host in self.queue.hosts if host not in clean)]:
            try:
                content = self.transport.content(host, self.url_of(state.name))
            except OSError:
                continue  # the next one may have it
            if sha256_of(content) == state.sha256:
                return content
            if host in clean:
                log.error(
                    "a media server has another content than was stored",
                    extra={"host": host, "file": state.name},
                )
        raise NoSource("neither this site nor any server has what was stored")

    def send_now(self, ticket: Ticket, content: bytes | None) -> dict[str, Exception]:
        """To all whose lease the ticket has, in parallel; *content* None: a delete. What failed, by host."""
        url = self.url_of(ticket.state.name)

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
