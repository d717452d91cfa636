"""What a node says to one neighbour, as conversations: generators that give the bytes of a request and
are sent the answer. Their caller decides how the bytes travel (``peer.py``: over HTTP; the tests: through
a network that loses, delays and damages them).

:func:`deliver` tells the neighbour what has changed; :func:`compare` finds what the two have not in
common, whatever the reason, and puts it right on both sides.
"""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from sfss.errors import SfssError, StoreFull, StoreRefused
from sfss.replication.changes import BadMessage, Change, Message, Piece
from sfss.replication.clock import Version
from sfss.replication.contents import announcement
from sfss.replication.digests import are_same
from sfss.replication.entries import LEARNED, OWN, Entry
from sfss.replication.merkle import FAN, LEAVES
from sfss.replication.operations import Delete, Learn, path_of
from sfss.replication.replica import Replica
from sfss.replication.resolve import ContentDamaged, is_newer
from sfss.replication.responses import MOST_BYTES, MOST_CHANGES, MOST_LEAVES, check_speaker, speak

log = logging.getLogger("sfss.node")

#: What the neighbour cannot take, or we cannot send, is tried again after this (µs).
DEFERRAL = 30_000_000
#: What arrived damaged is sent again after this (µs), and after twice as long each time; what arrives damaged
#: so often is put off like what the neighbour cannot take.
_SEND_AGAIN = 500_000
_MOST_SENDS = 5
#: Of changes with contents, a message has so many at the most.
_MOST_PUSHED = 250

T = TypeVar("T")
Conversation = Generator[list[Piece], Message, T]


class Itself(SfssError):
    """The neighbour is this node."""


class TooLarge(SfssError):
    """The neighbour takes no message of this size. Sent into a conversation in place of an answer."""


class Acked(NamedTuple):
    """What a neighbour has now."""

    changes: list[tuple[str, Version]]
    deferred: int  #: how many could not be told
    reason: str  #: why, of the last of them
    said: tuple[str, ...] | None  #: which nodes are told, as it has heard; None: nothing was said
    damaged: int = 0  #: how many arrived damaged, and are sent again soon


class Compared(NamedTuple):
    equal: bool  #: before anything was done
    fetched: int
    bytes: int
    to_tell: int
    complete: bool = True  #: whether this node has now all that the neighbour has


