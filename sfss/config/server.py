"""The settings that every server has."""

import dataclasses
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sfss.errors import SettingsError

#: No number of a setting makes sense beyond this one.
MOST = 10**12
# RFC 6454 6.2, as browsers send it: in lower case, without a path.
_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
# RFC 9110 5.5
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
#: Of ``trust_forwarded_from``: clients that come by a Unix socket.
UNIX = "unix"


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    least: float | None = None,
    secret: bool = False,
    short: str = "",
    live: bool = False,
) -> Any:
    """A field of :class:`ServerSettings`.

    *least* is the smallest number that makes sense; *short* is a second flag, of one letter; *live*: a running node
    takes a new value at SIGHUP.
    """
    metadata = {"help": help, "unit": unit, "least": least, "secret": secret, "short": short, "live": live}
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
        "token that writes need (Authorization: Bearer TOKEN); repeatable. Write tokens also allow reading",
        unit="TOKEN",
        secret=True,
        live=True,
    )
    write_token_file: str = setting("", "file with such tokens, one a line", unit="FILE", live=True)
    read_token: tuple[str, ...] = setting(
        (), "token that reads, /status and /metrics need; repeatable", unit="TOKEN", secret=True, live=True
    )
    read_token_file: str = setting("", "file with such tokens, one a line", unit="FILE", live=True)
    allow_writes_from: tuple[str, ...] = setting(
        (), "network that may write, others may not; repeatable", unit="CIDR", live=True
    )
    trust_forwarded_from: tuple[str, ...] = setting(
        (),
        "network of proxies whose X-Forwarded-For is believed, or unix for those that come by a Unix "
        "socket; repeatable",
        unit="CIDR|unix",
        live=True,
    )
    allow_host: tuple[str, ...] = setting(
        (),
        "name by which clients reach this server (their Host header); with one, all others get 403; "
        "repeatable",
        unit="NAME",
    )
    ssl: bool = setting(False, "serve HTTPS; needs --sslcert and --sslkey")
    sslcert: str = setting("", "certificate and its chain, PEM", unit="FILE", live=True)
    sslkey: str = setting("", "private key of the certificate, PEM", unit="FILE", live=True)
    cors_origin: tuple[str, ...] = setting(
        (), "origin whose pages may use the API (CORS), or *; repeatable", unit="ORIGIN"
    )
    inline_active: bool = setting(
        False, "show HTML, SVG and other active types in the browser, rather than download them"
    )
    gzip_texts: bool = setting(
        False, "say Content-Encoding: gzip of texts (by their extension) that were stored compressed"
    )
    cache_control: str = setting("", "Cache-Control of files, such as max-age=3600", unit="DIRECTIVES")
    listing: bool = setting(True, "say which files there are (GET /files; a node: GET /_files)")
    page: bool = setting(True, "show a page at /: what goes on, and the files")
    page_uploads: bool = setting(True, "offer on the page to upload and delete files")
    access_log: bool = setting(True, "log a line for each request")
    log_level: str = setting("info", "debug, info, warning or error", unit="LEVEL", live=True)

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
            raise SettingsError(f"log_level is {self.log_level!r}; it must be debug, info, warning or error")
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
                raise SettingsError(f"{origin!r} is not an origin of the form https://HOST[:PORT], or *")

    def check(self) -> None:
        """What only all settings together tell. :raises SettingsError:"""
        if self.ssl and not (self.sslcert and self.sslkey):
            raise SettingsError("ssl needs both sslcert and sslkey")
        if not self.ssl and (self.sslcert or self.sslkey):
            raise SettingsError("sslcert and sslkey do nothing without ssl; add --ssl")


def fields_of(kind: type[ServerSettings]) -> dict[str, dataclasses.Field[Any]]:
    """The settings of *kind* by name."""
    return {part.name: part for part in dataclasses.fields(kind)}


Kind = TypeVar("Kind", bound=ServerSettings)


def split_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network in CIDR notation (RFC 4632); one address is a network too. :raises SettingsError:"""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None
