"""django_dust's storage and settings, with a queue that works: a site that used it changes its imports.

What django_dust queued were operations. Here the newest state of each file is what every server gets.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from sfss.django.options import Option
from sfss.django.replicated import DistributionError, ReplicatedStorage

__all__ = ("DistributedStorage", "DistributionError")


class DistributedStorage(ReplicatedStorage):
    """A file must get to one server at least; the others get it later (``process_failed_media``)."""

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        **ReplicatedStorage.OPTIONS,
        "hosts": Option(("127.0.0.1",), "DUST_HOSTS"),
        "timeout": Option(2, "DUST_TIMEOUT"),
        "local": Option(False, "DUST_USE_LOCAL_FS"),
        "write_quorum": Option(1),
        "on_partial": Option("queue"),
    }

    def __init__(
        self, hosts: Any = None, use_local: bool | None = None, base_url: str | None = None, **options: Any
    ):
        given = {"hosts": hosts, "local": use_local, "base_url": base_url}
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **options)
