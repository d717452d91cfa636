"""Reading everything again: files that are damaged, missing, or not in the catalog."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sfss.errors import SfssError
from sfss.replication.digests import are_same, is_content
from sfss.replication.engine import Engine
from sfss.replication.entries import Entry
from sfss.replication.merkle import leaf_of
from sfss.replication.names import can_name_a_file
from sfss.replication.operations import Adopt, Heal
from sfss.replication.peer import Peer
from sfss.replication.replica import Replica

log = logging.getLogger("sfss.node")

#: So many files are looked at before others have their turn.
_AT_ONCE = 50
_MOST_HEALED_AT_ONCE = 100
_PROGRESS_INTERVAL = 10.0  # seconds
_POLL = 0.1  # seconds
#: Comparisons that fetch nothing have so long to begin and to end (seconds).
_COMPARING = 60.0


class Scrub:
    """Of the files of *replica*; what is wrong is healed from the neighbours behind *peers*."""

    def __init__(self, replica: Replica, engine: Engine, peers: Callable[[], list[Peer]]):
        self._replica = replica
        self._engine = engine
        self._peers = peers
        self._task: asyncio.Task[Any] | None = None
        self._wants_contents = False
        self._progress: dict[str, Any] = {"running": False, "runs": 0}

    def progress(self) -> dict[str, Any]:
        """How far it is, or what came out the last time."""
        return dict(self._progress)

    def start(self, *, contents: bool = True) -> None:
        """Begin, if it is not under way. *contents*: read them too, and not only see that they are."""
        self._wants_contents = contents or (self._wants_contents and self._progress["running"])
        if self._task is None or self._task.done():
            self._progress = {
                "running": True,
                "runs": self._progress["runs"],
                "checked": 0,
                "of": self._replica.catalog.counts.files,
                "damaged": 0,
                "healed": 0,
                "adopted": 0,
                "deleted": 0,
                "unreadable": 0,
                "foreign": 0,
                "compared": 0,
                "failure": "",
            }
            self._task = asyncio.create_task(self._run())

    async def wait(self) -> None:
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        progress = self._progress
        began = time.monotonic()
        try:
            contents = self._wants_contents
            await self._look_at_the_catalog(contents)
            if self._wants_contents and not contents:  # somebody has asked for more meanwhile
                progress.update(checked=0, damaged=0, healed=0)
                await self._look_at_the_catalog(True)
            await self._look_at_the_folder()
            if not progress["damaged"] - progress["healed"] and not progress["unreadable"]:
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
            logging.ERROR if left or progress["unreadable"] or progress["failure"] else logging.INFO,
            "verified",
            extra={**progress, "seconds": round(time.monotonic() - began, 1)},
        )

    async def _look_at_the_catalog(self, contents: bool) -> None:
        catalog = self._replica.catalog
        leaf, path = 0, ""
        logged = time.monotonic()
        damaged: list[Entry] = []
        while entries := await self._engine.run(partial(catalog.after, leaf, path, _AT_ONCE)):
            # Not in the engine's thread: that has others to serve.
            suspects = await asyncio.to_thread(self._suspects, entries, contents)
            found = await self._engine.run(partial(self._really_damaged, suspects))
            damaged += found
            self._progress["checked"] += len(entries)
            self._progress["damaged"] += len(found)
            if len(damaged) >= _MOST_HEALED_AT_ONCE:
                await self._heal(damaged)
                damaged = []
            leaf, path = leaf_of(entries[-1].path), entries[-1].path
            if time.monotonic() - logged > _PROGRESS_INTERVAL:
                logged = time.monotonic()
                log.info("verifying", extra=self._progress)
        await self._heal(damaged)

    def _suspects(self, entries: list[Entry], contents: bool) -> list[Entry]:
        """Those whose files are not what they should be, or have just been changed."""
        folder, found = self._replica.folder, []
        for entry in entries:
            try:
                if contents:
                    content = folder.read(entry.path, limit=max(entry.size, 1))
                    good = is_content(content, entry.digests)
                else:
                    known = folder.stat(entry.path)
                    good = known is not None and known.st_size == entry.size
            except OSError:
                good = False
            if not good:
                found.append(entry)
        return found

    def _really_damaged(self, suspects: list[Entry]) -> list[Entry]:
        """In the engine's thread nothing changes meanwhile."""
        replica = self._replica
        found = []
        for suspect in suspects:
            entry = replica.catalog.get(suspect.path)
            if entry is not None and not entry.is_delete and not replica.contents.is_intact(entry):
                found.append(entry)
        return found

    async def _heal(self, damaged: list[Entry]) -> None:
        wanted = {entry.path: entry for entry in damaged}
        for path in list(wanted):
            # Somebody may have gone on to write it after it was found.
            if await self._is_changed(Adopt(path)):
                del wanted[path]
                self._progress["healed"] += 1
        healed = 0
        for peer in self._peers():
            while wanted and not peer.is_this_node and peer.up is not False:
                try:
                    changes = await peer.ask("fetch", paths=list(wanted))
                except SfssError:
                    break  # its link knows how it is
                before = len(wanted)
                for change in changes:
                    entry = wanted.get(change.path)
                    if entry is None or not are_same(change.digests, entry.digests):
                        continue
                    if change.content is None or not change.is_intact:
                        continue
                    del wanted[change.path]
                    healed += await self._is_changed(Heal(change.path, change.content))
                if len(wanted) == before:
                    break  # it does not have the rest
        self._progress["healed"] += healed
        if healed:
            log.warning("files are healed from other nodes", extra={"files": healed})
        for path in wanted:
            log.error("no other node has a file that is damaged or missing here", extra={"path": path})

    async def _look_at_the_folder(self) -> None:
        """Files that somebody else has put there belong to the node from now on."""
        foreign: list[str] = []
        unreadable: list[str] = []

        def skipped(place: str, is_ours: bool) -> None:
            (unreadable if is_ours else foreign).append(place)

        paths = self._replica.folder.walk(skipped)
        while batch := await asyncio.to_thread(_some, paths):
            foreign += [path for path in batch if not can_name_a_file(path)]
            batch = [path for path in batch if can_name_a_file(path)]
            unknown, deleted = await self._engine.run(partial(self._unknown, batch))
            for path in unknown:
                try:
                    outcome = await self._engine.change(Adopt(path))
                    self._progress["adopted"] += outcome.changed
                except SfssError as error:
                    log.error("a file cannot be read", extra={"path": path, "reason": str(error)})
                    unreadable.append(path)
            for path in deleted:
                self._progress["deleted"] += 1
                log.warning("a file that was deleted lies in the folder again", extra={"path": path})
        self._progress["unreadable"] = len(unreadable)
        self._progress["foreign"] = len(foreign)
        for what, places, level in (
            ("in the folder, and cannot be read", unreadable, logging.ERROR),
            ("in the folder, and not the node's; passed over", foreign, logging.INFO),
        ):
            if places:
                log.log(level, what, extra={"count": len(places), "first": places[0]})

    async def _is_changed(self, operation: Adopt | Heal) -> bool:
        """Do *operation*, whatever one file does; whether it has changed anything."""
        try:
            return (await self._engine.change(operation)).changed
        except SfssError as error:
            extra = {"path": operation.path, "reason": str(error)}
            log.warning("a file cannot be put right", extra=extra)
            return False

    async def _compare(self) -> None:
        """Compare with all neighbours that can be reached."""
        peers = [peer for peer in self._peers() if not peer.is_this_node]
        before = {peer: peer.counts["comparisons"] for peer in peers}
        failures = {peer: peer.counts["failures"] for peer in peers}
        deadline = time.monotonic() + _COMPARING
        for peer in peers:
            peer.compare_soon()
        for peer in peers:
            while (
                peer.counts["comparisons"] == before[peer]
                and peer.counts["failures"] == failures[peer]
                and peer in self._peers()
                and not peer.is_this_node
                and (time.monotonic() < deadline or any(peer.catching_up for peer in peers))
            ):
                await asyncio.sleep(_POLL)
            self._progress["compared"] += peer.counts["comparisons"] > before[peer]

    def _unknown(self, paths: list[str]) -> tuple[list[str], list[str]]:
        """Those that the catalog does not know, and those that it says are deleted."""
        entries = {path: self._replica.catalog.get(path) for path in paths}
        unknown = [path for path, entry in entries.items() if entry is None]
        return unknown, [path for path, entry in entries.items() if entry and entry.is_delete]


def _some(paths: Iterator[str]) -> list[str]:
    found = []
    for path in paths:
        found.append(path)
        if len(found) >= _AT_ONCE:
            break
    return found
