"""``sfss objects``: an object service, and what its operator does with it."""

import asyncio
import json
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sfss.cli import accounts
from sfss.cli.gateway import make_store
from sfss.config.objects import POSTGRES, ObjectSettings
from sfss.errors import AlreadyThere, NotFound, SettingsError
from sfss.metrics.aggregate import Aggregate
from sfss.objects import manifests
from sfss.objects.catalog import Catalog
from sfss.objects.cleaning import ABANDONED, Cleaner
from sfss.objects.contents import piece_path
from sfss.objects.lifecycle import Lifecycle
from sfss.objects.listings import every
from sfss.objects.models import IN_PARTS, ObjectInfo, Query, User
from sfss.objects.service import Objects
from sfss.objects.sqlite_catalog import FILE_NAME, SqliteCatalog
from sfss.objects.users import all_accounts
from sfss.runtime import logs, master
from sfss.runtime.malloc import keep_large_blocks
from sfss.runtime.sockets import announce
from sfss.service import FileService
from sfss.web.api.objects import make_objects_server
from sfss.web.api.page import ELSEWHERE
from sfss.web.server import WebServer

log = logging.getLogger("sfss.objects")

#: What is made at the first start.
_FIRST = ("main", "admin")
_PAGE = 1000


def make_catalog(settings: ObjectSettings) -> Catalog:
    """Not yet started."""
    if settings.catalog.startswith(POSTGRES):
        from sfss.objects.postgres_catalog import PostgresCatalog  # not everybody has a PostgreSQL

        return PostgresCatalog(settings.catalog, timeout=settings.request_timeout)
    return SqliteCatalog(settings.catalog_folder, timeout=settings.request_timeout)


def serve(load_settings: Callable[[], ObjectSettings]) -> int:
    """Serve until SIGTERM or SIGINT, then end what is under way."""
    settings = load_settings()
    logs.set_up(settings.log_level)
    keep_large_blocks()
    first: list[User] = []

    def check(settings: ObjectSettings) -> str:
        store, catalog = make_store(settings), make_catalog(settings)
        store.prepare()
        catalog.prepare()
        entries = accounts.read(Path(settings.accounts)) if settings.accounts else {}
        first.extend(asyncio.run(_first_user(catalog, entries)))
        return f"{store.description}, {catalog.description}"

    def listens(settings: ObjectSettings, url: str, store: str) -> None:
        announce(settings, url, store, f"{ELSEWHERE}/", "")
        near = settings.url or url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        for user in first:
            print(_welcome(near, user), file=sys.stderr, flush=True)
        first.clear()

    return master.run(settings, load_settings, check, _make_server, listens)


async def _make_server(settings: ObjectSettings, aggregate: Aggregate) -> WebServer:
    """All that one worker serves with."""
    store, catalog = make_store(settings), make_catalog(settings)
    await store.start()
    await catalog.start()
    service = FileService.of(store, settings)
    server = make_objects_server(Objects(service, catalog), settings, aggregate)
    cleaner = Cleaner(service, catalog, grace=settings.keep_deleted)
    jobs = [asyncio.create_task(job) for job in (cleaner.keep_cleaning(), Lifecycle(catalog).keep_going())]

    async def close(app: object) -> None:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await catalog.close()
        await store.close()

    server.app.on_cleanup.append(close)
    return server


async def _first_user(catalog: Catalog, entries: Mapping[accounts.Name, accounts.Entry]) -> list[User]:
    """Somebody has to be able to come in: who is made, if there is nobody, and none of *entries*."""
    await catalog.start()
    try:
        await accounts.admit(catalog, entries)
        if await catalog.users():
            return []
        return [await catalog.add_user(*_FIRST, secrets.token_hex(16), read_only=False)]
    except AlreadyThere:  # another service over the same catalog was quicker
        return []
    finally:
        await catalog.close()


def _welcome(url: str, user: User) -> str:
    name, key = user.full_name, user.key
    return (
        f"\nThis is the first start: there is an account now. User {name}, key {key}\n"
        f"    swift -A {url}/auth/v1.0 -U {name} -K {key} list\n"
        f'    rclone lsd \':swift,auth="{url}/auth/v1.0",user="{name}",key={key}:\'\n'
        f"    AWS_ACCESS_KEY_ID={name} AWS_SECRET_ACCESS_KEY={key} aws --endpoint-url {url} --region us-east-1 s3 ls\n"
        f"More users: sfss objects user add ACCOUNT:USER\n"
    )


# What operators do.


