"""The settings of a node: those of every server, and its own. Flags that cockatiel has mean the same."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sfss.config.server import ServerSettings, setting
from sfss.errors import SettingsError

_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True)
class NodeSettings(ServerSettings):
    host: str = setting("0.0.0.0", "address to listen on", unit="ADDRESS", short="-H")
    port: int = setting(8080, "port to listen on; 0 takes a free one", unit="PORT", least=0, short="-p")
    max_file_size: int = setting(32 * 1024 * 1024, "largest file", unit="BYTES", least=0)
    log_level: str = setting("warning", "debug, info, warning or error", unit="LEVEL", live=True)
    storage: str = setting("", "folder of the files, each at its own path", unit="PATH")
    queue: str = setting("", "folder of all else that the node keeps", unit="PATH")
    url: str = setting("", "where clients reach this node, for the Location of new files", unit="URL")
    node: tuple[str, ...] = setting((), "URL of another node; repeatable", unit="URL", live=True)
    proxy: str = setting("", "HTTP proxy for what this node sends to others", unit="URL")
    names: str = setting(
        "generated",
        "generated: time and SHA-1 become part of a name, and files never change; exact: a file "
        "has the name that it was given, and a later one replaces it",
        unit="generated|exact",
    )
    node_secret: str = setting(
        "", "what nodes know each other by, the same on all of them", unit="SECRET", secret=True, live=True
    )
    node_secret_file: str = setting("", "file with it", unit="FILE", live=True)
    write_quorum: int = setting(
        1, "nodes that have a file on disk before its PUT is answered", unit="N", least=1
    )
    request_timeout: float = setting(
        10.0,
        "time that the disk, and then the quorum, has for one request",
        unit="SECONDS",
        least=0.001,
    )
    read_through: bool = setting(True, "ask the other nodes for a file that has not come here yet")
    tombstone_lifetime: float = setting(
        7 * 86400.0,
        "time that a delete is remembered after all others know of it",
        unit="SECONDS",
        least=0,
    )
    catch_up_rate: int = setting(
        20_000_000,
        "bytes a second that this node fetches to catch up; 0 for no limit",
        unit="BYTES",
        least=0,
    )
    new_storage: bool = setting(
        False, "start although the storage is empty and was not; fetch all files from the others"
    )
    compare_interval: float = setting(
        60.0, "time between two comparisons with each other node", unit="SECONDS", least=0.05
    )

    def __post_init__(self) -> None:
        ServerSettings.__post_init__(self)
        if self.names not in ("generated", "exact"):
            raise SettingsError(f"names is {self.names!r}; it must be generated or exact")
        for url in (*self.node, *([self.url] if self.url else ()), *([self.proxy] if self.proxy else ())):
            split_url(url)
        urls = self.peer_urls
        for url in urls:
            if urls.count(url) > 1:
                raise SettingsError(f"{url} is named twice")

    def check(self) -> None:
        ServerSettings.check(self)
        for name in ("storage", "queue"):
            if not getattr(self, name):
                raise SettingsError(f"a node needs a folder for its {name}: --{name} PATH")
        if self.write_quorum > 1 + len(self.node):
            raise SettingsError(
                f"write_quorum is {self.write_quorum}, but there are only {1 + len(self.node)} nodes"
            )
        has_doors = self.write_token or self.write_token_file or self.read_token or self.read_token_file
        if self.node and has_doors and not (self.node_secret or self.node_secret_file):
            raise SettingsError(
                "clients need a token, and other nodes could come in without one: set node_secret_file"
            )

    @property
    def immutable(self) -> bool:
        """Whether a name has one content only, and is never used again."""
        return self.names == "generated"

    @property
    def peer_urls(self) -> tuple[str, ...]:
        """The URLs of the other nodes, without a slash at the end."""
        return tuple(url.rstrip("/") for url in self.node)


def split_url(url: str) -> None:
    """:raises SettingsError: if *url* is none of http or https, without query and fragment."""
    try:
        parts = urlsplit(url)
        valid = (
            parts.scheme in ("http", "https")
            and _HOST.fullmatch(parts.hostname or "")
            and parts.port != 0
            and parts.username is None  # (it would stand in the log)
            and not parts.query
            and not parts.fragment
            and url.isascii()
            and not re.search(r"[\s\x00-\x1f\x7f\\]", url)
        )
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(f"{url!r} is not a URL of the form http://HOST[:PORT]")