class Resends:
    """What has arrived damaged at one neighbour, and how often."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[Version, int]] = {}

    def pause(self, path: str, version: Version) -> int | None:
        """It has arrived damaged: after how many µs to send it again. None: it has so too often."""
        before, count = self._counts.pop(path, (version, 0))
        count = count + 1 if before == version else 1
        if count >= _MOST_SENDS:
            return None
        self._counts[path] = version, count
        return _SEND_AGAIN << (count - 1)

    def arrived(self, path: str) -> None:
        self._counts.pop(path, None)


def deliver(
    replica: Replica,
    peer: str,
    resends: Resends,
    *,
    careful: bool,
    greeting: bool = False,
) -> Conversation[Acked]:
    """Tell *peer* the next of what is due.

    *careful*: it may know much of it already, from others: ask before anything is sent. *greeting*: say
    something even if nothing is due (see ``tells`` in ``responses.py``).
    """
    catalog, now = replica.catalog, replica.now()
    with catalog.snapshot():
        own = catalog.queued(peer, OWN, now, MOST_CHANGES if careful else _MOST_PUSHED)
        learned = catalog.queued(peer, LEARNED, now, MOST_CHANGES)
    told: list[tuple[str, Version]] = []
    pushed = [] if careful else own
    offered = [*own, *learned] if careful else learned
    deferred, damaged, reason = 0, 0, ""
    said = None
    if offered or (greeting and not pushed):
        offered = offered[:MOST_CHANGES]
        changes = [announcement(entry) for entry in offered]
        said = replica.tells
        answer = yield speak(replica, "offer", peer, changes)
        check(replica, answer)
        wanted = set(_numbers(answer, "wanted", len(changes)))
        failed = _failures(answer, len(changes))
        for number, entry in enumerate(offered):
            if number in wanted:
                pushed.append(entry)
            elif number not in failed:
                told.append((entry.path, entry.version))
        if failed:
            number = next(iter(failed))
            deferred, reason = len(failed), f"{offered[number].path}: {failed[number]}"
        late = [(offered[n].path, offered[n].version) for n in failed]
        catalog.defer(peer, late, replica.now() + DEFERRAL)
    if told:
        catalog.told(peer, told)
    batches = list(_batches(pushed))
    waited = bool(offered)
    while batches:
        batch = batches.pop(0)
        changes = []
        unfit: list[tuple[str, Version]] = []
        if waited:  # it may have changed since
            found = (catalog.get(entry.path) for entry in batch)
            batch = [entry for entry in found if entry is not None]
        for entry in batch:
            change = replica.contents.change_of(entry)
            if change is None:
                reason = f"{entry.path}: it is damaged or missing here"
                unfit.append((entry.path, entry.version))
            else:
                changes.append(change)
        if changes:
            waited, said = True, replica.tells
            try:
                answer = yield speak(replica, "push", peer, changes)
            except TooLarge as error:
                if len(batch) > 1:
                    batches = [[entry] for entry in batch] + batches
                    continue
                results: Any = [str(error)]
                broken: set[int] = set()
            else:
                check(replica, answer)
                results = answer.fields.get("results")
                broken = set(_numbers(answer, "damaged", len(changes)))
            if not isinstance(results, list) or len(results) != len(changes):
                raise BadMessage("The answer to a push has not a result for each change.")
            taken = [(c.path, c.version) for c, result in zip(changes, results) if result == ""]
            catalog.told(peer, taken)
            told += taken
            for number, (change, result) in enumerate(zip(changes, results)):
                path, version = change.path, change.version
                pause = resends.pause(path, version) if number in broken else None
                if pause is not None:
                    damaged += 1
                    catalog.defer(peer, [(path, version)], replica.now() + pause)
                elif result != "":
                    reason = f"{path}: {result}"
                    unfit.append((path, version))
                else:
                    resends.arrived(path)
        deferred += len(unfit)
        catalog.defer(peer, unfit, replica.now() + DEFERRAL)
    return Acked(told, deferred, reason, said, damaged)


def compare(replica: Replica, peer: str) -> Conversation[Compared]:
    """Find what *peer* and this node have not in common; fetch the one, queue the other.

    A file that only one of them has may be new, or deleted and forgotten by the other. This node deletes
    it only if all of this is true: the neighbour has forgotten deletes since they were last found to
    have the same; the file was here before that time; and it is not in the queue for the neighbour.
    """
    catalog = replica.catalog
    horizon, now = replica.horizon, replica.receipt()
    root = catalog.tree.root()
    answer = yield speak(replica, "tree", peer, root=root, branches=None)
    node = check(replica, answer)
    mark = _number(answer, "mark")
    synced, theirs = catalog.state(f"synced {node}"), answer.fields.get("synced")
    behind = synced is not None and synced < _number(answer, "horizon")
    they_are_behind = type(theirs) is int and theirs < horizon
    if behind and they_are_behind:
        log.warning(
            "both peers have purged tombstones since they last met; deleted files may reappear",
            extra={"neighbour": peer},
        )
        behind = they_are_behind = False
    # Of our own clock, when the two were last found to have the same.
    old = catalog.state(f"same {node}") or 0 if behind else 0
    # What it was asked about, and not what is here by now: changes go on meanwhile.
    if _number(answer, "root") == root:
        _found_same(replica, node, mark, now)
        return Compared(True, 0, 0, 0)
    fetched = size = to_tell = refused = 0
    per_leaf = max(catalog.counts.files, _number(answer, "files")) / LEAVES
    leaves = yield from _different_leaves(replica, peer, answer)
    at_once = min(max(int(MOST_CHANGES / max(per_leaf, 0.1)), 1), MOST_LEAVES)
    while leaves:
        answer = yield speak(replica, "list", peer, leaves=leaves[:at_once])
        check(replica, answer)
        done = max(_number(answer, "leaves"), 1)
        fetch, tell, drop, learn, unfit = _differences(replica, peer, leaves[:done], answer, old)
        refused += unfit
        if they_are_behind:
            # What only they have may be deleted: they have to find that out first.
            known = {path for path in fetch if catalog.get(path) is not None}
            fetch, refused = [path for path in fetch if path in known], refused + len(fetch) - len(known)
        leaves = leaves[done:]
        refused += len(_apply(replica, [Learn(change, peer) for change in learn]))
        if drop:
            log.warning(
                "files are deleted here: they were elsewhere while this node was away",
                extra={"neighbour": peer, "files": len(drop)},
            )
            final = replica.rules.immutable
            refused += len(_apply(replica, [Delete(path, final=final) for path in drop]))
        due = replica.next_due()
        catalog.queue([(peer, path, LEARNED, due, version) for path, version in tell])
        to_tell += len(tell)
        sent_again: set[str] = set()
        while fetch:
            answer = yield speak(replica, "fetch", peer, paths=fetch[:MOST_CHANGES])
            check(replica, answer)
            count = max(_number(answer, "paths"), 1)
            refused += min(count, len(fetch)) - len(answer.changes)  # it could not give
            fetch = fetch[count:]
            failures = _apply(replica, [Learn(change, peer) for change in answer.changes])
            again = [
                path_of(operation) for operation, failure in failures if isinstance(failure, ContentDamaged)
            ]
            again = [path for path in again if path not in sent_again]
            sent_again.update(again)
            fetch += again
            refused += len(failures) - len(again)
            fetched += len(answer.changes) - len(failures)
            size += sum(change.size for change in answer.changes)
    if not to_tell and not refused:
        _found_same(replica, node, mark, now)
    return Compared(False, fetched, size, to_tell, complete=not refused)


def _found_same(replica: Replica, node: str, mark: int, now: int) -> None:
    """At *mark* by its clock, and *now* by ours, *node* and we had the same."""
    replica.catalog.set_state(f"synced {node}", mark)
    replica.catalog.set_state(f"same {node}", now)


def _different_leaves(replica: Replica, peer: str, answer: Message) -> Conversation[list[int]]:
    tree = replica.catalog.tree
    theirs = answer.fields.get("branches")
    if not isinstance(theirs, list) or len(theirs) != FAN:
        raise BadMessage("The answer has not a digest for each branch.")
    branches = [n for n, (one, other) in enumerate(zip(tree.branches(), theirs)) if one != other]
    different = []
    while branches:
        asked, branches = branches[:16], branches[16:]
        answer = yield speak(replica, "tree", peer, root=tree.root(), branches=asked)
        check(replica, answer)
        found = answer.fields.get("leaves")
        if not isinstance(found, list) or len(found) != len(asked):
            raise BadMessage("The answer has not the leaves of each branch.")
        for branch, digests in zip(asked, found):
            mine = tree.leaves_of(branch)
            if not isinstance(digests, list) or len(digests) != len(mine):
                raise BadMessage("A branch has not all of its leaves.")
            different += [branch * FAN + n for n in range(FAN) if mine[n] != digests[n]]
    return different


def _differences(
    replica: Replica, peer: str, leaves: Sequence[int], answer: Message, old: int
) -> tuple[list[str], list[tuple[str, Version]], list[str], list[Change], int]:
    """Of *leaves*: what to fetch, what to tell, what to delete, and what can be taken as it is; and how
    many changes cannot be taken here.

    What came before *old* and is not there was there, and is deleted.
    """
    catalog = replica.catalog
    mine = {entry.path: entry for entry in catalog.entries(leaves)}
    theirs = {change.path: change for change in answer.changes}
    fetch, tell, drop, learn = [], [], [], []
    unfit = 0
    for path, change in theirs.items():
        entry = mine.get(path)
        if entry is None or is_newer(change, entry):
            if entry is None and change.is_delete:
                continue  # what neither has need not be remembered
            try:
                replica.rules.check(change)
            except StoreRefused as error:
                unfit += 1
                log.error(
                    "cannot take what a neighbour has",
                    extra={"neighbour": peer, "path": path, "reason": str(error)},
                )
                continue
            if change.is_delete or (entry is not None and are_same(change.digests, entry.digests)):
                learn.append(change)
            else:
                fetch.append(path)
        elif change.version < entry.version:
            tell.append((path, entry.version))
    for path, entry in mine.items():
        if path not in theirs and not entry.is_delete:
            if entry.received < old and not catalog.is_queued(peer, path):
                drop.append(path)
            else:
                tell.append((path, entry.version))
    return fetch, tell, drop, learn, unfit


def _apply(replica: Replica, operations: Sequence[Learn | Delete]) -> list[tuple[Learn | Delete, SfssError]]:
    """Those that were refused, and why. :raises SfssError: if the disk takes none."""
    outcomes = zip(operations, replica.apply(operations))
    refusals = [(operation, o) for operation, o in outcomes if isinstance(o, SfssError)]
    for _, refusal in refusals:
        if replica.broken or isinstance(refusal, StoreFull):
            raise refusal
    if refusals:
        log.error(
            "cannot take what a neighbour has",
            extra={"changes": len(refusals), "reason": str(refusals[0][1])},
        )
    return refusals


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """As many as may be sent at once, in order."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) >= _MOST_PUSHED or size + entry.size > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def check(replica: Replica, answer: Message) -> str:
    """The id of the neighbour that has given *answer*. :raises BadMessage, Itself:"""
    node = check_speaker(answer, replica)
    if node == replica.node:
        raise Itself("This neighbour is the node itself.")
    return node


def _number(answer: Message, name: str) -> int:
    value = answer.fields.get(name)
    if type(value) is not int or value < 0:
        raise BadMessage(f"The answer has no number {name!r}.")
    return value


def _numbers(answer: Message, name: str, count: int) -> list[int]:
    values = answer.fields.get(name)
    if not isinstance(values, list) or not all(_is_below(value, count) for value in values):
        raise BadMessage(f"The answer has no list {name!r}.")
    return values


def _failures(answer: Message, count: int) -> dict[int, str]:
    """Which changes were refused, by their numbers, and why."""
    rows = answer.fields.get("failed")
    if not isinstance(rows, list):
        raise BadMessage("The answer has no list 'failed'.")
    failures = {}
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not _is_below(row[0], count):
            raise BadMessage("The answer has a malformed list 'failed'.")
        failures[row[0]] = str(row[1])[:500]
    return failures


def _is_below(value: object, count: int) -> bool:
    return type(value) is int and 0 <= value < count