async def look_after(load_settings: Callable[[], ObjectSettings], options: dict[str, Any]) -> int:
    """*options*: the command (``what``, ``how``) and its own. :raises SettingsError:"""
    settings = load_settings()
    what = options["what"]
    if (what, options.get("how")) != ("user", "add"):
        _check_there(settings)
    if what == "fsck":
        return await _check_all(settings, repair=options["repair"], idle=options["idle"])
    async with _opened(settings) as catalog:
        if what == "usage":
            return await _usage(catalog, options["json"])
        how = options["how"]
        if how == "list":
            return _list(await catalog.users(), options["json"])
        account, name = accounts.user_name(options["user"])
        if how == "add":
            key = options["key"] or secrets.token_hex(16)
            user = await catalog.add_user(account, name, key, read_only=options["read_only"])
            return _show(user, options["json"])
        if how == "rotate":
            key = options["key"] or secrets.token_hex(16)
            await catalog.change_user(account, name, key=key)
            found = await catalog.user(account, name)
            assert found is not None
            return _show(found, options["json"])
        await catalog.change_user(account, name, disabled=how == "disable")
        return 0


def _check_there(settings: ObjectSettings) -> None:
    """That nobody is told of an empty service in a folder that is another one. :raises SettingsError:"""
    file = settings.catalog_folder / FILE_NAME
    if not settings.catalog.startswith(POSTGRES) and not file.exists():
        raise SettingsError(f"there is no catalog {file}: name the --data, or --catalog, that it serves from")


@asynccontextmanager
async def _opened(settings: ObjectSettings) -> AsyncIterator[Catalog]:
    catalog = make_catalog(settings)
    await catalog.start()
    try:
        yield catalog
    finally:
        await catalog.close()


def _show(user: User, as_json: bool) -> int:
    if as_json:
        shown = {
            "account": user.account_name,
            "user": user.name,
            "key": user.key,
            "access_key": user.access_key,
        }
        print(json.dumps(shown))
    else:
        print(
            f"user {user.full_name}\nkey {user.key}\naccess key of S3 {user.full_name}, or {user.access_key}"
        )
    return 0


def _list(users: Any, as_json: bool) -> int:
    """Without their keys."""
    rows = [
        {
            "account": user.account_name,
            "user": user.name,
            "read_only": user.read_only,
            "disabled": user.disabled,
        }
        for user in users
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
    for user in () if as_json else users:
        marks = [
            word for word, holds in (("read-only", user.read_only), ("disabled", user.disabled)) if holds
        ]
        print(" ".join([user.full_name, *marks]))
    return 0


async def _usage(catalog: Catalog, as_json: bool) -> int:
    rows = [(await catalog.account(key))._asdict() for key in await all_accounts(catalog)]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{'account':32} {'containers':>12} {'objects':>12} {'bytes':>16}")
        for row in rows:
            print(f"{row['name']:32} {row['containers']:>12} {row['objects']:>12} {row['bytes']:>16}")
    return 0


async def _check_all(settings: ObjectSettings, *, repair: bool, idle: bool) -> int:
    """Whether all pieces of all objects are there, and nothing else. *idle*: nobody writes meanwhile."""
    if idle:  # somebody who serves may be writing
        await make_catalog(settings).check_idle()
    store = make_store(settings)
    await store.start()
    service = FileService.of(store, settings)
    damaged = checked = 0
    try:
        async with _opened(settings) as catalog:
            for account in await all_accounts(catalog):
                async for container, info in _all_versions(catalog, account):
                    checked += 1
                    if not await _is_whole(service, catalog, info):
                        damaged += 1
                        print(f"{container}/{info.path}: a piece is missing or has another length")
            cleaner = Cleaner(service, catalog)
            orphans = await cleaner.orphans(older_than=0.0 if idle else ABANDONED)
            if repair:
                await cleaner.give_up(orphans)
                if idle:
                    await cleaner.clean(grace=0.0, abandoned=0.0)
    finally:
        await store.close()
    what = "will be removed" if repair else "can be removed with --repair"
    print(
        f"{checked} objects, {damaged} damaged; {len(orphans)} contents of no object"
        + (f", {what}" if orphans else "")
    )
    return 1 if damaged or (orphans and not repair) else 0


async def _all_versions(catalog: Catalog, account: int) -> AsyncIterator[tuple[str, ObjectInfo]]:
    async for container in every(partial(catalog.containers, account), Query(_PAGE)):
        versions = partial(catalog.versions, account, container.path)
        async for version in every(versions, Query(_PAGE)):
            if not version.is_marker:
                yield container.path, version.info


async def _is_whole(service: FileService, catalog: Catalog, info: ObjectInfo) -> bool:
    if info.manifest == IN_PARTS:
        parts = (await manifests.joined(catalog, 0, info)).parts
        if sum(part.info.size for part in parts) != info.size:
            return False
        return all([await _is_whole(service, catalog, part.info) for part in parts])
    for number in range(info.pieces):
        room = service.room_to_read()
        try:
            found = await service.stat(piece_path(info.content, number), room)
        except NotFound:
            return False
        finally:
            room.release()
        if found.size != min(info.piece_size, info.size - number * info.piece_size):
            return False
    return True
