"""The secrets of the server: tokens and keys, from the settings and from files."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sfss.config.gateway import Settings
from sfss.config.node import NodeSettings
from sfss.config.server import ServerSettings
from sfss.errors import SettingsError
from sfss.signing import SHORTEST_KEY

# RFC 6750 2.1: b64token
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Empty is open: without a token, every client that reaches the port may do it."""

    write_tokens: tuple[str, ...] = field(default=(), repr=False)
    read_tokens: tuple[str, ...] = field(default=(), repr=False)
    signing_keys: tuple[str, ...] = field(default=(), repr=False)
    node_secret: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: ServerSettings) -> "Credentials":
        """:raises SettingsError: if a file cannot be read, is empty, or a secret is malformed."""
        write_tokens = settings.write_token + secrets_in("write_token_file", settings.write_token_file)
        read_tokens = settings.read_token + secrets_in("read_token_file", settings.read_token_file)
        keys: tuple[str, ...] = ()
        node_secret = ""
        if isinstance(settings, Settings):
            keys = settings.signing_key + secrets_in("signing_key_file", settings.signing_key_file)
        elif isinstance(settings, NodeSettings):
            node_secret = _node_secret(settings)
        for name, tokens in (("write_token", write_tokens), ("read_token", read_tokens)):
            if not all(_TOKEN.fullmatch(token) for token in tokens):
                raise SettingsError(f"{name}: a token has letters, digits and any of -._~+/ only")
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise SettingsError(f"signing_key: a key has at least {SHORTEST_KEY} characters")
        return cls(write_tokens, read_tokens, keys, node_secret)


def _node_secret(settings: NodeSettings) -> str:
    found = secrets_in("node_secret_file", settings.node_secret_file)
    if settings.node_secret:
        found = (settings.node_secret, *found)
    if len(found) > 1:
        raise SettingsError("node_secret: there is more than one; it is the same on all nodes")
    if found and not _TOKEN.fullmatch(found[0]):
        raise SettingsError("node_secret: it has letters, digits and any of -._~+/ only")
    return found[0] if found else ""


def secrets_in(name: str, file: str) -> tuple[str, ...]:
    """The lines of *file* but for empty ones and comments (#); none if there is no file to read.

    :raises SettingsError: naming the setting *name*.
    """
    if not file:
        return ()
    try:
        lines = [line.strip() for line in Path(file).read_text("ascii").splitlines()]
    except OSError as error:
        raise SettingsError(f"{name}: {file} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise SettingsError(f"{name}: {file} is not ASCII: a token has letters, digits and -._~+/") from error
    secrets = tuple(line for line in lines if line and not line.startswith("#"))
    if not secrets:  # an empty file must not open the door
        raise SettingsError(f"{name}: there is nothing in {file}")
    return secrets
