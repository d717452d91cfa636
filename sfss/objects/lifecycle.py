"""What the rules of buckets ask for: objects end after so many days, or on a day; uploads that nobody completes, too.

The rules are those of S3 (``web/api/s3_lifecycle.py``). Days are counted in whole ones, from the midnight after an
object was put (UTC), as there.
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from sfss.errors import NotFound, PreconditionFailed, SfssError
from sfss.objects.catalog import Catalog
from sfss.objects.listings import every
from sfss.objects.models import Metadata, Query
from sfss.objects.users import all_accounts

log = logging.getLogger("sfss.objects")

#: Where a container has them.
LIFECYCLE = "X-Sfss-Lifecycle"
MOST_RULES = 1000
#: Seconds between two rounds, of whoever shares the catalog; and between two looks whether it is time.
INTERVAL, _LOOK = 3600.0, 60.0
_DAY = 86_400_000_000  # µs
_PAGE = 1000


class Rule(NamedTuple):
    """For what begins with *prefix*. None: not."""

    id: str
    prefix: str
    is_enabled: bool
    days: int | None
    date: str  #: by ISO 8601; "" for none
    abort_days: int | None
    noncurrent_days: int | None


def written(rules: Sequence[Rule]) -> str:
    return json.dumps(rules, separators=(",", ":"))


def rules_of(metadata: Metadata) -> list[Rule]:
    text = metadata.get(LIFECYCLE)
    return [Rule(*each) for each in json.loads(text)] if text else []


class Lifecycle:
    """Does what the containers of *catalog* ask for."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog

    async def keep_going(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                if await self._catalog.take_turn("lifecycle", INTERVAL):
                    await self.apply()
            except SfssError as error:  # there will be a next time
                log.warning("the rules of buckets were not all applied", extra={"reason": str(error)})
            except Exception:
                log.exception("the rules of buckets were not all applied")

    async def apply(self, *, now: float | None = None) -> int:
        """Delete what is due; how many objects and uploads. *now*: seconds since the epoch."""
        today = int((time.time() if now is None else now) * 1_000_000) // _DAY * _DAY
        count = 0
        for account in await all_accounts(self._catalog):
            async for container in every(partial(self._catalog.containers, account), Query(_PAGE)):
                try:
                    for rule in rules_of(container.metadata):
                        if rule.is_enabled:
                            count += await self._apply(account, container.path, rule, today)
                except NotFound:
                    continue  # it was deleted meanwhile
                except Exception as error:  # the others have theirs all the same
                    what = {"container": container.path, "reason": str(error)}
                    log.exception("the rules of a bucket were not applied", extra=what)
        return count

    async def _apply(self, account: int, container: str, rule: Rule, today: int) -> int:
        count = 0
        before = 0
        if rule.days is not None:
            before = today - rule.days * _DAY
        elif rule.date and today >= _midnight(rule.date):
            before = today + _DAY
        if before:
            count += await self._delete(account, container, rule.prefix, before)
        if rule.noncurrent_days is not None:
            limit = today - rule.noncurrent_days * _DAY
            while done := await self._catalog.expire_versions(account, container, rule.prefix, limit, _PAGE):
                count += done
        if rule.abort_days is not None:
            count += await self._abort(account, container, rule.prefix, today - rule.abort_days * _DAY)
        return count

    async def _delete(self, account: int, container: str, prefix: str, before: int) -> int:
        count = 0
        objects = partial(self._catalog.objects, account, container)
        async for info in every(objects, Query(_PAGE, prefix)):
            if info.modified < before:
                try:  # and not what has come in its place meanwhile
                    await self._catalog.delete_object(account, container, info.path, before=before)
                    count += 1
                except (NotFound, PreconditionFailed):
                    continue
        return count

    async def _abort(self, account: int, container: str, prefix: str, before: int) -> int:
        count = 0
        uploads = partial(self._catalog.uploads, account, container)
        async for upload in every(uploads, Query(_PAGE, prefix)):
            if upload.started < before:
                try:
                    await self._catalog.abort_upload(upload.id)
                    count += 1
                except NotFound:
                    continue  # it was completed
        return count


def _midnight(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * 1_000_000
