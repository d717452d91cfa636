"""A gateway: chooses its store, and serves it from as many processes as are wanted."""

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sfss.config.credentials import Credentials
from sfss.config.gateway import Settings, split_address
from sfss.disk.database import hold
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
from sfss.stores.sqlite import FILE_NAME, SqliteStore
from sfss.web.api.gateway import make_server
from sfss.web.exposure import exposures, warn_of
from sfss.web.server import WebServer

log = logging.getLogger("sfss")


#: In the folder of one of the two stores; what is in it does not matter.
_LOCKS = "migration.lock"
#: How long a migration waits for those who serve from its folders, in seconds.
_PATIENCE = 5.0


def make_store(settings: Settings) -> Store:
    """The store that the settings ask for, not yet started.

    :raises SettingsError: :raises StoreUnusable: if there is nothing to migrate from.
    """
    old = settings.old_store
    if old is None:
        return _store_of(settings)
    if old.lock_folder is not None and not (old.lock_folder / FILE_NAME).is_file():
        # It would be made, and be empty.
        raise StoreUnusable(f"There is no embedded store in {old.lock_folder}: nothing to migrate.")
    folder = old.lock_folder or settings.lock_folder
    assert folder is not None  # the settings were checked
    return MigratingStore(
        _store_of(settings),
        _store_of(old),
        PathLocks(folder / _LOCKS, settings.request_timeout),
        largest=settings.max_file_size,
        check=partial(_see_that_they_are_two, old.lock_folder, settings.lock_folder),
    )


def _see_that_they_are_two(old: Path | None, new: Path | None) -> None:
    """A folder may have two names (a volume that is mounted twice): moving a file would delete it.

    :raises StoreUnusable:
    """
    if old is not None and new is not None and os.path.samefile(old / FILE_NAME, new / FILE_NAME):
        raise StoreUnusable(f"{old} and {new} are the same folder: there is nothing to migrate.")


def _wait_until_alone(settings: Settings) -> None:
    """Return when nobody else serves from the folders of a migration that begins. :raises StoreUnusable:"""
    old = settings.old_store
    for store in (settings, old) if old is not None else ():
        folder = store.lock_folder
        deadline = time.monotonic() + _PATIENCE
        while folder is not None and folder.is_dir():
            try:
                os.close(hold(folder, alone=True))
                break
            except StoreUnusable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)  # workers of a server that was killed are about to end


def _store_of(settings: Settings) -> Store:
    """(What only one kind of store needs is imported for that one: a start with the embedded store is quicker.)"""
    if settings.store:
        folder = settings.store.removeprefix("directory:")
        return DirectoryStore(
            Path(folder),
            max_file_size=settings.max_file_size,
            request_timeout=settings.request_timeout,
        )
    if settings.beansdb or settings.beansdb_route:
        from sfss.cli.beansdb import make_store as make_beansdb_store

        return make_beansdb_store(settings)
    if not settings.proxy:
        return SqliteStore(
            Path(settings.data),
            request_timeout=settings.request_timeout,
            cache_bytes=settings.data_cache,
        )
    from sfss.cli.beansdb import limits
    from sfss.stores.pool import ProxyStore

    return ProxyStore(
        [split_address(address) for address in settings.proxy],
        limits=limits(settings),
        request_timeout=settings.request_timeout,
        nodes=[split_address(address) for address in settings.node],
        hedge_share=settings.hedge_share,
    )


def serve(load_settings: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT, then end what is under way."""
    settings = load_settings()
    logs.set_up(settings.log_level)
    keep_large_blocks()
    first = _places(settings)
    _wait_until_alone(settings)

    def check(settings: Settings) -> str:
        if first != _places(settings) and (first[1] or settings.migrate_from):
            raise SettingsError(
                "a migration begins, changes and ends at a restart only: workers with the old settings and with the "
                "new ones would not agree where a file is"
            )
        return _check(settings)

    return master.run(settings, load_settings, check, _make_server, _listens)


def _places(settings: Settings) -> tuple[object, object]:
    """Where its files are, and where they come from."""
    old = settings.old_store
    return settings.place, old and old.place


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
