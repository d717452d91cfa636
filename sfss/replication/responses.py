"""What a node answers to what its neighbours say and ask (``requests.py`` is the other side).

============  ==========================================  ========================================
a message     has                                         and is answered with
============  ==========================================  ========================================
``push``      changes, with their contents                ``results``: "" or why not, for each;
                                                          ``damaged``: the numbers of those that were
                                                          changed on the way
``offer``     changes without contents                    ``wanted``: the numbers of those that are
                                                          to be pushed; deletes are taken at once;
                                                          ``failed``: numbers, and why
``tree``      ``root``; ``branches``: those whose         ``root``, ``horizon``, ``mark``, ``synced``,
              leaves are asked for, or null               ``branches`` or ``leaves``: digests
``list``      ``leaves``: numbers                         changes without contents; ``leaves``: how
                                                          many of them that were
``fetch``     ``paths``                                   changes with contents; ``paths``: how many
                                                          of them that were
============  ==========================================  ========================================

Each message and each answer has ``node`` (the speaker), ``process`` (which of its lives), ``names`` (which
mode), ``tells`` (the nodes that soon hear from the speaker itself what begins there: others need
not relay it to them) and ``left``: how much more the speaker has to tell the other.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sfss.errors import SfssError, StoreRefused
from sfss.paths import is_valid_path
from sfss.replication.changes import BadMessage, Change, Message, Piece, encode
from sfss.replication.contents import announcement
from sfss.replication.digests import are_same
from sfss.replication.entries import Entry
from sfss.replication.merkle import FAN, LEAVES
from sfss.replication.operations import Learn, Outcome
from sfss.replication.replica import Replica
from sfss.replication.resolve import ContentDamaged, is_newer

log = logging.getLogger("sfss.node")

#: How many changes without, and how many bytes of contents, a message has at the most.
MOST_CHANGES = 1000
MOST_BYTES = 4 * 1024 * 1024
#: Of how many leaves a message asks at the most.
MOST_LEAVES = 4096
#: Announced and not yet sent: more are not remembered.
_MOST_ANNOUNCED = 100_000

#: Puts the answer together, from what has become of the changes.
Finish = Callable[[Sequence[Outcome | SfssError]], list[Piece]]


class _Speaker(NamedTuple):
    """The sender of a message."""

    node: str  #: its id
    url: str | None  #: where it is found, if it is a neighbour
    told: frozenset[str]  #: the neighbours whom it tells itself what begins there

    def said(self, change: Change) -> Learn:
        # What it only passes on may have come to nobody else.
        told = self.told if change.version.node == self.node else frozenset()
        return Learn(change, self.url, told)


class Answers:
    """The answers of the node that *replica* is."""

    def __init__(self, replica: Replica):
        self._replica = replica
        #: Of each neighbour, by its id, how much it had to tell when it last spoke.
        self.left: dict[str, int] = {}
        self._kinds = {
            "push": self._push,
            "offer": self._offer,
            "tree": self._tree,
            "list": self._list,
            "fetch": self._fetch,
        }

    def prepare(
        self, message: Message, source: str | None, told: frozenset[str] = frozenset()
    ) -> tuple[list[Learn], Finish]:
        """What *message* is to change, and how it is answered then. *source*: whose URL it is, if it is a
        neighbour's. *told*: the neighbours whom he is believed to tell himself what begins there.

        :raises BadMessage: if it is not to be understood, or comes from another kind of node.
        """
        answer = self._kinds.get(message.kind)
        if answer is None:
            raise BadMessage(f"Nodes of this version know no message {message.kind[:50]!r}.")
        node = check_speaker(message, self._replica)
        if node == self._replica.node:
            return [], lambda outcomes: self._message([], None)  # it talks to itself, and will see
        if len(message.changes) > MOST_CHANGES:
            raise BadMessage(f"A message has at most {MOST_CHANGES} changes.")
        left = message.fields.get("left", 0)
        self.left[node] = left if type(left) is int else 0
        try:
            return answer(message, _Speaker(node, source, told))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BadMessage(f"The message {message.kind!r} is malformed: {error}.") from error

    def _push(self, message: Message, speaker: _Speaker) -> tuple[list[Learn], Finish]:
        def finish(outcomes: Sequence[Outcome | SfssError]) -> list[Piece]:
            results = [str(o) if isinstance(o, SfssError) else "" for o in outcomes]
            damaged = [n for n, o in enumerate(outcomes) if isinstance(o, ContentDamaged)]
            return self._message([], speaker.url, results=results, damaged=damaged)

        return [speaker.said(change) for change in message.changes], finish

    def _offer(self, message: Message, speaker: _Speaker) -> tuple[list[Learn], Finish]:
        replica = self._replica
        operations, numbers, wanted, known, refused = [], [], [], [], []
        with replica.catalog.snapshot():
            found = [replica.catalog.get(change.path) for change in message.changes]
        for number, (change, before) in enumerate(zip(message.changes, found)):
            if not is_newer(change, before):
                known.append((change.path, change.version))
                continue
            try:
                replica.rules.check(change)
            except StoreRefused as error:
                refused.append((number, str(error)))
                continue
            if change.is_delete or (before is not None and are_same(before.digests, change.digests)):
                operations.append(speaker.said(change._replace(content=None)))
                numbers.append(number)
            else:
                wanted.append(number)
                if len(replica.announced) < _MOST_ANNOUNCED and speaker.url is not None:
                    replica.announced[change.path] = speaker.url
        if known and speaker.url is not None:
            replica.catalog.told(speaker.url, known)  # it has them, as it says

        def finish(outcomes: Sequence[Outcome | SfssError]) -> list[Piece]:
            failed = [(n, str(o)) for n, o in zip(numbers, outcomes) if isinstance(o, SfssError)]
            return self._message([], speaker.url, wanted=wanted, failed=refused + failed)

        return operations, finish

    def _tree(self, message: Message, speaker: _Speaker) -> tuple[list[Learn], Finish]:
        replica = self._replica
        asked, root = message.fields["branches"], replica.catalog.tree.root()
        found: dict[str, Any] = {}
        if asked is None:
            if message.fields["root"] != root:  # otherwise it needs no more to see that all is the same
                found = {"branches": replica.catalog.tree.branches()}
        else:
            if len(asked) > FAN or not all(type(b) is int and 0 <= b < FAN for b in asked):
                raise ValueError("there is no such branch")
            found = {"leaves": [replica.catalog.tree.leaves_of(branch) for branch in asked]}
        fields = {
            "root": root,
            "files": replica.catalog.counts.files,
            "horizon": replica.horizon,
            "mark": replica.receipt(),
            "synced": replica.catalog.state(f"synced {speaker.node}"),
        }
        return [], lambda outcomes: self._message([], speaker.url, **fields, **found)

    def _list(self, message: Message, speaker: _Speaker) -> tuple[list[Learn], Finish]:
        entries: list[Entry] = []
        number = 0
        leaves = message.fields["leaves"]
        if len(leaves) > MOST_LEAVES:
            raise ValueError("there are not so many leaves")
        for leaf in leaves:
            if type(leaf) is not int or not 0 <= leaf < LEAVES:
                raise ValueError("there is no such leaf")
            if number and len(entries) >= MOST_CHANGES:
                break
            entries += self._replica.catalog.entries([leaf])
            number += 1
        changes = [announcement(entry) for entry in entries]
        return [], lambda outcomes: self._message(changes, speaker.url, leaves=number)

    def _fetch(self, message: Message, speaker: _Speaker) -> tuple[list[Learn], Finish]:
        changes: list[Change] = []
        size = number = 0
        for path in message.fields["paths"][:MOST_CHANGES]:
            if type(path) is not str or not is_valid_path(path):
                raise ValueError("there is no such path")
            entry = self._replica.catalog.get(path)
            if entry is not None:
                if changes and size + entry.size > MOST_BYTES:
                    break
                change = self._replica.contents.change_of(entry)
                if change is not None:
                    changes.append(change)
                    size += change.size
            number += 1
        return [], lambda outcomes: self._message(changes, speaker.url, paths=number)

    def _message(self, changes: Sequence[Change], source: str | None, **fields: Any) -> list[Piece]:
        return speak(self._replica, "answer", source, changes, **fields)


def speak(
    replica: Replica,
    kind: str,
    peer: str | None,
    changes: Sequence[Change] = (),
    **fields: Any,
) -> list[Piece]:
    """A message of this node to *peer*."""
    left = replica.catalog.queue_length(peer) if peer is not None else 0
    return encode(kind, changes, **introduction(replica), left=left, **fields)


def introduction(replica: Replica) -> dict[str, Any]:
    """The speaker: what every message begins with."""
    return {
        "node": replica.node,
        "process": replica.process,
        "names": replica.rules.names,
        "tells": replica.tells,
    }


def tells(message: Message) -> frozenset[str]:
    """The ids of the nodes that its speaker tells itself. :raises BadMessage:"""
    nodes = message.fields.get("tells", [])
    if not isinstance(nodes, list) or not all(type(node) is str for node in nodes):
        raise BadMessage("The message does not say which nodes are told.")
    return frozenset(nodes)


def check_speaker(message: Message, replica: Replica) -> str:
    """The id of the node that speaks.

    :raises BadMessage: if its files have names of another kind, or it is a copy of this one.
    """
    node, theirs = message.fields.get("node"), message.fields.get("names")
    if type(node) is not str or len(node) != 16:
        raise BadMessage("The message does not say which node speaks.")
    if node == replica.node and message.fields.get("process") != replica.process:
        raise BadMessage(
            "Two nodes have the same id: one's folders were copied from the other's. Stop the copy, remove"
            " its queue folder, and start it again; it keeps its files."
        )
    ours = replica.rules.names
    if theirs != ours:
        raise BadMessage(f"One of us runs with --names {ours}, the other with --names {str(theirs)[:20]}.")
    return node
