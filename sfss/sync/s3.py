"""A bucket of S3, or of what speaks like it, as a place (boto3, in threads: an extra of its own).

Where it is, and who one is there, stands where AWS's own tools look for it: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL``.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from mimetypes import guess_type
from typing import Any, TypeVar

import boto3
import botocore.exceptions
from botocore.config import Config

from sfss.client.tasks import together
from sfss.errors import InvalidRequest, SfssError
from sfss.paths import is_valid_path
from sfss.sync.places import LARGEST, MD5, Complain, Item, Unreachable

T = TypeVar("T")

_AT_ONCE = 16
_DELETED_AT_ONCE = 1000  # as S3 allows
#: The ETag of an object that was put at once, and that S3 has not encrypted with a key of its user's.
_PLAIN = re.compile("[0-9a-f]{32}")
_UNKNOWN_TYPE = "application/octet-stream"


class Bucket:
    """The objects of *bucket* whose keys begin with *prefix*. :raises InvalidRequest: if nobody says who one is."""

    is_ordered = True  # by the bytes of UTF-8, as paths are
    digests_known: Sequence[str] = (MD5,)

    def __init__(self, bucket: str, prefix: str, complain: Complain):
        config = Config(max_pool_connections=_AT_ONCE, retries={"mode": "standard", "max_attempts": 8})
        try:
            self._client: Any = boto3.session.Session().client("s3", config=config)
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise InvalidRequest(f"S3 cannot be asked: {error}.") from None
        self._bucket = bucket
        self._prefix = prefix
        self._complain = complain
        self._threads = ThreadPoolExecutor(_AT_ONCE, "s3")
        self.is_partly_hidden = False

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        """:raises Unreachable: :raises SfssError: what the bucket says against it."""

        def ask() -> Any:
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)

        return await self._in_thread(ask)

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except botocore.exceptions.ClientError as error:
            raise _Refused(error) from None
        except botocore.exceptions.HTTPClientError as error:
            raise Unreachable(f"S3: {error}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise InvalidRequest(f"S3 cannot be asked: {error}.") from None

    async def pages(self) -> AsyncIterator[Sequence[Item]]:
        more: dict[str, str] = {}
        while True:
            page = await self._ask("list_objects_v2", Prefix=self._prefix, **more)
            yield [item for each in page.get("Contents", ()) if (item := self._item(each))]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _item(self, listed: Mapping[str, Any]) -> Item | None:
        path: str = listed["Key"][len(self._prefix) :]
        if not path or path.endswith("/"):  # what consoles make of a folder
            return None
        if not is_valid_path(path):
            self.is_partly_hidden = True
            self._complain(repr(path), "cannot be the path of a file")
            return None
        etag = listed["ETag"].strip('"')
        return Item(path, listed["Size"], md5=etag if _PLAIN.fullmatch(etag) else None)

    async def find(self, paths: Sequence[str]) -> Mapping[str, Item | None]:
        async def look(path: str) -> Item | None:
            try:
                found = await self._ask("head_object", Key=self._prefix + path)
            except _Refused as error:
                if error.is_missing:
                    raise
                self._complain(path, str(error))
                return None
            etag = found["ETag"].strip('"')
            return Item(path, found["ContentLength"], md5=etag if _PLAIN.fullmatch(etag) else None)

        return await self._each(paths, look)

    async def digests(self, items: Sequence[Item], kind: str) -> Mapping[str, str]:
        async def look(path: str) -> str:
            return hashlib.md5(await self._content(path), usedforsecurity=False).hexdigest()

        known = {item.path: item.md5 for item in items if item.md5 is not None}
        return known | await self._each([item.path for item in items if item.md5 is None], look)

    async def read(self, items: Sequence[Item]) -> Mapping[str, bytes]:
        for item in items:
            if (item.size or 0) > LARGEST:
                self._complain(item.path, f"has {item.size} bytes, which are more than any server keeps")
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
            except _Refused as error:
                failures[path] = str(error)

        await self._each(files, put)
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

    async def _each(self, paths: Iterable[str], ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        """What *ask* returns of those that are there."""
        found: dict[str, T] = {}

        left = iter(paths)

        async def work() -> None:
            for path in left:
                try:
                    found[path] = await ask(path)
                except _Refused as error:
                    if not error.is_missing:
                        self._complain(path, str(error))

        await together(work, _AT_ONCE)
        return found


class _Refused(SfssError):
    """S3 says no. *is_missing*: there is no such object."""

    def __init__(self, error: botocore.exceptions.ClientError):
        said = error.response.get("Error", {})
        code = said.get("Code", "")
        super().__init__(f"S3: {said.get('Message') or code}")
        self.is_missing = code in ("NoSuchKey", "404", "NotFound")
