"""All settings: one table, from which the file, the environment and the flags are read.

In rising order: the defaults here, a TOML file (``--config FILE`` or ``SFSS_CONFIG``), the
environment (``SFSS_PORT``), flags (``--port``). A setting that has several values is a list in
TOML, is separated by spaces or commas in the environment, and its flag is repeated; a later
source replaces the whole list.

Whatever is unknown or invalid is a :class:`SettingsError` that names its source.
"""

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfss.errors import SettingsError

ENVIRONMENT_PREFIX = "SFSS_"
CONFIG_VARIABLE = "SFSS_CONFIG"


#: No number of a setting makes sense beyond this one.
MOST = 10**12
_ADDRESS = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r":(?P<port>[0-9]{1,5})"
)


def setting(default: Any, help: str, *, unit: str = "", least: float | None = None) -> Any:
    """A field of :class:`Settings`: *least* is the smallest number that makes sense."""
    return field(default=default, metadata={"help": help, "unit": unit, "least": least})


@dataclass(frozen=True, slots=True)
class Settings:
    host: str = setting("127.0.0.1", "address to listen on", unit="ADDRESS")
    port: int = setting(8255, "port to listen on; 0 takes a free one", unit="PORT", least=0)
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
    max_file_size: int = setting(2 * 1024 * 1024, "largest file", unit="BYTES", least=0)
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
    access_log: bool = setting(True, "log a line for each request")
    log_level: str = setting("info", "debug, info, warning or error", unit="LEVEL")

    def __post_init__(self) -> None:
        for name, part in FIELDS.items():
            least = part.metadata["least"]
            value = getattr(self, name)
            if least is not None and not least <= value <= MOST:  # NaN is refused, too
                raise SettingsError(f"{name} is {value}; it must be at least {least}")
            if isinstance(value, str) and (not value or "\0" in value):
                raise SettingsError(f"{name} is empty, or contains a null character")
        if self.port > 65535:
            raise SettingsError(f"port is {self.port}; it must be at most 65535")
        if self.operation_timeout > self.request_timeout:
            raise SettingsError(
                f"operation_timeout ({self.operation_timeout:g}) must not be longer than "
                f"request_timeout ({self.request_timeout:g}): one slow proxy would use up all "
                f"the time that a request has for another"
            )
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError(
                f"log_level is {self.log_level!r}; it must be debug, info, warning or error"
            )
        for addresses in (self.proxy, self.node):
            for address in addresses:
                split_address(address)
                if addresses.count(address) > 1:
                    raise SettingsError(f"{address} is named twice")


FIELDS: dict[str, dataclasses.Field] = {part.name: part for part in dataclasses.fields(Settings)}


def load(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    config: str | None = None,
) -> Settings:
    """The settings of all sources. *flags* holds only those that were given, by field name.

    :raises SettingsError: naming the source and the setting.
    """
    values: dict[str, Any] = {}
    config = config or environment.get(CONFIG_VARIABLE)
    if config:
        values |= _checked(_from_file(Path(config)), config)
    values |= _checked(_from_environment(environment), "the environment")
    values |= _checked(flags, "the command line")
    return Settings(**values)


def split_address(address: str) -> tuple[str, int]:
    """``HOST:PORT``, or ``[IPV6]:PORT``, to both. :raises SettingsError:"""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise SettingsError(f"{address!r} is not an address of the form HOST:PORT")
    return match["name"] or match["ipv6"], int(match["port"])


def parse(name: str, text: str) -> Any:
    """The value that *text* means for the setting *name*. :raises ValueError:"""
    kind = FIELDS[name].type
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


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            values = tomllib.load(stream)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not TOML: {error}") from error
    for name in values:
        if name not in FIELDS:
            raise SettingsError(f"{file}: there is no setting {name!r}")
    return {name: _of_kind(name, value, str(file)) for name, value in values.items()}


def _of_kind(name: str, value: Any, source: str) -> Any:
    """A value of TOML as the setting's own type."""
    kind = FIELDS[name].type
    if kind is float and type(value) is int and abs(value) <= MOST:
        return float(value)
    if kind in (bool, int, float, str):
        if type(value) is kind:
            return value
    elif isinstance(value, list) and all(type(part) is str for part in value):
        return tuple(value)
    expected = kind.__name__ if kind in (bool, int, float, str) else "list of strings"
    raise SettingsError(f"{source}: {name} is {value!r}; it must be of type {expected}")


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in FIELDS:
            raise SettingsError(f"the environment: {variable} is set, but there is no such setting")
        try:
            values[name] = parse(name, text)
        except ValueError as error:
            raise SettingsError(f"the environment: {variable}: {error}") from error
    return values


def _checked(values: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """*values*, each valid by itself; an error names *source*."""
    try:
        Settings(**values)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error
    return values
