"""A catalog in PostgreSQL, which services on several machines share. Its tables and functions: postgres_schema.sql."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sfss.errors import (
    NoSuchContainer,
    NoSuchUpload,
    NotFound,
)
from sfss.objects.catalog import Changes
from sfss.objects.clock import now_us
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
)
from sfss.objects.postgres_statements import (
    ACCOUNT,
    CONTAINER,
    CONTAINERS_NAMED,
    DONE,
    EXPIRE_VERSIONS,
    GARBAGE,
    KNOWN,
    LISTED,
    OBJECT,
    PARTS,
    UPLOADS,
    VERSION,
    VERSIONS,
    refusal,
    set_properties,
)
from sfss.objects.postgres_users import PostgresUsers
from sfss.objects.rows import (
    account_of,
    changed,
    columns_of,
    container_of,
    kept_version,
    key_of,
    metadata_text,
    object_of,
    there,
    upload_marker,
    upload_of,
    uploads_page,
    version_of,
)
from sfss.objects.versions import Deleted, Version, bound_in, new_version
from sfss.stores.listing import HasPath, Page

T = TypeVar("T", bound=HasPath)
#: A query, and its arguments.
Asked = tuple[str, tuple[Any, ...]]


class PostgresCatalog(PostgresUsers):
    """See :class:`PostgresUsers`."""

    # Accounts and containers.

    async def account(self, account: int) -> AccountInfo:
        return account_of(await self._database.row(ACCOUNT, account))

    async def change_account(self, account: int, changes: Changes) -> None:
        async def change(connection: Any) -> None:
            metadata = await connection.fetchval(
                "SELECT metadata FROM sfss.accounts WHERE id = $1 FOR NO KEY UPDATE", account
            )
            await connection.execute(
                "UPDATE sfss.accounts SET metadata = $1 WHERE id = $2", changed(metadata, changes), account
            )

        await self._database.within(change)

    async def containers(self, account: int, query: Query) -> Page[ContainerInfo]:
        return await self._page(CONTAINER, "account", account, container_of, query)

    async def container(self, account: int, name: str) -> ContainerInfo:
        row = await self._database.row(f"{CONTAINER} WHERE account = $1 AND name = $2", account, name)
        if row is None:
            raise NoSuchContainer.of(name)
        return container_of(row)

    async def containers_named(self, name: str) -> Sequence[tuple[int, str, ContainerInfo]]:
        rows = await self._database.rows(CONTAINERS_NAMED, name)
        return [(account, account_name, container_of(row)) for account, account_name, *row in rows]

    async def make_container(self, account: int, name: str, changes: Changes) -> bool:
        async def make(connection: Any) -> bool:
            is_new = await connection.fetchval(
                "INSERT INTO sfss.containers (account, name, created, modified, metadata)"
                " VALUES ($1, $2, $3, $3, '{}') ON CONFLICT DO NOTHING RETURNING true",
                *(account, name, now_us()),
            )
            if changes:
                await self._change_metadata(connection, account, name, changes)
            return bool(is_new)

        is_new: bool = await self._database.within(make)
        return is_new

    async def change_container(self, account: int, name: str, changes: Changes) -> None:
        await self._database.within(
            lambda connection: self._change_metadata(connection, account, name, changes)
        )

    async def _change_metadata(self, connection: Any, account: int, name: str, changes: Changes) -> None:
        row = await connection.fetchrow(
            "SELECT id, metadata FROM sfss.containers WHERE account = $1 AND name = $2 FOR NO KEY UPDATE",
            *(account, name),
        )
        if row is None:
            raise NoSuchContainer.of(name)
        number, metadata = row
        await connection.execute(
            "UPDATE sfss.containers SET metadata = $1, modified = $2 WHERE id = $3",
            *(changed(metadata, changes), now_us(), number),
        )

    async def delete_container(self, account: int, name: str) -> None:
        await self._change(name, name, "delete_container", account, name)

    # Objects.

    async def objects(self, account: int, container: str, query: Query) -> Page[ObjectInfo]:
        key = await self._key(account, container)
        return await self._page(LISTED, "container", key, object_of, query)

    async def object(self, account: int, container: str, name: str) -> ObjectInfo:
        row = await self._database.row(OBJECT, name, account, container)
        if row is None:
            await self._key(account, container)
            raise NotFound(f"There is no object {name!r}.")
        return there(object_of(row))

    async def put_object(
        self,
        account: int,
        container: str,
        info: ObjectInfo,
        *,
        must_be_new: bool = False,
        must_have: str | None = None,
    ) -> str:
        columns = columns_of(info._replace(version=new_version()))
        return await self._change(
            container, info.path, "put_object", *(account, container, *columns, must_be_new, must_have)
        )

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
            container,
            name,
            "change_object",
            *(account, container, name, metadata_text(metadata), content_type, expires, now_us()),
        )

    async def set_properties(
        self, account: int, container: str, name: str, changes: Changes, *, version: str | None = None
    ) -> None:
        key = await self._key(account, container)
        await self._database.within(
            lambda connection: set_properties(connection, key, name, changes, version)
        )

    async def expire(self, before: int, limit: int) -> int:
        count: int = await self._database.change("SELECT sfss.expire($1, $2)", before, limit)
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
        arguments = (account, container, name, must_have, before, new_version())
        return _deleted(await self._called(container, name, "delete_object", *arguments))

    # Versions.

    async def set_versioning(self, account: int, container: str, versioning: int) -> None:
        # (A lock that whoever changes an object in it waits for.)
        changed = await self._database.change(
            "WITH place AS (SELECT id FROM sfss.containers WHERE account = $1 AND name = $2 FOR UPDATE)"
            " UPDATE sfss.containers SET versioning = $3 FROM place WHERE containers.id = place.id RETURNING true",
            *(account, container, versioning),
        )
        if not changed:
            raise NoSuchContainer.of(container)

    async def object_version(self, account: int, container: str, name: str, version: str) -> ObjectInfo:
        key = await self._key(account, container)
        return kept_version(await self._database.row(VERSION, key, name, version), name)

    async def versions(self, account: int, container: str, query: Query) -> Page[Version]:
        key = await self._key(account, container)

        def ask(is_reverse: bool, bound: str, count: int) -> Asked:
            return VERSIONS, (key, *bound_in(bound), count)

        return await self._walked(ask, version_of, query)

    async def delete_version(self, account: int, container: str, name: str, version: str) -> Deleted:
        return _deleted(
            await self._called(container, name, "delete_version", account, container, name, version)
        )

    async def expire_versions(
        self, account: int, container: str, prefix: str, before: int, limit: int
    ) -> int:
        key = await self._key(account, container)
        count: int = await self._database.change(EXPIRE_VERSIONS, key, prefix, before, limit)
        return count

    # Uploads in parts.

    async def begin_upload(self, account: int, container: str, upload: Upload) -> None:
        metadata = metadata_text(upload.metadata)
        await self._change(
            container,
            upload.path,
            "begin_upload",
            *(account, container, upload.id, upload.path, upload.content_type, metadata, upload.started),
            metadata_text(upload.properties),
        )

    async def upload(self, account: int, container: str, name: str, id: str) -> Upload:
        row = await self._database.row(
            f"{UPLOADS} WHERE id = $1 AND name = $2 AND container = $3",
            *(id, name, await self._key(account, container)),
        )
        if row is None:
            raise NoSuchUpload.of(id)
        return upload_of(row)

    async def uploads(self, account: int, container: str, query: Query) -> Page[Upload]:
        name, id = upload_marker(query.marker)
        rows = await self._database.rows(
            f"{UPLOADS} WHERE container = $1 AND (name, id) > ($2, $3) AND name >= $4 AND starts_with(name, $4)"
            " ORDER BY name, id LIMIT $5",
            *(await self._key(account, container), name, id, query.prefix, query.limit + 1),
        )
        return uploads_page(rows, query.limit)

    async def put_part(self, upload: str, part: UploadedPart) -> None:
        await self._change("", upload, "put_part", upload, *part)

    async def parts(self, upload: str) -> Sequence[UploadedPart]:
        rows = await self._database.rows(f"{PARTS} WHERE upload = $1 ORDER BY number", upload)
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
        columns = columns_of(info._replace(version=new_version()))
        arguments: tuple[Any, ...] = (account, container, *columns, must_be_new, must_have)
        arguments += ([part.number for part in parts], [part.content for part in parts])
        return await self._change(container, info.path, "complete_upload", *arguments)

    async def abort_upload(self, upload: str) -> None:
        await self._change("", upload, "abort_upload", upload)

    # Contents.

    async def begin_content(self, content: str) -> None:
        await self._database.change(
            "INSERT INTO sfss.writing VALUES ($1, $2)"
            " ON CONFLICT (content) DO UPDATE SET since = excluded.since",
            *(content, now_us()),
        )

    async def give_up(self, content: str, pieces: int | None) -> None:
        await self._change("", "", "give_up", content, pieces)

    async def abandoned(self, before: int) -> Sequence[str]:
        rows = await self._database.rows("SELECT content FROM sfss.writing WHERE since < $1", before)
        return [content for (content,) in rows]

    async def garbage(self, before: int, limit: int) -> Sequence[Garbage]:
        return [Garbage(*row) for row in await self._database.rows(GARBAGE, before, limit)]

    async def removed(self, contents: Iterable[str]) -> None:
        await self._database.change(
            "UPDATE sfss.garbage SET is_removed = true, since = sfss.now_us() WHERE content = ANY ($1)",
            list(contents),
        )

    async def put_off(self, content: str) -> None:
        await self._database.change(
            "UPDATE sfss.garbage SET since = sfss.now_us() WHERE content = $1", content
        )

    async def forget_removed(self, before: int) -> None:
        await self._database.change("DELETE FROM sfss.garbage WHERE is_removed AND since < $1", before)

    async def known(self, contents: Iterable[str]) -> set[str]:
        return {content for (content,) in await self._database.rows(KNOWN, list(contents))}

    # How it is asked.

    async def _key(self, account: int, container: str) -> int:
        row = await self._database.row(
            "SELECT id FROM sfss.containers WHERE account = $1 AND name = $2", account, container
        )
        return key_of(row, container)

    async def _change(self, container: str, name: str, function: str, *arguments: Any) -> str:
        """Call *function* of the schema; the version that there is then, if it says so."""
        return (await self._called(container, name, function, *arguments)).partition(" ")[2]

    async def _called(self, container: str, name: str, function: str, *arguments: Any) -> str:
        """What *function* answers, unless that is why it has changed nothing."""
        places = ", ".join(f"${number}" for number in range(1, len(arguments) + 1))
        outcome: str = await self._database.change(f"SELECT sfss.{function}({places})", *arguments)
        if outcome and outcome.partition(" ")[0] not in DONE:
            raise refusal(outcome, container, name)
        return outcome

    async def _page(
        self, select: str, column: str, key: int, make: Callable[[Sequence[Any]], T], query: Query
    ) -> Page[T]:
        """A listing of the rows whose *column* is *key*."""

        def ask(is_reverse: bool, bound: str, count: int) -> Asked:
            # No name has a null character, which PostgreSQL does not know: what follows one decides nothing.
            bound, null, _ = bound.partition("\0")
            comparison, order = (
                (("<=" if null else "<"), "DESC") if is_reverse else (">" if null else ">=", "ASC")
            )
            which = f"WHERE {column} = $1 AND name {comparison} $2 ORDER BY name {order} LIMIT $3"
            return f"{select} {which}", (key, bound, count)

        return await self._walked(ask, make, query)

    async def _walked(
        self, ask: Callable[[bool, str, int], Asked], make: Callable[[Sequence[Any]], T], query: Query
    ) -> Page[T]:
        """A listing of what *ask* asks for. The walk over it is in a thread, which asks from there."""
        loop = asyncio.get_running_loop()

        def read(is_reverse: bool, bound: str, count: int) -> list[T]:
            statement, arguments = ask(is_reverse, bound, count)
            asking = self._database.rows(statement, *arguments)
            return [make(row) for row in asyncio.run_coroutine_threadsafe(asking, loop).result()]

        return await asyncio.to_thread(listed, read, query)


def _deleted(outcome: str) -> Deleted:
    what, _, version = outcome.partition(" ")
    return Deleted(version, what == "marker")
