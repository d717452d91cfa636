"""Reading everything again: files that are damaged, missing, or not in the catalog."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sfss.errors import SfssError
from sfss.replication.catalog import Entry
from sfss.replication.engine import Engine
from sfss.replication.links import Link
from sfss.replication.replica import Adopt, Heal, Outcome, Replica
from sfss.replication.tree import leaf_of

log = logging.getLogger("sfss.node")

#: So many files are looked at before others have their turn.
_AT_ONCE = 50
_MOST_HEALED_AT_ONCE = 100
_PROGRESS_INTERVAL = 10.0  # seconds
_POLL = 0.1  # seconds


class Verification:
    """Of the files of *replica*; what is wrong is healed from the neighbours behind *links*."""

    def __init__(self, replica: Replica, engine: Engine, links: Callable[[], list[Link]]):
        self._replica = replica
        self._engine = engine
        self._links = links
        self._task: asyncio.Task | None = None
        self._progress: dict[str, Any] = {"running": False, "runs": 0}

    def progress(self) -> dict[str, Any]:
        """How far it is, or what came out the last time."""
        return dict(self._progress)

    def start(self, *, contents: bool = True) -> None:
        """Begin, if it is not under way. *contents*: read them too, and not only see that they are."""
        if self._task is None or self._task.done():
            self._progress = {
                "running": True,
                "runs": self._progress["runs"],
                "checked": 0,
                "of": self._replica.catalog.counts.files,
                "damaged": 0,
                "healed": 0,
                "adopted": 0,
                "compared": 0,
                "failure": "",
            }
            self._task = asyncio.create_task(self._run(contents))

    async def wait(self) -> None:
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, contents: bool) -> None:
        progress = self._progress
        began = time.monotonic()
        try:
            await self._look_at_the_catalog(contents)
            await self._look_at_the_folder()
            if not progress["damaged"] - progress["healed"]:
                await self._engine.run(self._replica.folder_is_known)
            await self._compare()
        except SfssError as error:
            progress["failure"] = str(error)
        except Exception as error:
            log.exception("the verification failed")
            progress["failure"] = str(error) or type(error).__name__
        finally:
            progress["running"] = False
            progress["runs"] += 1
        left = progress["damaged"] - progress["healed"]
        log.log(
            logging.ERROR if left or progress["failure"] else logging.INFO,
            "verified",
            extra={**progress, "seconds": round(time.monotonic() - began, 1)},
        )

    async def _look_at_the_catalog(self, contents: bool) -> None:
        leaf, path = 0, ""
        logged = time.monotonic()
        damaged: list[Entry] = []
        while True:
            entries, found = await self._engine.run(partial(self._look, leaf, path, contents))
            damaged += found
            self._progress["checked"] += len(entries)
            self._progress["damaged"] += len(found)
            if len(damaged) >= _MOST_HEALED_AT_ONCE or not entries:
                await self._heal(damaged)
                damaged = []
            if not entries:
                return
            leaf, path = leaf_of(entries[-1].path), entries[-1].path
            if time.monotonic() - logged > _PROGRESS_INTERVAL:
                logged = time.monotonic()
                log.info("verifying", extra=self._progress)
            await asyncio.sleep(0)

    def _look(self, leaf: int, path: str, contents: bool) -> tuple[list[Entry], list[Entry]]:
        """The next entries, and those of them whose files are not what they should be."""
        replica = self._replica
        entries = replica.catalog.after(leaf, path, _AT_ONCE)
        if not contents:
            damaged = [e for e in entries if not replica.folder.is_file(e.path)]
            replica.damaged.update(entry.path for entry in damaged)
            return entries, damaged
        return entries, [entry for entry in entries if not replica.is_intact(entry)]

    async def _heal(self, damaged: list[Entry]) -> None:
        wanted = {entry.path: entry for entry in damaged}
        for link in self._links():
            while wanted and not link.is_this_node:
                try:
                    changes = await link.ask("fetch", paths=list(wanted))
                except SfssError:
                    break  # its link knows how it is
                before = len(wanted)
                for change in changes:
                    entry = wanted.get(change.path)
                    if entry is None or change.sha1 != entry.sha1 or not change.is_intact:
                        continue
                    outcome = await self._engine.change(Heal(change.path, change.content), change.size)
                    if isinstance(outcome, Outcome):
                        del wanted[change.path]
                        self._progress["healed"] += 1
                        log.warning("a file is healed from a neighbour", extra={"path": change.path})
                if len(wanted) == before:
                    break  # it does not have the rest
        for path in wanted:
            log.error("no neighbour has a file that is damaged or missing here", extra={"path": path})

    async def _look_at_the_folder(self) -> None:
        """Files that somebody else has put there belong to the node from now on."""
        paths = self._replica.folder.walk()
        while batch := await asyncio.to_thread(_some, paths):
            unknown = await self._engine.run(partial(self._unknown, batch))
            for path in unknown:
                outcome = await self._engine.change(Adopt(path))
                self._progress["adopted"] += outcome.changed

    async def _compare(self) -> None:
        """Compare with all neighbours that can be reached."""
        links = [link for link in self._links() if not link.is_this_node]
        before = {link: link.counts["comparisons"] for link in links}
        failures = {link: link.counts["failures"] for link in links}
        for link in links:
            link.compare_soon()
        for link in links:
            while link.counts["comparisons"] == before[link] and not (
                link.up is False and link.counts["failures"] > failures[link]
            ):
                await asyncio.sleep(_POLL)
            self._progress["compared"] += link.counts["comparisons"] > before[link]

    def _unknown(self, paths: list[str]) -> list[str]:
        return [path for path in paths if self._replica.catalog.get(path) is None]


def _some(paths: Iterator[str]) -> list[str]:
    found = []
    for path in paths:
        found.append(path)
        if len(found) >= _AT_ONCE:
            break
    return found
