"""What is open to every client that reaches the port: said at the start, and on the page."""

import ipaddress
import logging
from collections.abc import Iterable

from sfss.config.credentials import Credentials
from sfss.config.node import NodeSettings
from sfss.config.objects import ObjectSettings
from sfss.config.server import ServerSettings

log = logging.getLogger("sfss")


def exposures(settings: ServerSettings, credentials: Credentials) -> list[str]:
    """A sentence for each door that stands open to a network, with the flag that closes it."""
    if _is_loopback(settings.host):
        return []
    if isinstance(settings, ObjectSettings):  # whose users have keys
        return []
    where = f"who reaches {settings.host} port {settings.port}"
    found = []
    if not credentials.write_tokens and not settings.allow_writes_from:
        found.append(
            f"Everybody {where} may write and delete files: --write-token-file or --allow-writes-from"
            " closes that."
        )
    elif isinstance(settings, NodeSettings) and not credentials.node_secret and settings.node:
        found.append(
            f"Everybody {where} can impersonate a node, and can write: --node-secret-file closes that."
        )
    return found


def doors(settings: ServerSettings, credentials: Credentials) -> list[tuple[str, str]]:
    """What may be done, and by whom, in words."""
    where = f"{settings.host} port {settings.port}" if settings.port else settings.host
    everybody = "everybody"
    if _is_loopback(settings.host):
        everybody += " whom a proxy lets in" if settings.trust_forwarded_from else " on this machine"
    if isinstance(settings, ObjectSettings):
        return [("Listens on", where), ("Read and write", "users"), ("Read what is public", everybody)]
    reads = "who has a token" if credentials.read_tokens else everybody
    writes = "who has a write token" if credentials.write_tokens else everybody
    if settings.allow_writes_from:
        writes = f"{writes.removesuffix(' on this machine')}, from some addresses"
    found = [("Listens on", where), ("Read", reads), ("Write", writes)]
    if credentials.signing_keys:
        found.append(("Signed URLs", "open what they name"))
    return found


def warn_of(sentences: Iterable[str]) -> None:
    """Have the operator know of them, in one line of the log each."""
    for sentence in sentences:
        log.warning("open to the network", extra={"reason": sentence})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
