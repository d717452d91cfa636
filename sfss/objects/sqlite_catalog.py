"""A catalog in one SQLite database, which several processes on one machine share."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sfss.disk.database import hold
from sfss.disk.shared_database import SharedDatabase
from sfss.errors import NoSuchUpload
from sfss.objects import sqlite_contents, sqlite_users
from sfss.objects import sqlite_statements as statements
from sfss.objects.catalog import Catalog, Changes
from sfss.objects.listings import listed
from sfss.objects.models import (
    AccountInfo,
    ContainerInfo,
    Garbage,
    Metadata,
    ObjectInfo,
    Query,
    Upload,
    UploadedPart,
    User,
)
from sfss.objects.rows import (
    account_of,
    container_of,
    kept_version,
    object_of,
    upload_marker,
    upload_of,
    uploads_page,
    user_of,
    version_of,
)
from sfss.objects.sqlite_lookups import Lookups
from sfss.objects.sqlite_statements import CONTAINER, LISTED, SCHEMA, UPLOAD
from sfss.objects.sqlite_users import USER
from sfss.objects.versions import Deleted, Version, bound_in
from sfss.stores.listing import HasPath, Page

FILE_NAME = "catalog.sqlite3"
_CACHE_BYTES = 64 * 1024 * 1024
#: What a change of metadata may add.
_METADATA = 16 * 1024

T = TypeVar("T", bound=HasPath)


class SqliteCatalog(Catalog):
    """In *folder*. *timeout*: seconds for a call."""

    reads_at_once = True

    def __init__(self, folder: Path, *, timeout: float):
        file = Path(folder).absolute() / FILE_NAME
        self.description = f"sqlite {file}"
        self._folder = file.parent
        self._database = SharedDatabase(file, SCHEMA, timeout, _CACHE_BYTES)
        self._lookups = Lookups(self._database)

    def prepare(self) -> None:
        self._database.prepare()

    async def check_idle(self) -> None:
        os.close(hold(self._folder, alone=True))

    async def start(self) -> None:
        self._database.start()
        self.id = await self._change(sqlite_users.identity)

    async def close(self) -> None:
        await self._database.close()

    async def ready(self) -> None:
        self._database.read_row("SELECT 1 FROM state LIMIT 1")
        self._database.check()

    async def take_turn(self, what: str, interval: float) -> bool:
        is_ours: bool = await self._change(lambda database: statements.take_turn(database, what, interval))
        return is_ours

    # Who may come in.

    async def secret(self) -> bytes:
        secret: bytes = await self._change(sqlite_users.secret)
        return secret

    async def user(self, account: str, name: str) -> User | None:
        row = self._database.read_row(f"{USER} WHERE accounts.name = ? AND users.name = ?", account, name)
        return user_of(row) if row else None

    async def user_with(self, access_key: str) -> User | None:
        row = self._database.read_row(f"{USER} WHERE access_key = ?", access_key)
        return user_of(row) if row else None

    async def users(self) -> Sequence[User]:
        rows = self._database.read_rows(f"{USER} ORDER BY accounts.name, users.name")
        return [user_of(row) for row in rows]

    async def add_user(self, account: str, name: str, key: str, *, read_only: bool) -> User:
        user: User = await self._change(
            lambda database: sqlite_users.add_user(database, account, name, key, read_only=read_only),
            size=1024,
        )
        return user

    async def change_user(
        self,
        account: str,
        name: str,
        *,
        key: str | None = None,
        read_only: bool | None = None,
        disabled: bool | None = None,
    ) -> None:
        await self._change(
            lambda database: sqlite_users.change_user(
                database, account, name, key=key, read_only=read_only, disabled=disabled
            )
        )

    async def account_named(self, name: str) -> int | None:
        row = self._database.read_row("SELECT id FROM accounts WHERE name = ?", name)
        return row[0] if row else None

    # Accounts and containers.

    async def account(self, account: int) -> AccountInfo:
        row = self._database.read_row(
            "SELECT name, containers, objects, bytes, created, metadata FROM accounts WHERE id = ?",
            account,
        )
        assert row is not None  # accounts stay
        return account_of(row)

    async def change_account(self, account: int, changes: Changes) -> None:
        await self._change(
            lambda database: statements.change_account(database, account, changes), size=_METADATA
        )

    async def containers(self, account: int, query: Query) -> Page[ContainerInfo]:
        return await self._page(CONTAINER, "account", account, container_of, query)

    async def container(self, account: int, name: str) -> ContainerInfo:
        return self._lookups.container(account, name)

    async def containers_named(self, name: str) -> Sequence[tuple[int, str, ContainerInfo]]:
        return self._lookups.containers_named(name)

    async def make_container(self, account: int, name: str, changes: Changes) -> bool:
        is_new: bool = await self._change(
            lambda database: statements.make_container(database, account, name, changes), size=_METADATA
        )
        return is_new

    async def change_container(self, account: int, name: str, changes: Changes) -> None:
        await self._change(
            lambda database: statements.change_container(database, account, name, changes), size=_METADATA
        )

    async def delete_container(self, account: int, name: str) -> None:
        await self._change(lambda database: statements.delete_container(database, account, name))

    # Objects.

    async def objects(self, account: int, container: str, query: Query) -> Page[ObjectInfo]:
        return await self._page(LISTED, "container", self._lookups.key(account, container), object_of, query)

    async def object(self, account: int, container: str, name: str) -> ObjectInfo:
        return self._lookups.object(account, container, name)

    async def put_object(
        self,
        account: int,
        container: str,
        info: ObjectInfo,
        *,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> str:
        version: str = await self._change(
            lambda database: statements.put_object(
                database, account, container, info, must_be_new=must_be_new, must_have=must_have
            ),
            # Into the log, and into the database later: about what its row has.
            size=4096 + 4 * len(info.manifest) + 4 * sum(map(len, info.metadata.values())),
        )
        return version

    async def change_object(
        self,
        account: int,
        container: str,
        name: str,
        metadata: Metadata,
        content_type: str | None,
        expires: int = 0,
    ) -> None:
        await self._change(
            lambda database: statements.change_object(
                database, account, container, name, metadata, content_type, expires
            ),
            size=_METADATA,
        )

    async def set_properties(
        self, account: int, container: str, name: str, changes: Changes, *, version: str | None = None
    ) -> None:
        await self._change(
            lambda database: statements.set_properties(database, account, container, name, changes, version),
            size=_METADATA,
        )

    async def expire(self, before: int, limit: int) -> int:
        count: int = await self._change(lambda database: statements.expire(database, before, limit))
        return count

    async def delete_object(
        self,
        account: int,
        container: str,
        name: str,
        *,
        must_have: str | None = None,
        before: int | None = None,
    ) -> Deleted:
        deleted: Deleted = await self._change(
            lambda database: statements.delete_object(
                database, account, container, name, must_have=must_have, before=before
            )
        )
        return deleted

    # Versions.

    async def set_versioning(self, account: int, container: str, versioning: int) -> None:
        await self._change(
            lambda database: statements.set_versioning(database, account, container, versioning)
        )

    async def object_version(self, account: int, container: str, name: str, version: str) -> ObjectInfo:
        key = self._lookups.key(account, container)
        return kept_version(self._database.read_row(statements.VERSION, key, name, version), name)

    async def versions(self, account: int, container: str, query: Query) -> Page[Version]:
        key = self._lookups.key(account, container)

        def ask(database: sqlite3.Connection) -> Page[Version]:
            def read(is_reverse: bool, bound: str, count: int) -> list[Version]:
                rows = database.execute(statements.VERSIONS, (key, *bound_in(bound), count))
                return [version_of(row) for row in rows]

            return listed(read, query)

        return await self._database.read_long(ask)

    async def delete_version(self, account: int, container: str, name: str, version: str) -> Deleted:
        deleted: Deleted = await self._change(
            lambda database: statements.delete_version(database, account, container, name, version)
        )
        return deleted

    async def expire_versions(
        self, account: int, container: str, prefix: str, before: int, limit: int
    ) -> int:
        count: int = await self._change(
            lambda database: statements.expire_versions(database, account, container, prefix, before, limit)
        )
        return count

    # Uploads in parts.

    async def begin_upload(self, account: int, container: str, upload: Upload) -> None:
        await self._change(
            lambda database: statements.begin_upload(database, account, container, upload), size=1024
        )

    async def upload(self, account: int, container: str, name: str, id: str) -> Upload:
        row = self._database.read_row(
            f"{UPLOAD} WHERE id = ? AND name = ? AND container = ?",
            id,
            name,
            self._lookups.key(account, container),
        )
        if row is None:
            raise NoSuchUpload.of(id)
        return upload_of(row)

    async def uploads(self, account: int, container: str, query: Query) -> Page[Upload]:
        key = self._lookups.key(account, container)

        def ask(database: sqlite3.Connection) -> Page[Upload]:
            name, id = upload_marker(query.marker)
            rows = database.execute(
                f"{UPLOAD} WHERE container = ?1 AND (name, id) > (?2, ?3) AND name >= ?4"
                " AND substr(name, 1, length(?4)) = ?4 ORDER BY name, id LIMIT ?5",
                (key, name, id, query.prefix, query.limit + 1),
            ).fetchall()
            return uploads_page(rows, query.limit)

        return await self._database.read_long(ask)

    async def put_part(self, upload: str, part: UploadedPart) -> None:
        await self._change(lambda database: statements.put_part(database, upload, part), size=1024)

    async def parts(self, upload: str) -> Sequence[UploadedPart]:
        rows = self._database.read_rows(f"{sqlite_contents.PART} WHERE upload = ? ORDER BY number", upload)
        return [UploadedPart(*row) for row in rows]

    async def complete_upload(
        self,
        account: int,
        container: str,
        info: ObjectInfo,
        parts: Sequence[UploadedPart],
        *,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> str:
        version: str = await self._change(
            lambda database: statements.complete_upload(
                database, account, container, info, parts, must_be_new=must_be_new, must_have=must_have
            ),
            size=1024,
        )
        return version

    async def abort_upload(self, upload: str) -> None:
        await self._change(lambda database: statements.abort_upload(database, upload))

    # Contents.

    async def begin_content(self, content: str) -> None:
        await self._change(lambda database: sqlite_contents.begin_content(database, content))

    async def give_up(self, content: str, pieces: int | None) -> None:
        await self._change(lambda database: sqlite_contents.give_up(database, content, pieces))

    async def abandoned(self, before: int) -> Sequence[str]:
        rows = self._database.read_rows("SELECT content FROM writing WHERE since < ?", before)
        return [content for (content,) in rows]

    async def garbage(self, before: int, limit: int) -> Sequence[Garbage]:
        rows = self._database.read_rows(sqlite_contents.GARBAGE, before, limit)
        return [Garbage(*row) for row in rows]

    async def removed(self, contents: Iterable[str]) -> None:
        gone = list(contents)
        await self._change(lambda database: sqlite_contents.removed(database, gone))

    async def put_off(self, content: str) -> None:
        await self._change(lambda database: sqlite_contents.put_off(database, content))

    async def forget_removed(self, before: int) -> None:
        await self._change(lambda database: sqlite_contents.forget_removed(database, before))

    async def known(self, contents: Iterable[str]) -> set[str]:
        asked = list(contents)
        return await self._database.read_long(lambda database: set(sqlite_contents.known(database, asked)))

    # How it is asked.

    async def _change(self, action: Callable[[sqlite3.Connection], Any], *, size: int = 0) -> Any:
        """What *action* returns, when that is on disk. *size*: bytes that must be free, if it adds something."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._database.writer.write(action, size, done)
        return await done

    async def _page(
        self, select: str, column: str, key: int, make: Callable[[tuple[Any, ...]], T], query: Query
    ) -> Page[T]:
        """A listing of the rows whose *column* is *key*."""

        def read(database: sqlite3.Connection, is_reverse: bool, bound: str, count: int) -> list[T]:
            comparison, order = ("<", "DESC") if is_reverse else (">=", "ASC")
            rows = database.execute(
                f"{select} WHERE {column} = ? AND name {comparison} ? ORDER BY name {order} LIMIT ?",
                (key, bound, count),
            )
            return [make(row) for row in rows]

        return await self._database.read_long(lambda database: listed(partial(read, database), query))
