"""Reading: one round trip where the nodes agree, and settled otherwise.

The value is asked of one trusted node, and its place in the hash tree of as many others as the quorum needs. The
value's flags are the label of its version: where all say the same, that is the answer. Otherwise, and when one of them
takes long or fails, :mod:`sfss.beansdb.settle` asks all.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.part import Replicas
from sfss.beansdb.versions import Seen, fits, is_foreign, is_tombstone, is_torn
from sfss.completion import Completion
from sfss.memcache.protocol import Value


class State(NamedTuple):
    """What a quorum agrees on."""

    version: int  #: the newest, by its amount; 0 if there never was any
    content: bytearray | None  #: None: there is no file


#: Begins to settle a read that did not end at once.
Settle = Callable[["Read"], None]


class Read:
    """One read of *key*, whose hash is *hashed*, or *text* in hex digits; the result is a :class:`State`.

    *deadline*: on the loop's clock. It is one that can be hedged (:class:`sfss.stores.hedging.Hedgeable`).
    """

    __slots__ = (
        "answered",
        "began",
        "completion",
        "deadline",
        "hashed",
        "hedged",
        "key",
        "replicas",
        "seen",
        "settle",
        "settling",
        "text",
        "value",
        "waiting",
        "wanted",
    )

    def __init__(
        self,
        replicas: Replicas,
        key: bytes,
        hashed: int,
        text: bytes,
        deadline: float,
        completion: Completion,
        settle: Settle,
    ):
        self.replicas = replicas
        self.key = key
        self.hashed = hashed
        self.text = text
        self.deadline = deadline
        self.completion = completion
        self.settle = settle
        self.settling = False
        self.hedged = False
        self.answered = False
        self.began = 0.0
        self.waiting = 0
        self.value: Value | None = None
        self.wanted: NodeConnection | None = None  # where the value is asked
        self.seen: list[Seen] = []

    def begin(self) -> bool:
        """False: too few nodes can be asked now, and nothing has begun."""
        trusted = self.replicas.trusted()
        quorum = self.replicas.quorum
        if len(trusted) < quorum:
            return False
        self.began = perf_counter()
        self.waiting = quorum
        self.wanted = trusted[0][1]
        self.wanted.fetch(self.key, self.deadline, _Fetched(self))
        for number in range(1, quorum):
            trusted[number][1].look(self.text, self.deadline, _Looked(self))
        return True

    def done(self) -> bool:
        return self.answered or self.settling or self.completion.done()

    def came(self) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.judge()

    def judge(self) -> None:
        """All have answered."""
        value = self.value
        if value is None:
            for seen in self.seen:
                if seen.version > 0:
                    self.disagree()
                    return
            self.answer(State(min([seen.version for seen in self.seen], default=0), None))
            return
        if not self.seen:  # one node is the quorum: it alone says what the version is
            self.compare_old()
            return
        version = self.seen[0].version
        for seen in self.seen:
            if seen.version != version:
                self.disagree()
                return
        if fits(value.flags, version):
            self.answer(State(version, None if is_tombstone(value.flags, version) else value.content))
        elif version > 0 and not is_torn(value.flags, version):
            self.compare_old()
        else:
            self.disagree()

    def compare_old(self) -> None:
        """The value does not say of which version it is: the node that gave it is asked."""
        assert self.wanted is not None
        if not self.wanted.usable:
            self.disagree()
            return
        self.wanted.look(self.text, self.deadline, _LookedAfter(self))

    def looked_after(self, own: Seen) -> None:
        value = self.value
        assert value is not None
        for seen in self.seen:
            if seen != own:
                self.disagree()
                return
        if own.version <= 0 or is_torn(value.flags, own.version):
            self.disagree()  # it was written meanwhile
            return
        if is_foreign(value.flags, own.version):
            self.replicas.note_foreign(self.key)
        self.answer(State(own.version, None if is_tombstone(value.flags, own.version) else value.content))

    def answer(self, state: State) -> None:
        self.answered = True
        if not self.completion.done():
            self.completion.set_result(state)

    def disagree(self) -> None:
        if not self.done():
            self.settling = True
            self.settle(self)

    # Hedging: a read that takes long is settled.

    def hedge(self) -> bool:
        self.hedged = True
        self.disagree()
        return True

    def deny(self) -> None:
        self.hedged = True


class _Part:
    """Receives one of the answers to a read."""

    __slots__ = ("read",)

    def __init__(self, read: Read):
        self.read = read

    def done(self) -> bool:
        return self.read.done()

    def set_exception(self, error: Exception) -> None:
        self.read.disagree()


class _Fetched(_Part):
    __slots__ = ()

    def set_result(self, result: Any) -> None:
        self.read.value = result
        self.read.came()


class _Looked(_Part):
    __slots__ = ()

    def set_result(self, result: Any) -> None:
        self.read.seen.append(result)
        self.read.came()


class _LookedAfter(_Part):
    __slots__ = ()

    def set_result(self, result: Any) -> None:
        self.read.looked_after(result)


def read_of(completion: object) -> Read | None:
    """The read that *completion* receives a part of, if it does."""
    return completion.read if isinstance(completion, _Part) else None
