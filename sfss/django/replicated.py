"""What storages over several media servers have in common: every file is to be on each of them.

(The module is long, since the interface of storages is.)
"""

import logging
import random
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.utils.encoding import filepath_to_uri
from django.utils.functional import cached_property

from sfss.django.files import RemoteFile, content_of, file_to_save, sha256_of
from sfss.django.listings import Document, directory, prefix_on_a_node
from sfss.django.names import folder_under, path_under, save_as_free
from sfss.django.options import Option, StorageWithOptions
from sfss.django.parallel import on_each
from sfss.django.transport import MediaTransport

log = logging.getLogger("sfss.django")

_PARTIAL = ("raise", "log", "queue")


class DistributionError(OSError):
    """Not enough media servers have taken a change. *failures*: by host."""

    def __init__(self, message: str, failures: Mapping[str, Exception]):
        super().__init__(message)
        self.failures = dict(failures)


class ReplicatedStorage(StorageWithOptions):
    """Files on several media servers, and on this machine too, if *local* says so.

    *hosts*: ``name:port`` of each. *base_url*: of the files, MEDIA_URL if there is none; a server has them under the
    path of that URL. *queue*: the name of a delivery queue, which sees to it that a server that was away gets what it
    missed (needs ``sfss.django`` in INSTALLED_APPS); empty for none. *write_quorum*: ``all``, ``majority``, or how many
    must have a change, else the save raises and the name is deleted everywhere (default: most of them with a queue, all
    without). *on_partial*: what to do when enough have it, but not all: ``raise`` (default without a queue), ``log``,
    or leave it to the ``queue`` (default with one). *on_commit*: servers get a file when the transaction is committed.
    *quarantine*: seconds in which what was sent has arrived, or never will.
    """

    OTHER_SETTINGS = frozenset({"MEDIA_URL", "MEDIA_ROOT"})
    MADE_OF_OPTIONS = ("transport", "own")
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "hosts": Option((), "SFSS_MEDIA_HOSTS"),
        "base_url": Option(None),
        "location": Option(None),
        "local": Option(False, "SFSS_MEDIA_LOCAL"),
        "timeout": Option(2.0, "SFSS_MEDIA_TIMEOUT"),
        "token": Option(None, "SFSS_WRITE_TOKEN", is_secret=True),
        "scheme": Option("http", "SFSS_MEDIA_SCHEME"),
        "queue": Option("default", "SFSS_MEDIA_QUEUE"),
        "write_quorum": Option(None, "SFSS_MEDIA_WRITE_QUORUM"),
        "on_partial": Option(None, "SFSS_MEDIA_ON_PARTIAL"),
        "on_commit": Option(False, "SFSS_MEDIA_ON_COMMIT"),
        "quarantine": Option(30.0, "SFSS_MEDIA_QUARANTINE"),
    }

    def check_options(self) -> None:
        self.quorum()

    @cached_property
    def options(self) -> dict[str, Any]:
        values = super().options
        has_queue = bool(values["queue"])
        if values["write_quorum"] is None:
            values["write_quorum"] = "majority" if has_queue else "all"
        if values["on_partial"] is None:
            values["on_partial"] = "queue" if has_queue else "raise"
        if values["on_partial"] not in _PARTIAL:
            raise ImproperlyConfigured(
                f"on_partial is {values['on_partial']!r}: it is one of {', '.join(_PARTIAL)}"
            )
        if values["on_partial"] == "queue" and not has_queue:
            raise ImproperlyConfigured("on_partial is 'queue', and there is none")
        return values

    @property
    def hosts(self) -> list[str]:
        return list(self.options["hosts"])

    @property
    def base_url(self) -> str:
        url: str = self.options["base_url"] or settings.MEDIA_URL
        return url

    @cached_property
    def transport(self) -> MediaTransport:
        return self.make_transport()

    def make_transport(self) -> MediaTransport:
        options = self.options
        return MediaTransport(options["timeout"], options["token"], options["scheme"])

    @cached_property
    def own(self) -> FileSystemStorage | None:
        """Where this machine keeps its own copies, if it does."""
        if not self.options["local"]:
            return None
        return FileSystemStorage(location=self.options["location"], base_url=self.base_url)

    def quorum(self) -> int:
        """So many servers must have a change. :raises ImproperlyConfigured:"""
        wanted, count = self.options["write_quorum"], len(self.hosts)
        number = {"all": count, "majority": count // 2 + 1 if count else 0}.get(wanted, wanted)
        if type(number) is not int or not 0 <= number <= count:
            raise ImproperlyConfigured(
                f"write_quorum is {wanted!r}: all, majority, or a number up to {count}"
            )
        return number

    # The queue.

    @property
    def sender(self) -> Any:
        """The :class:`sfss.django.sender.Sender` of this storage."""
        # The tables are an application's, which a storage without a queue does not need.
        from sfss.django.queue import Queue
        from sfss.django.sender import Sender

        options = self.options
        queue = Queue(
            options["queue"], self.hosts, timeout=options["timeout"], quarantine=options["quarantine"]
        )
        return Sender(queue, self.transport, self.url_path, self._read_own if self.own else None)

    def _read_own(self, name: str) -> bytes:
        assert self.own is not None
        with self.own.open(name) as file:
            content: bytes = file.read()
            return content

    # Names.

    def url(self, name: str | None) -> str:
        return urljoin(self.base_url, filepath_to_uri(path_under("", name or "")).lstrip("/"))

    def url_path(self, name: str) -> str:
        """The path of a file's URL, which is the same on every server."""
        return urlsplit(self.url(name)).path

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        name, saved = file_to_save(name, content)
        return self._save_free(path_under("", name), saved, max_length)

    def _save(self, name: str, content: Any) -> str:
        return self._save_free(path_under("", name), content_of(content), None)

    def _save_free(self, name: str, content: bytes, max_length: int | None) -> str:
        """Under *name*, or one like it that is free."""
        if not self.options["queue"]:
            if self.own is not None:
                free = self.own.save(name, ContentFile(content), max_length=max_length)
            else:
                free = self.get_available_name(name, max_length)
            self._send_unqueued(free, content)
            return free
        from sfss.django.queue import NameTaken

        def write(other: str) -> bool:
            if self.own is not None and self.own.exists(other):
                return False
            try:
                self._write(other, content, overwrite=False)
            except NameTaken:
                return False
            return True

        return save_as_free(self, name, max_length, write)

    def exists(self, name: str) -> bool:
        name = path_under("", name)
        if self.own is not None and self.own.exists(name):
            return True
        if self.options["queue"]:
            state, _ = self.sender.queue.look(name)
            if state is not None:
                return not state.is_deleted
        elif self.own is not None:
            return False
        return bool(self._ask_one(self.transport.exists, name, self.hosts))

    def is_name_available(self, name: str, max_length: int | None = None) -> bool:
        if max_length is not None and len(name) > max_length:
            return False
        if self.options["queue"] and self.sender.queue.is_taken(path_under("", name)):
            return False  # also while it is being deleted
        return not self.exists(name)

    # Writing.

    def _write(self, name: str, content: bytes | None, *, overwrite: bool = True) -> None:
        """Make every server have this, and this machine; *content* None: nothing.

        :raises DistributionError: :raises NameTaken: unless *overwrite*.
        """
        if not self.options["queue"]:
            self._write_own(name, content)
            self._send_unqueued(name, content)
            return
        sender = self.sender
        sha256 = "" if content is None else sha256_of(content)
        size = 0 if content is None else len(content)
        ticket = sender.queue.change(
            name, sha256=sha256, size=size, is_deleted=content is None, overwrite=overwrite
        )
        is_late = self.options["on_commit"]
        # A new file can be read here at once. What is written over, or deleted, is needed if that is rolled back.
        writes_own_late = is_late and (overwrite or content is None)
        if not writes_own_late:
            self._write_own(name, content)
        if not is_late:
            self._send(sender, ticket, content, may_raise=True)
            return

        def committed() -> None:
            if writes_own_late:
                self._write_own(name, content)
            self._send(sender, ticket._replace(hosts=sender.queue.renew(ticket)), content, may_raise=False)

        transaction.on_commit(committed, using=sender.queue.database)

    def _write_own(self, name: str, content: bytes | None) -> None:
        """The copy on this machine, as a whole or not at all."""
        if self.own is None:
            return
        if content is None:
            self.own.delete(name)
            return
        path = Path(self.own.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
        try:
            beside.write_bytes(content)
            if self.own.file_permissions_mode is not None:
                beside.chmod(self.own.file_permissions_mode)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _send_unqueued(self, name: str, content: bytes | None) -> None:
        url = self.url_path(name)
        if content is None:
            failures = self.execute(self.transport.delete, url)
        else:
            failures = self.execute(self.transport.create, url, content)
        self._judge(name, failures or {})

    def _send(self, sender: Any, ticket: Any, content: bytes | None, *, may_raise: bool) -> None:
        """To all servers. Below the quorum a new name is taken back, if its caller is told; what was written over stays
        in the queue, since nothing else could be put in its place.
        """
        failures = sender.send_now(ticket, content)
        others = [host for host in self.hosts if host not in ticket.hosts]
        if others:  # somebody else has to do with this file there, or it rests
            held, newer = sender.queue.wait_for(ticket, others, self.options["timeout"])
            failures |= sender.send_now(ticket._replace(hosts=held), content)
            failures |= {
                host: OSError(f"another sender has to do with this file on {host}")
                for host in others
                if host not in held and host not in newer
            }
        try:
            self._judge(ticket.state.name, failures)
        except DistributionError as error:
            if not may_raise:
                log.error(
                    "a file is not where it should be",
                    extra={"file": ticket.state.name, "reason": str(error)},
                )
                return
            is_too_few = len(self.hosts) - len(failures) < self.quorum()
            if ticket.is_new and content is not None and is_too_few:
                self._take_back(sender, ticket)
            raise

    def _take_back(self, sender: Any, ticket: Any) -> None:
        """Too few have it, and whoever saved it is told so: it is not to be anywhere (unless it was changed since)."""
        name = ticket.state.name
        tombstone = sender.queue.change(name, is_deleted=True, only=ticket.state.version)
        if tombstone is not None:
            self._write_own(name, None)
            sender.send_now(tombstone, None)

    def _judge(self, name: str, failures: Mapping[str, Exception]) -> None:
        """:raises DistributionError: if that is too bad."""
        for host, error in failures.items():
            self.log_failure(host, error, file=name)
        if not failures:
            return
        reached = len(self.hosts) - len(failures)
        if reached < self.quorum() or self.options["on_partial"] == "raise":
            words = "; ".join(str(error) for error in failures.values())
            count = f"{reached} of {len(self.hosts)}"
            raise DistributionError(f"{count} media servers have taken {name} ({words})", failures)

    def log_failure(self, host: str, error: Exception, **what: str) -> None:
        log.error(
            "a media server has failed",
            extra={"host": host, **what, "reason": str(error)},
            exc_info=error if self.show_traceback else None,
        )

    @property
    def show_traceback(self) -> bool:
        """Whether failures are logged with theirs."""
        return False

    def execute(self, func: Callable[..., Any], url: str, *args: Any) -> dict[str, Exception]:
        """Call ``func(host, url, *args)`` for each host, in parallel; what failed, by host."""
        results = on_each(self.hosts, lambda host: func(host, url, *args))
        return {host: result for host, result in results.items() if isinstance(result, Exception)}

    def delete(self, name: str) -> None:
        if not name:
            raise ValueError("The name must be given to delete().")
        self._write(path_under("", name), None)

    # Reading.

    def _where(self, name: str) -> list[str]:
        """The servers to be asked for a file, those first that have its newest version. :raises FileNotFoundError:"""
        others = random.sample(self.hosts, len(self.hosts))
        if not self.options["queue"]:
            return others
        state, clean = self.sender.queue.look(name)
        if state is not None and state.is_deleted:
            raise FileNotFoundError(f"{name} was deleted")
        return [host for host in others if host in clean] + [host for host in others if host not in clean]

    def _ask_one(self, ask: Callable[[str, str], Any], name: str, hosts: list[str]) -> Any:
        """One server after the other, until one has the file. That there is none is an answer if a quorum says so."""
        url = self.url_path(name)
        without: list[Any] = []
        problem: Exception | None = None
        for host in hosts:
            try:
                answer = ask(host, url)
            except FileNotFoundError as error:
                without.append(error)
            except OSError as error:
                problem = error
            else:
                if answer is not False:
                    return answer
                without.append(False)
        if problem is not None and len(without) < max(self.quorum(), 1):
            raise problem
        if without and without[0] is not False:
            raise without[0]
        return False

    def _open(self, name: str, mode: str = "rb") -> File:
        name = path_under("", name)
        if self.own is not None and set(mode) <= set("rbt") and self.own.exists(name):
            return self.own.open(name, mode)

        def write(content: bytes, must_be_new: bool) -> None:
            if must_be_new and self.exists(name):
                raise FileExistsError(f"there is a file {name}")
            self._write(name, content)

        return RemoteFile(name, mode, lambda: self._read(name), write)

    def _read(self, name: str) -> bytes:
        if self.own is not None and (self.own.exists(name) or not self.options["queue"]):
            return self._read_own(name)
        content: bytes = self._ask_one(self.transport.content, name, self._where(name))
        return content

    def size(self, name: str) -> int:
        name = path_under("", name)
        if self.own is not None and (self.own.exists(name) or not self.options["queue"]):
            return self.own.size(name)
        size: int = self._ask_one(self.transport.size, name, self._where(name))
        return size

    def path(self, name: str) -> str:
        if self.own is None:
            raise NotImplementedError("This storage keeps nothing on this machine.")
        return self.own.path(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Of this machine's copies, or else of the first server that says what it has (nodes do)."""
        if self.own is not None:
            return self.own.listdir(path)
        prefix = prefix_on_a_node(self.url_path, folder_under("", path))

        def list_one(host: str) -> tuple[list[str], list[str]]:
            return directory(lambda after: self._listing(host, prefix, after), prefix)

        problem: Exception = NotImplementedError("There is no media server.")
        for host in random.sample(self.hosts, len(self.hosts)):
            try:
                return list_one(host)
            except (OSError, NotImplementedError) as error:
                problem = error
        raise problem

    def _listing(self, host: str, prefix: str, after: str) -> Document:
        document = self.transport.listing(host, prefix, after, delimiter="/")
        if document is None:
            raise NotImplementedError(f"{host} does not say which files it has.")
        return document

    def get_modified_time(self, name: str) -> Any:
        return self._of_local("get_modified_time")(name)

    def get_created_time(self, name: str) -> Any:
        return self._of_local("get_created_time")(name)

    def get_accessed_time(self, name: str) -> Any:
        return self._of_local("get_accessed_time")(name)

    def _of_local(self, what: str) -> Callable[..., Any]:
        if self.own is None:
            raise NotImplementedError("Media servers do not say that.")
        method: Callable[..., Any] = getattr(self.own, what)
        return method
