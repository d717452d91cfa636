"""One process behind one port, for what cannot be shared among several (a node)."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from sfss.config.server import Kind, ServerSettings
from sfss.runtime.server import Server
from sfss.runtime.sockets import (
    ARRIVAL_TIME,
    allow_many_files,
    listen,
    load_certificate,
    refuse_newcomers,
    tls_context,
    url_of,
)
from sfss.runtime.worker import heed_no_more_signals, settle

log = logging.getLogger("sfss")


async def run(
    settings: ServerSettings,
    make_server: Callable[[], Awaitable[Server]],
    load: Callable[[], Kind],
    use: Callable[[Kind], Awaitable[None]],
    listens: Callable[[str], None],
) -> int:
    """Serve until SIGTERM or SIGINT, then end what is under way; returns the exit code.

    *load* gives the settings anew at each SIGHUP, and *use* makes them hold. *listens* is called with
    each URL of this server.

    :raises SfssError: if it cannot start.
    """
    allow_many_files()
    stop, reread = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    tls = tls_context(settings)
    sockets = listen(settings.host, settings.port)
    server = None
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reread.set)
        server = await make_server()
        await server.start()
        for listener in sockets:
            await server.listen(listener, tls)
            url = url_of(listener.getsockname(), tls=tls is not None)
            listens(url)
        settle()
        while not await _first(stop, reread):
            reread.clear()
            try:
                new = load()
                tls_context(new)  # what is unfit must not touch the one in use
                await use(new)
                if tls is not None and new.ssl:
                    load_certificate(tls, new)
                log.info("settings reloaded")
            except Exception as error:  # the old settings are good; nothing is worth to lose them
                log.error(
                    "the new settings cannot be used; going on with the old ones",
                    extra={"reason": str(error)},
                )
        log.info("stopping", extra={"drain_timeout_s": settings.drain_timeout})
        if refuse_newcomers(sockets):
            await asyncio.sleep(ARRIVAL_TIME)
    finally:
        if server is not None:
            await server.stop()
        for listener in sockets:
            listener.close()
        heed_no_more_signals()
    log.info("stopped")
    return 0


async def _first(stop: asyncio.Event, reread: asyncio.Event) -> bool:
    """Wait for one of the two; whether it is *stop*."""
    waits = [asyncio.ensure_future(event.wait()) for event in (stop, reread)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return stop.is_set()
