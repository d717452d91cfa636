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
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfss.compiled import PURE_VARIABLE
from sfss.config.gateway import Settings
from sfss.config.server import MOST, Kind, ServerSettings, fields_of
from sfss.errors import SettingsError

ENVIRONMENT_PREFIX = "SFSS_"
CONFIG_VARIABLE = "SFSS_CONFIG"
#: For the commands that work against a server; not one of its settings.
TOKEN_VARIABLE = "SFSS_TOKEN"
#: The same for the server that files come from.
SOURCE_TOKEN_VARIABLE = "SFSS_SOURCE_TOKEN"
URL_VARIABLE = "SFSS_URL"
CA_VARIABLE = "SFSS_CAFILE"
#: One of the server's settings, too.
KEY_VARIABLE = "SFSS_SIGNING_KEY"
_OF_COMMANDS = (
    CONFIG_VARIABLE,
    TOKEN_VARIABLE,
    SOURCE_TOKEN_VARIABLE,
    URL_VARIABLE,
    CA_VARIABLE,
    PURE_VARIABLE,
)


def load(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    config: str | None = None,
    kind: type[Kind] = Settings,  # type: ignore[assignment]  # mypy has no defaults of type variables
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


def _of_kind(part: dataclasses.Field[Any], value: Any, source: str) -> Any:
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


_EXAMPLES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true"),
    int: ("a whole number", "8"),
    float: ("a number", "1.5"),
    str: ("a string", '"…"'),
}


def _from_environment(environment: Mapping[str, str], kind: type[ServerSettings]) -> dict[str, Any]:
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


def _checked(values: Mapping[str, Any], source: str, kind: type[ServerSettings]) -> Mapping[str, Any]:
    """*values*, each valid by itself; an error names *source*."""
    try:
        for name, value in values.items():
            if value == "":  # only what is not given is empty; an empty path to tokens opens no door
                raise SettingsError(f"{name} is empty")
        kind(**values)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error
    return values
