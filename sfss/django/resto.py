"""django-resto's storages, settings and stable methods: a site that used it changes its imports.

Without a queue they do what django-resto did. With ``queue="default"`` a server that was away gets what it missed.
"""

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.conf import settings
from django.utils.functional import cached_property

from sfss.django.options import Option
from sfss.django.replicated import ReplicatedStorage
from sfss.django.test_server import TestHttpServer
from sfss.django.transport import MediaTransport, UnexpectedStatusCode

__all__ = (
    "AsyncStorage",
    "DefaultTransport",
    "DistributedStorage",
    "HybridStorage",
    "TestHttpServer",
    "UnexpectedStatusCode",
    "get_setting",
)

_DEFAULTS: dict[str, Any] = {
    "RESTO_MEDIA_HOSTS": (),
    "RESTO_TIMEOUT": 2,
    "RESTO_FATAL_EXCEPTIONS": True,
    "RESTO_SHOW_TRACEBACK": False,
}


def get_setting(name: str) -> Any:
    """The value of a setting, or its default. :raises KeyError: if it is none of ours."""
    return getattr(settings, name, _DEFAULTS[name])


class DefaultTransport(MediaTransport):
    """PUT and DELETE over HTTP. Subclasses may override each method."""

    def __init__(self, timeout: float | None = None, token: str | None = None, scheme: str = "http"):
        super().__init__(get_setting("RESTO_TIMEOUT") if timeout is None else timeout, token, scheme)


class DistributedStorage(ReplicatedStorage):
    """Files on the media servers only."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        **ReplicatedStorage.OPTIONS,
        "hosts": Option(_DEFAULTS["RESTO_MEDIA_HOSTS"], "RESTO_MEDIA_HOSTS"),
        "timeout": Option(_DEFAULTS["RESTO_TIMEOUT"], "RESTO_TIMEOUT"),
        "queue": Option(""),
    }

    OTHER_SETTINGS = ReplicatedStorage.OTHER_SETTINGS | {"RESTO_FATAL_EXCEPTIONS"}

    def __init__(self, hosts: Any = None, base_url: str | None = None, **options: Any):
        given = {"hosts": hosts, "base_url": base_url}
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **options)

    @cached_property
    def options(self) -> dict[str, Any]:
        values = super().options
        if not self.fatal and self._given.keys().isdisjoint({"write_quorum", "on_partial"}):
            values["write_quorum"] = 0
            values["on_partial"] = "queue" if values["queue"] else "log"
            if not values["queue"] and not values["local"]:
                warnings.warn(
                    "With RESTO_FATAL_EXCEPTIONS = False a file that no media server takes is lost without an error.",
                    stacklevel=2,
                )
        return values

    @property
    def fatal(self) -> bool:
        """Whether a failure of one server is raised."""
        return bool(get_setting("RESTO_FATAL_EXCEPTIONS"))

    @property
    def show_traceback(self) -> bool:
        return bool(get_setting("RESTO_SHOW_TRACEBACK"))

    def make_transport(self) -> MediaTransport:
        options = self.options
        return DefaultTransport(options["timeout"], options["token"], options["scheme"])


class HybridStorage(DistributedStorage):
    """Files on this machine first, and then on the media servers. They are read here."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {**DistributedStorage.OPTIONS, "local": Option(True)}

    def __init__(self, location: Any = None, base_url: str | None = None, hosts: Any = None, **options: Any):
        if location is not None:
            options["location"] = location
        super().__init__(hosts, base_url, **options)


class AsyncStorage(HybridStorage):
    """Files on this machine, and on the media servers a little later. Failures are only logged.

    With a queue they are left to its senders (``process_failed_media --forever``, or a task), which do not forget.
    """

    def _send(self, sender: Any, ticket: Any, content: bytes | None, *, may_raise: bool) -> None:
        sender.queue.leave(ticket)

    def execute(self, func: Callable[..., Any], url: str, *args: Any) -> dict[str, Exception]:
        """Begin to call ``func(host, url, *args)`` for each host."""
        for host in self.hosts:
            self.execute_one(func, host, url, *args)
        return {}

    def execute_one(self, func: Callable[..., Any], host: str, url: str, *args: Any) -> Any:
        """Call ``func(host, url, *args)`` in a thread. Override it to use a task queue."""
        thread = threading.Thread(target=self._logged, args=(func, host, url, *args))
        thread.start()
        return thread

    def _logged(self, func: Callable[..., Any], host: str, url: str, *args: Any) -> None:
        try:
            func(host, url, *args)
        except Exception as error:
            self.log_failure(host, error, url=url)
