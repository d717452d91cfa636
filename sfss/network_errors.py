"""Why a connection failed, in words that help: aiohttp's own speak of its inside (``ssl:default``)."""

import os

import aiohttp


def reason_of(error: Exception) -> str:
    """A few words for *error*, which aiohttp or the system has raised."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {_of_certificate(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {error.host!r}"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"no TLS with it: {_of_system(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {_of_system(error.os_error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, OSError):
        return _of_system(error)
    return str(error) or type(error).__name__


def _of_system(error: OSError) -> str:
    inner = getattr(error, "exceptions", ())  # of several addresses
    if inner:
        return _of_system(inner[0])
    text = error.strerror or str(error) or type(error).__name__
    # asyncio puts its own words around the system's, which then stand behind the number only.
    if error.errno is not None and ("Connect call failed" in text or "Can not write request body" in text):
        return os.strerror(error.errno)
    return text


def _of_certificate(error: Exception) -> str:
    return getattr(error, "verify_message", "") or str(error)
