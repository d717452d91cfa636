"""A gateway: chooses its store, and serves it from as many processes as are wanted."""

import logging
from collections.abc import Callable
from pathlib import Path

from sfss.cli import beansdb
from sfss.config.credentials import Credentials
from sfss.config.gateway import Settings, split_address
from sfss.disk.path_locks import PathLocks
from sfss.errors import SettingsError, StoreUnusable
from sfss.metrics.aggregate import Aggregate
from sfss.runtime import logs, master
from sfss.runtime.malloc import keep_large_blocks
from sfss.runtime.sockets import announce
from sfss.service import FileService
from sfss.stores.base import Store
from sfss.stores.directory import DirectoryStore
from sfss.stores.migrating import MigratingStore
from sfss.stores.pool import ProxyStore
from sfss.stores.sqlite import FILE_NAME, SqliteStore
from sfss.web.api.gateway import make_server
from sfss.web.exposure import exposures, warn_of
from sfss.web.server import WebServer

log = logging.getLogger("sfss")


#: In the folder of one of the two stores; what is in it does not matter.
_LOCKS = "migration.lock"


def make_store(settings: Settings) -> Store:
    """The store that the settings ask for, not yet started.

    :raises SettingsError: :raises StoreUnusable: if there is nothing to migrate from.
    """
    old = settings.old_store
    if old is None:
        return _store_of(settings)
    _see_that_it_is_there(old)
    folder = old.lock_folder or settings.lock_folder
    assert folder is not None  # the settings were checked
    locks = PathLocks(folder / _LOCKS, settings.request_timeout)
    return MigratingStore(_store_of(settings), _store_of(old), locks)


def _see_that_it_is_there(old: Settings) -> None:
    """A store that would be made, and be empty, is not the one that was meant. :raises StoreUnusable:"""
    folder = old.lock_folder
    if folder is None:
        return
    if not (folder.parent.is_dir() if old.store else (folder / FILE_NAME).is_file()):
        raise StoreUnusable(
            f"There is no store in {folder.parent if old.store else folder}: nothing to migrate."
        )


def _store_of(settings: Settings) -> Store:
    if settings.store:
        folder = settings.store.removeprefix("directory:")
        return DirectoryStore(
            Path(folder),
            max_file_size=settings.max_file_size,
            request_timeout=settings.request_timeout,
        )
    if settings.beansdb or settings.beansdb_route:
        return beansdb.make_store(settings)
    if not settings.proxy:
        return SqliteStore(
            Path(settings.data),
            request_timeout=settings.request_timeout,
            cache_bytes=settings.data_cache,
        )
    return ProxyStore(
        [split_address(address) for address in settings.proxy],
        limits=beansdb.limits(settings),
        request_timeout=settings.request_timeout,
        nodes=[split_address(address) for address in settings.node],
        hedge_share=settings.hedge_share,
    )


def serve(load_settings: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT, then end what is under way."""
    settings = load_settings()
    logs.set_up(settings.log_level)
    keep_large_blocks()
    first = settings

    def check(settings: Settings) -> str:
        is_migrating = first.migrate_from or settings.migrate_from
        if is_migrating and (first.migrate_from, first.place) != (settings.migrate_from, settings.place):
            raise SettingsError(
                "a migration begins, changes and ends at a restart only: workers with the old settings and with the "
                "new ones would not agree where a file is"
            )
        return _check(settings)

    return master.run(settings, load_settings, check, _make_server, _listens)


def _listens(settings: Settings, url: str, store: str) -> None:
    announce(settings, url, store, "/", "/file?path=photo.jpeg", workers=settings.worker_count)


def _check(settings: Settings) -> str:
    """See that a worker could serve with *settings*; what it would keep files in, for the log."""
    credentials = Credentials.of(settings)
    if credentials.read_tokens and not (credentials.write_tokens or settings.allow_writes_from):
        log.warning("reads need a token, and everybody may write: there is no write_token")
    warn_of(exposures(settings, credentials))
    store = make_store(settings)
    store.prepare()
    return store.description


async def _make_server(settings: Settings, aggregate: Aggregate) -> WebServer:
    """All that one worker serves with."""
    store = make_store(settings)
    await store.start()
    service = FileService.of(store, settings)
    server = make_server(service, settings, Credentials.of(settings), aggregate)

    async def close_store(app: object) -> None:
        await store.close()

    server.app.on_cleanup.append(close_store)
    return server
