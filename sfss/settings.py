"""All settings: one table, from which the file, the environment and the flags are read.

In rising order: the defaults here, a TOML file (``--config FILE`` or ``SFSS_CONFIG``), the
environment (``SFSS_PORT``), flags (``--port``). A setting that has several values is a list in
TOML, is separated by spaces or commas in the environment, and its flag is repeated; a later
source replaces the whole list.

Whatever is unknown or invalid is a :class:`SettingsError` that names its source. Rules that tie one setting
to another hold for the result of all sources (:meth:`ServerSettings.check`).
"""

import dataclasses
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sfss.compiled import PURE_VARIABLE
from sfss.errors import SettingsError

ENVIRONMENT_PREFIX = "SFSS_"
CONFIG_VARIABLE = "SFSS_CONFIG"
#: For the commands that work against a server; not one of its settings.
TOKEN_VARIABLE = "SFSS_TOKEN"
URL_VARIABLE = "SFSS_URL"
CA_VARIABLE = "SFSS_CAFILE"
_OF_COMMANDS = (CONFIG_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, CA_VARIABLE, PURE_VARIABLE)


#: No number of a setting makes sense beyond this one.
MOST = 10**12
_ADDRESS = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r":(?P<port>[0-9]{1,5})"
)
# RFC 6454 6.2, as browsers send it: in lower case, without a path.
_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
# RFC 9110 5.5
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
#: Of ``trust_forwarded_from``: who comes by a Unix socket.
UNIX = "unix"


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    least: float | None = None,
    secret: bool = False,
    short: str = "",
) -> Any:
    """A field of :class:`ServerSettings`.

    *least* is the smallest number that makes sense; *short* is a second flag, of one letter.
    """
    metadata = {"help": help, "unit": unit, "least": least, "secret": secret, "short": short}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What every server has: its port, its doors, its limits."""

    host: str = setting("127.0.0.1", "address to listen on", unit="ADDRESS")
    port: int = setting(8255, "port to listen on; 0 takes a free one", unit="PORT", least=0)
    max_file_size: int = setting(2 * 1024 * 1024, "largest file", unit="BYTES", least=0)
    max_bytes_in_flight: int = setting(
        256 * 1024 * 1024,
        "bytes of files under way at once in one worker; beyond it requests wait, then get 503",
        unit="BYTES",
        least=1,
    )
    admission_timeout: float = setting(
        1.0, "time that a request waits for room before it gets 503", unit="SECONDS", least=0
    )
    header_timeout: float = setting(
        20.0, "time in which the head of a request must arrive", unit="SECONDS", least=0.001
    )
    upload_timeout: float = setting(
        60.0, "time in which the body of an upload must arrive", unit="SECONDS", least=0.001
    )
    send_timeout: float = setting(
        60.0, "time in which a client must take some of what it is sent", unit="SECONDS", least=0.001
    )
    keepalive_timeout: float = setting(
        75.0, "time after which an idle connection is closed", unit="SECONDS", least=0.001
    )
    drain_timeout: float = setting(
        90.0, "time that requests under way have to end at shutdown", unit="SECONDS", least=0
    )
    write_token: tuple[str, ...] = setting(
        (),
        "token that writes need (Authorization: Bearer TOKEN); repeatable. Who may write may read",
        unit="TOKEN",
        secret=True,
    )
    write_token_file: str = setting("", "file with such tokens, one a line", unit="FILE")
    read_token: tuple[str, ...] = setting(
        (), "token that reads, /status and /metrics need; repeatable", unit="TOKEN", secret=True
    )
    read_token_file: str = setting("", "file with such tokens, one a line", unit="FILE")
    allow_writes_from: tuple[str, ...] = setting(
        (), "network that may write, others may not; repeatable", unit="CIDR"
    )
    trust_forwarded_from: tuple[str, ...] = setting(
        (),
        "network of proxies whose X-Forwarded-For is believed, or unix for those that come by a Unix "
        "socket; repeatable",
        unit="CIDR|unix",
    )
    allow_host: tuple[str, ...] = setting(
        (),
        "name by which clients reach this server (their Host header); with one, all others get 403; "
        "repeatable",
        unit="NAME",
    )
    ssl: bool = setting(False, "serve HTTPS; needs --sslcert and --sslkey")
    sslcert: str = setting("", "certificate and its chain, PEM", unit="FILE")
    sslkey: str = setting("", "private key of the certificate, PEM", unit="FILE")
    cors_origin: tuple[str, ...] = setting(
        (), "origin whose pages may use the API (CORS), or *; repeatable", unit="ORIGIN"
    )
    inline_active: bool = setting(
        False, "show HTML, SVG and other active types in the browser, rather than download them"
    )
    cache_control: str = setting(
        "", "Cache-Control of files, such as max-age=3600", unit="DIRECTIVES"
    )
    page: bool = setting(True, "show a status page at /")
    page_uploads: bool = setting(True, "offer uploads on the status page")
    access_log: bool = setting(True, "log a line for each request")
    log_level: str = setting("info", "debug, info, warning or error", unit="LEVEL")

    def __post_init__(self) -> None:
        for name, part in fields_of(type(self)).items():
            least = part.metadata["least"]
            value = getattr(self, name)
            if least is not None and not least <= value <= MOST:  # NaN is refused, too
                raise SettingsError(f"{name} is {value}; it must be at least {least}")
            if isinstance(value, str) and ("\0" in value or (part.default and not value)):
                raise SettingsError(f"{name} is empty, or contains a null character")
        if self.port > 65535:
            raise SettingsError(f"port is {self.port}; it must be at most 65535")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError(
                f"log_level is {self.log_level!r}; it must be debug, info, warning or error"
            )
        proxies = (network for network in self.trust_forwarded_from if network != UNIX)
        for network in (*self.allow_writes_from, *proxies):
            split_network(network)
        for host in self.allow_host:
            if not _HOST_NAME.fullmatch(host):
                raise SettingsError(
                    f"{host!r} is not a host name or an address, without port, such as files.example.org"
                )
        if not _HEADER_VALUE.fullmatch(self.cache_control):
            raise SettingsError(f"cache_control is {self.cache_control!r}; that cannot stand in a header")
        for origin in self.cors_origin:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"{origin!r} is not an origin of the form https://HOST[:PORT], or *"
                )

    def check(self) -> None:
        """What only all settings together tell. :raises SettingsError:"""
        if self.ssl and not (self.sslcert and self.sslkey):
            raise SettingsError("ssl needs both sslcert and sslkey")
        if not self.ssl and (self.sslcert or self.sslkey):
            raise SettingsError("sslcert and sslkey do nothing without ssl; add --ssl")


@dataclass(frozen=True, slots=True)
class Settings(ServerSettings):
    """Those of a gateway."""

    workers: str = setting(
        "1", "processes that serve; auto is one for each core", unit="N|auto"
    )
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
    connections: int = setting(8, "connections to each proxy, at most", unit="N", least=1)
    connect_timeout: float = setting(
        1.0, "time to connect to a proxy", unit="SECONDS", least=0.001
    )
    operation_timeout: float = setting(
        2.0, "time that a proxy has for one operation", unit="SECONDS", least=0.001
    )
    request_timeout: float = setting(
        10.0, "time that the store has for one request, over all tries", unit="SECONDS", least=0.001
    )
    hedge_share: float = setting(
        0.05,
        "reads that may be sent to a second proxy when the first is slow, as a share of all; "
        "0 for none",
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
        for addresses in (self.proxy, self.node):
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

    def check(self) -> None:
        ServerSettings.check(self)
        if self.operation_timeout > self.request_timeout:
            raise SettingsError(
                f"operation_timeout ({self.operation_timeout:g}) must not be longer than "
                f"request_timeout ({self.request_timeout:g}): one slow proxy would use up all "
                f"the time that a request has for another"
            )
        if self.store and self.proxy:
            raise SettingsError("store and proxy: files are kept in one of them, not in both")

    @property
    def worker_count(self) -> int:
        if self.workers == "auto":
            return min(len(os.sched_getaffinity(0)), 99)
        return int(self.workers)


def fields_of(kind: type[ServerSettings]) -> dict[str, dataclasses.Field]:
    """The settings of *kind* by name."""
    return {part.name: part for part in dataclasses.fields(kind)}


FIELDS = fields_of(Settings)


Kind = TypeVar("Kind", bound=ServerSettings)


def load(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    config: str | None = None,
    kind: type[Kind] = Settings,
) -> Kind:
    """The settings of all sources. *flags* holds only those that were given, by field name.

    :raises SettingsError: naming the source and the setting.
    """
    values: dict[str, Any] = {}
    config = config or environment.get(CONFIG_VARIABLE)
    if config:
        values |= _checked(_from_file(Path(config), kind), config, kind)
    values |= _checked(_from_environment(environment, kind), "the environment", kind)
    values |= _checked(flags, "the command line", kind)
    settings = kind(**values)
    settings.check()
    return settings


def split_address(address: str) -> tuple[str, int]:
    """``HOST:PORT``, or ``[IPV6]:PORT``, to both. :raises SettingsError:"""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise SettingsError(f"{address!r} is not an address of the form HOST:PORT")
    return match["name"] or match["ipv6"], int(match["port"])


def split_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network in CIDR notation (RFC 4632); one address is a network too. :raises SettingsError:"""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None


