"""What all listings of S3 are asked for, and how they write names."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from sfss.objects.listings import HasPath, Page
from sfss.objects.models import Query
from sfss.objects.service import Objects
from sfss.web.api.s3_errors import S3Error
from sfss.web.api.s3_request import S3Request

MOST_LISTED = 1000

T = TypeVar("T", bound=HasPath)


class Listing(NamedTuple):
    prefix: str
    delimiter: str
    encoding: str  #: ``url``, or ""
    limit: int

    def text(self, name: str) -> str:
        """As it stands in the document."""
        return _quoted(name) if self.encoding else name

    async def page(
        self,
        objects: Objects,
        asked: S3Request,
        list: Callable[[int, str, Query], Awaitable[Page[T]]],
        marker: str,
    ) -> Page[T]:
        """What *list* gives of the bucket, from behind *marker*. :raises NoSuchContainer: :raises Overloaded:"""
        if not self.limit:
            await objects.catalog.container(asked.account, asked.bucket)
            return Page([], [], None)
        with await objects.room_for(self.limit):
            query = Query(self.limit, self.prefix, self.delimiter, marker)
            return await list(asked.account, asked.bucket, query)


def listing_of(asked: S3Request, *markers: str) -> Listing:
    """What the query asks for. *markers*: the names from behind which on. :raises S3Error:"""
    query = asked.query
    encoding, _ = writing_of(asked)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    if any("\0" in text for text in (prefix, delimiter, *markers)):
        raise S3Error("InvalidArgument", "There is a null character in an argument.")
    return Listing(prefix, delimiter, encoding, asked.number("max-keys", MOST_LISTED, MOST_LISTED))


def writing_of(asked: S3Request) -> tuple[str, Callable[[str], str]]:
    """The encoding that is asked for, and what writes names in it. :raises S3Error:"""
    encoding = asked.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise S3Error("InvalidArgument", "encoding-type is url, or is not there.")
    return encoding, _quoted if encoding else str


def _quoted(name: str) -> str:
    return quote(name, safe="/-_.~*")
