"""A bucket of S3, or of what speaks like it, as a place (boto3, in threads: an extra of its own).

Where it is, and who one is there, stands where AWS's own tools look for it: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL``.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from mimetypes import guess_type
from typing import Any, TypeVar

import boto3
import botocore.exceptions
from botocore.config import Config

from sfss.client import ServerUnreachable
from sfss.client.tasks import AT_ONCE, each
from sfss.errors import InvalidRequest, NotFound, SfssError
from sfss.sync.places import LARGEST, MD5, TOO_LARGE, Complain, Item, digest_of
from sfss.sync.remote import Remote

T = TypeVar("T")

_DELETED_AT_ONCE = 1000  # as S3 allows
#: The ETag of an object that was put at once, and that S3 has not encrypted with a key of its user's.
_PLAIN = re.compile("[0-9a-f]{32}")
_UNKNOWN_TYPE = "application/octet-stream"


class Bucket(Remote):
    """The objects of *bucket* whose keys begin with *prefix*. :raises InvalidRequest: if nobody says who one is."""

    is_ordered = True  # by the bytes of UTF-8, as paths are
    digests_known: Sequence[str] = (MD5,)

    def __init__(self, bucket: str, prefix: str, complain: Complain):
        config = Config(max_pool_connections=AT_ONCE, retries={"mode": "standard", "max_attempts": 8})
        try:
            self._client: Any = boto3.session.Session().client("s3", config=config)
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise InvalidRequest(f"S3 cannot be asked: {error}.") from None
        super().__init__(prefix, complain)
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(AT_ONCE, "s3")

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        """:raises ServerUnreachable: :raises SfssError: what the bucket says against it."""

        def ask() -> Any:
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)

        return await self._in_thread(ask)

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except botocore.exceptions.ClientError as error:
            raise _refusal(error) from None
        except botocore.exceptions.HTTPClientError as error:
            raise ServerUnreachable(f"S3: {error}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise ServerUnreachable(f"S3 cannot be asked: {error}.") from None

    async def pages(self) -> AsyncIterator[Sequence[Item]]:
        more: dict[str, str] = {}
        while True:
            page = await self._ask("list_objects_v2", Prefix=self._prefix, **more)
            yield [item for each in page.get("Contents", ()) if (item := self._item(each))]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _item(self, listed: Mapping[str, Any]) -> Item | None:
        name: str = listed["Key"]
        path = None if name.endswith("/") else self._path_of(name)  # (what consoles make of a folder)
        return None if path is None else Item(path, listed["Size"], md5=_md5_in(listed["ETag"]))

    async def find(self, paths: Sequence[str]) -> Mapping[str, Item | None]:
        async def look(path: str) -> Item:
            found = await self._ask("head_object", Key=self._prefix + path)
            return Item(path, found["ContentLength"], md5=_md5_in(found["ETag"]))

        return await self._found(paths, look)

    async def digests(self, items: Sequence[Item], kind: str) -> Mapping[str, str]:
        async def look(path: str) -> str:
            return digest_of(await self._content(path), kind)

        known = {item.path: item.md5 for item in items if item.md5 is not None}
        return known | await self._each([item.path for item in items if item.md5 is None], look)

    async def read(self, items: Sequence[Item]) -> Mapping[str, bytes]:
        for item in items:
            if (item.size or 0) > LARGEST:
                self._complain(item.path, TOO_LARGE)
        return await self._each([item.path for item in items if (item.size or 0) <= LARGEST], self._content)

    async def _content(self, path: str) -> bytes:
        def ask() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)
            content: bytes = answer["Body"].read()
            return content

        return await self._in_thread(ask)

    async def write(self, files: Mapping[str, bytes]) -> Mapping[str, str]:
        failures: dict[str, str] = {}

        async def put(path: str) -> None:
            content_type = guess_type(path)[0] or _UNKNOWN_TYPE
            try:
                await self._ask(
                    "put_object", Key=self._prefix + path, Body=files[path], ContentType=content_type
                )
            except NotFound as error:  # of what is not the object
                raise SfssError(str(error)) from None

        await each(files, put, lambda path, error: failures.__setitem__(path, str(error)))
        return failures

    async def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        failures = {}
        for start in range(0, len(paths), _DELETED_AT_ONCE):
            keys = [{"Key": self._prefix + path} for path in paths[start : start + _DELETED_AT_ONCE]]
            answer = await self._ask("delete_objects", Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", ()):
                failures[error["Key"][len(self._prefix) :]] = error.get("Message") or error.get("Code", "")
        return failures

    async def finish(self) -> None:
        """What S3 has acknowledged is there."""
        self._threads.shutdown(wait=False)


def _md5_in(etag: str) -> str | None:
    text = etag.strip('"')
    return text if _PLAIN.fullmatch(text) else None


def _refusal(error: botocore.exceptions.ClientError) -> SfssError:
    """What S3 says against one object."""
    said = error.response.get("Error", {})
    code = said.get("Code", "")
    is_missing = code in ("NoSuchKey", "404", "NotFound")
    return (NotFound if is_missing else SfssError)(f"S3: {said.get('Message') or code}")
