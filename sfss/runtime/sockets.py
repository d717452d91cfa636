"""The port, the certificate, and room for clients: what a server has before it serves."""

import ctypes
import logging
import resource
import socket
import ssl
import struct
import sys
from typing import Any

from sfss import __version__
from sfss.config.server import ServerSettings
from sfss.errors import SfssError
from sfss.runtime.logs import ANNOUNCEMENTS

#: What :func:`refuse_newcomers` leaves to those whose handshake is under way, in seconds: a long way there and back.
ARRIVAL_TIME = 0.1
#: From Linux's <asm-generic/socket.h>; Python has no name for it.
_SO_ATTACH_FILTER = 26
#: A program of the classic BPF (socket filters, Documentation/networking/filter.rst of Linux): an instruction
#: is its code, where it goes on if true and if false, and a value. The kernel shows it each segment from the TCP
#: header on (RFC 9293, 3.1: the flags are byte 13, ACK is 0x10 and SYN 0x02).
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # keep ACK and SYN of them
    (0x15, 0, 1, 0x02),  # a SYN by itself?
    (0x06, 0, 0, 0),  # then drop the segment
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
)


class CannotListen(SfssError):
    """The address is taken, or is none of this machine's; or the certificate is unfit."""


def listen(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of *host*. :raises CannotListen:"""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen()
    except (OSError, UnicodeError, OverflowError) as error:  # the last two are of the names
        for listener in sockets:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"Cannot listen on {host}:{port}: {reason}.") from error
    return sockets


def refuse_newcomers(listeners: list[socket.socket]) -> bool:
    """Let nobody begin to connect any more; whether the system can do that (Linux).

    Whoever connects between the last ``accept`` and the ``close`` would have been let in, and be reset. With
    this, a client's SYN is dropped as if it had been lost on its way; the client sends it once more after a
    second, and the port is closed then, or a successor's. It holds for every process that shares the sockets.
    """
    if not sys.platform.startswith("linux"):
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
    filter = struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter)
    except OSError as error:  # a sandbox without it
        logging.getLogger("sfss").debug("the port closes at once", extra={"reason": str(error)})
        return False
    return True


def url_of(address: tuple[Any, ...], *, tls: bool) -> str:
    """The URL of a server that listens on *address*, as :meth:`socket.socket.getsockname` gives it."""
    host, port = address[:2]
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{host}:{port}"


def announce(settings: ServerSettings, url: str, store: str, page: str, example: str, **more: object) -> None:
    """Say where the server listens, what is to be seen there, and a first command.

    *page*: where the page is below *url*; *example*: the same of the file ``photo.jpeg``, "" for no command.
    """
    near = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    token = '-H "Authorization: Bearer $TOKEN" ' if settings.write_token or settings.write_token_file else ""
    extra = {"url": url, "store": store, **more, "version": __version__}
    if settings.page and not url.startswith("unix:"):
        extra["page"] = near + page
    if example and not url.startswith("unix:"):
        extra["try"] = f"curl {token}-T photo.jpeg '{near}{example}'"
    logging.getLogger(ANNOUNCEMENTS).info("listening", extra=extra)


def allow_many_files() -> None:
    """As many open files as the system lets us have: each client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """The certificate of *settings*, or None without TLS. :raises CannotListen: if it is unfit."""
    if not settings.ssl:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, settings)
    return context


def load_certificate(context: ssl.SSLContext, settings: ServerSettings) -> None:
    """:raises CannotListen: if it is unfit."""
    for name, file in (("sslcert", settings.sslcert), ("sslkey", settings.sslkey)):
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise CannotListen(f"Cannot use {name} {file}: {error.strerror}.") from error
    try:
        context.load_cert_chain(settings.sslcert, settings.sslkey, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(
            f"Cannot use the certificate {settings.sslcert} with the key {settings.sslkey}: {reason}."
        ) from error


def _no_password() -> str:
    raise ValueError("it is encrypted, and nobody is there to ask for its password")