def parse(name: str, text: str, settings: type[ServerSettings] = Settings) -> Any:
    """The value that *text* means for the setting *name*. :raises ValueError:"""
    kind = fields_of(settings)[name].type
    if kind is bool:
        words = {"1": True, "true": True, "yes": True, "on": True}
        words |= {"0": False, "false": False, "no": False, "off": False}
        if text.lower() not in words:
            raise ValueError(f"{text!r} is neither true nor false")
        return words[text.lower()]
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    if kind is str:
        return text
    return tuple(text.replace(",", " ").split())


def _from_file(file: Path, kind: type[ServerSettings]) -> dict[str, Any]:
    fields = fields_of(kind)
    try:
        with file.open("rb") as stream:
            values = tomllib.load(stream)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a TOMLDecodeError, bad UTF-8, a number of 5,000 digits
        raise SettingsError(f"{file}: is not TOML: {error}") from error
    for name, value in values.items():
        if name not in fields:
            hint = _hint(name, fields)
            if isinstance(value, dict):
                hint = f"; settings stand by themselves, without a table: remove the line [{name}]"
            raise SettingsError(f"{file}: there is no setting {name!r}{hint}")
    return {name: _of_kind(fields[name], value, str(file)) for name, value in values.items()}


def _hint(name: str, fields: Mapping[str, Any]) -> str:
    """What may have been meant by *name*, which is no setting."""
    plain = name.lower().replace("-", "_").lstrip("_")
    close = [plain] if plain in fields else difflib.get_close_matches(plain, fields, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def _of_kind(part: dataclasses.Field, value: Any, source: str) -> Any:
    """A value of TOML as the setting's own type."""
    name, kind = part.name, part.type
    if kind is float and type(value) is int and abs(value) <= MOST:
        return float(value)
    if name == "workers" and type(value) is int:
        return str(value)
    if kind in (bool, int, float, str):
        if type(value) is kind:
            return value
    elif isinstance(value, list) and all(type(part) is str for part in value):
        return tuple(value)
    expected, example = _EXAMPLES.get(kind, ("a list of strings", '["…", "…"]'))
    if isinstance(value, str) and kind in (int, float):
        hint = f"; without quotes: {name} = {value}" if value.isdigit() else ""
    elif isinstance(value, str) and kind not in _EXAMPLES and not part.metadata["secret"]:
        hint = f': {name} = ["{value}"]'
    else:
        hint = f", such as {name} = {example}"
    shown = "something else" if part.metadata["secret"] else repr(value)
    raise SettingsError(f"{source}: {name} is {shown}; it must be {expected}{hint}")


_EXAMPLES = {
    bool: ("true or false", "true"),
    int: ("a whole number", "8"),
    float: ("a number", "1.5"),
    str: ("a string", '"…"'),
}


def _from_environment(
    environment: Mapping[str, str], kind: type[ServerSettings]
) -> dict[str, Any]:
    fields = fields_of(kind)
    values = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable in _OF_COMMANDS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in fields:
            raise SettingsError(
                f"the environment: {variable} is set, but there is no such setting{_hint(name, fields)}"
            )
        try:
            values[name] = parse(name, text, kind)
        except ValueError as error:
            raise SettingsError(f"the environment: {variable}: {error}") from error
    return values


def _checked(
    values: Mapping[str, Any], source: str, kind: type[ServerSettings]
) -> Mapping[str, Any]:
    """*values*, each valid by itself; an error names *source*."""
    try:
        for name, value in values.items():
            if value == "":  # only what is not given is empty; an empty path to tokens opens no door
                raise SettingsError(f"{name} is empty")
        kind(**values)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error
    return values
