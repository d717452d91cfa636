"""The settings of a gateway."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfss.config.server import ServerSettings, fields_of, setting
from sfss.errors import SettingsError

_ADDRESS = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r":(?P<port>[0-9]{1,5})"
)
_OLD_STORE = re.compile("(?:embedded|beansdb|beansdb-route):.+")


@dataclass(frozen=True, slots=True)
class Settings(ServerSettings):
    """Those of a gateway."""

    workers: str = setting("1", "processes that serve; auto is one for each core", unit="N|auto")
    proxy: tuple[str, ...] = setting(
        (),
        "memcache-protocol proxy to keep files in; repeatable. Without one, files are kept in "
        "the embedded store",
        unit="HOST:PORT",
    )
    node: tuple[str, ...] = setting(
        (),
        "Beansdb node behind the proxies, for its figures in /status?full=1; repeatable",
        unit="HOST:PORT",
    )
    beansdb: tuple[str, ...] = setting(
        (),
        "Beansdb node (gobeansdb) to keep files in, without a proxy; repeatable: each has a copy of every file",
        unit="HOST:PORT",
    )
    beansdb_route: str = setting(
        "", "route.yaml of Beansdb nodes to keep files in, in place of --beansdb", unit="FILE"
    )
    beansdb_copies: int = setting(
        0, "nodes that each bucket must have; 0 takes what the route says", unit="N", least=0
    )
    beansdb_quorum: int = setting(
        0, "copies that decide, in reads and writes; 0 is most of them", unit="N", least=0
    )
    beansdb_body_big: int = setting(
        5 * 1024 * 1024,
        "body_big_str of the nodes: what is larger they may refuse, and read as commands",
        unit="BYTES",
        least=1,
    )
    data: str = setting("sfss-data", "folder of the embedded store", unit="FOLDER")
    data_cache: int = setting(
        64 * 1024 * 1024,
        "memory for pages of the embedded store, in each worker; takes what it needs up to this",
        unit="BYTES",
        least=0,
    )
    store: str = setting(
        "", "folder of plain files to keep them in, in place of --data", unit="directory:FOLDER"
    )
    migrate_from: str = setting(
        "",
        "store whose files move into this one while it is served: embedded:FOLDER, "
        "beansdb:HOST:PORT[,HOST:PORT...] or beansdb-route:FILE",
        unit="STORE",
    )
    connections: int = setting(8, "connections to each proxy, at most", unit="N", least=1)
    connect_timeout: float = setting(1.0, "time to connect to a proxy", unit="SECONDS", least=0.001)
    operation_timeout: float = setting(
        2.0, "time that a proxy has for one operation", unit="SECONDS", least=0.001
    )
    request_timeout: float = setting(
        10.0, "time that the store has for one request, over all tries", unit="SECONDS", least=0.001
    )
    hedge_share: float = setting(
        0.05,
        "reads that may be sent to a second proxy when the first is slow, as a share of all; 0 for none",
        unit="SHARE",
        least=0,
    )
    signing_key: tuple[str, ...] = setting(
        (),
        "key of signed URLs, at least 16 characters; repeatable, the first one signs",
        unit="KEY",
        secret=True,
    )
    signing_key_file: str = setting("", "file with such keys, one a line", unit="FILE")

    def __post_init__(self) -> None:
        ServerSettings.__post_init__(self)
        for addresses in (self.proxy, self.node, self.beansdb):
            for address in addresses:
                split_address(address)
                if addresses.count(address) > 1:
                    raise SettingsError(f"{address} is named twice")
        if self.workers != "auto" and not re.fullmatch("[1-9][0-9]?", self.workers):
            raise SettingsError(f"workers is {self.workers!r}; it must be 1 to 99, or auto")
        if self.hedge_share > 1:
            raise SettingsError(f"hedge_share is {self.hedge_share:g}; it must be at most 1")
        if self.store and not re.fullmatch("directory:.+", self.store):
            raise SettingsError(f"store is {self.store!r}; it must be directory:FOLDER")
        if self.migrate_from and not _OLD_STORE.fullmatch(self.migrate_from):
            raise SettingsError(
                f"migrate_from is {self.migrate_from!r}; it must be embedded:FOLDER, "
                f"beansdb:HOST:PORT[,HOST:PORT...] or beansdb-route:FILE"
            )

    def check(self) -> None:
        ServerSettings.check(self)
        self._check_migration()
        if self.operation_timeout > self.request_timeout:
            raise SettingsError(
                f"operation_timeout ({self.operation_timeout:g}) must not be longer than "
                f"request_timeout ({self.request_timeout:g}): one slow proxy would use up all "
                f"the time that a request has for another"
            )
        kinds = [name for name in ("store", "proxy", "beansdb", "beansdb_route") if getattr(self, name)]
        if len(kinds) > 1:
            raise SettingsError(f"{' and '.join(kinds)}: files are kept in one of them, not in both")
        if (self.beansdb or self.beansdb_route) and self.max_file_size > self.beansdb_body_big:
            raise SettingsError(
                f"max_file_size ({self.max_file_size}) must not be over beansdb_body_big ({self.beansdb_body_big}): a "
                f"node may refuse a larger file, and read it as commands. It is what body_big_str says in the nodes' "
                f"configuration"
            )

    def _check_migration(self) -> None:
        old = self.old_store
        if old is None:
            return
        if self.place == old.place:
            raise SettingsError(f"migrate_from is {self.migrate_from!r}: that is the store itself")
        if self.store or self.proxy:
            raise SettingsError(
                "migrate_from: files move into an embedded store (--data), or into Beansdb nodes (--beansdb). For a "
                "folder there is sfss sync; for a cluster behind proxies name its nodes until all have moved"
            )
        if self.lock_folder is None and old.lock_folder is None:
            raise SettingsError(
                "migrate_from needs an embedded store, as the old one or as the new one: in its folder the processes "
                "agree on who does what. Between two clusters, use sfss mirror"
            )

    @property
    def old_store(self) -> "Settings | None":
        """The settings of a gateway over the store of :attr:`migrate_from`. :raises SettingsError:"""
        kind, _, place = self.migrate_from.partition(":")
        if not kind:
            return None
        values: dict[str, Any] = {"migrate_from": "", "store": "", "proxy": (), "node": ()}
        values |= {"beansdb": (), "beansdb_route": ""}
        if kind == "embedded":
            values["data"] = place
        elif kind == "beansdb":
            values["beansdb"] = tuple(place.split(","))
        else:
            values["beansdb_route"] = place
        try:
            return replace(self, **values)
        except SettingsError as error:
            raise SettingsError(f"migrate_from: {error}") from None

    @property
    def place(self) -> tuple[str, ...]:
        """Where files are kept: what makes one store the same as another one."""
        if self.store:
            return ("directory", os.path.realpath(self.store.removeprefix("directory:")))
        if self.beansdb_route:
            return ("route", os.path.realpath(self.beansdb_route))
        if self.beansdb or self.proxy:
            return ("nodes", *sorted(self.beansdb or self.proxy))
        return ("embedded", os.path.realpath(self.data))

    @property
    def lock_folder(self) -> Path | None:
        """Where processes over an embedded store may agree on something; None: it is another kind."""
        is_another = self.store or self.beansdb or self.beansdb_route or self.proxy
        return None if is_another else Path(self.data)

    @property
    def worker_count(self) -> int:
        if self.workers == "auto":
            return min(len(os.sched_getaffinity(0)), 99)
        return int(self.workers)


FIELDS = fields_of(Settings)


def split_address(address: str) -> tuple[str, int]:
    """``HOST:PORT``, or ``[IPV6]:PORT``, to both. :raises SettingsError:"""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise SettingsError(f"{address!r} is not an address of the form HOST:PORT")
    return match["name"] or match["ipv6"], int(match["port"])
