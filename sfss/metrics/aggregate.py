"""The figures of all processes of a server, seen as one.

Each worker writes its figures to the scoreboard (:mod:`sfss.metrics.scoreboard`) several times a second. The worker
that is asked adds up what all have written. What a worker has counted outlives it: when it has ended, the
master adds its counters to those of all who ended before, and the sum never goes down.
"""

import logging
import marshal
import os
import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

from sfss.metrics.events import StateChange
from sfss.metrics.families import Family, Figures, from_document, merged, to_document
from sfss.metrics.scoreboard import Scoreboard

log = logging.getLogger("sfss")

#: The place of those who have ended; workers have the others.
GONE = 0
#: So many of them are known by name: long enough for their places to be free again.
_GONE_NAMES = 1000

_runs = count()


class _Note(NamedTuple):
    names: list[str]  # of the processes whose figures these are
    families: list[Family]
    events: list[StateChange]


class Aggregate:
    """One process's view. *place* is its own on *scoreboard*; both are made if there is only this one."""

    def __init__(self, scoreboard: Scoreboard | None = None, place: int = GONE + 1):
        self._scoreboard = scoreboard or Scoreboard(places=GONE + 2)
        self._place = place
        self.server_pid = self._scoreboard.made_by  #: of the one process that a user knows of
        self.started = self._scoreboard.made_at  #: the server, seconds since the epoch
        self._name = f"{os.getpid()}-{next(_runs)}-{time.time_ns()}"
        self._sources: list[Callable[[], Iterable[Family]]] = []
        self._histories: list[Callable[[], Iterable[StateChange]]] = []

    def add_source(self, source: Callable[[], Iterable[Family]]) -> None:
        """Call *source* for its families, whenever somebody wants to know."""
        self._sources.append(source)

    def add_history(self, history: Callable[[], Iterable[StateChange]]) -> None:
        self._histories.append(history)

    def publish(self) -> None:
        """Pin what this process has counted so far."""
        families = [family for source in self._sources for family in source()]
        events = [event for history in self._histories for event in history()]
        _write(self._scoreboard, self._place, _Note([self._name], families, events))

    def figures(self) -> Figures:
        """The figures of all processes: of this one as they are, of others as they were last pinned."""
        return self.view()[0]

    def view(self) -> tuple[Figures, list[StateChange]]:
        """The same, and the events of all processes, the newest first."""
        self.publish()
        notes = _notes(self._scoreboard)
        events = [event for note in notes for event in note.events]
        return merged(note.families for note in notes), sorted(events, reverse=True)


def retire(scoreboard: Scoreboard, place: int) -> None:
    """The process of *place* has ended: keep what it has counted, and free its place."""
    try:
        _retire(scoreboard, place)
    except Exception:  # figures are not worth the service
        log.exception("what a worker has counted is lost")
        scoreboard.write(place, b"")


def _retire(scoreboard: Scoreboard, place: int) -> None:
    note = _read(scoreboard, place)
    if note is None:
        return
    gone = _read(scoreboard, GONE) or _Note([], [], [])
    lasting = [family for family in note.families if family.kind != "gauge"]
    total = merged([gone.families, lasting]).values()
    # First it is counted among the gone, then its place is cleared. Who reads between the two
    # finds its name in both, and counts it once.
    names = (gone.names + note.names)[-_GONE_NAMES:]
    _write(scoreboard, GONE, _Note(names, list(total), []))
    scoreboard.write(place, b"")


def _notes(scoreboard: Scoreboard) -> list[_Note]:
    # The gone are read last: a worker that is retired meanwhile is in one of the two places.
    notes = [_read(scoreboard, place) for place in range(scoreboard.places) if place != GONE]
    gone = _read(scoreboard, GONE) or _Note([], [], [])
    return [note for note in notes if note and not {*note.names} & {*gone.names}] + [gone]


# Both ends are the same program, and nobody else can write here: marshal is safe, and fast.


def _write(scoreboard: Scoreboard, place: int, note: _Note) -> None:
    events = [tuple(event) for event in note.events]
    scoreboard.write(place, marshal.dumps((note.names, to_document(note.families), events)))


def _read(scoreboard: Scoreboard, place: int) -> _Note | None:
    data = scoreboard.read(place)
    if not data:
        return None
    names, families, events = marshal.loads(data)
    return _Note(names, from_document(families), [StateChange(*event) for event in events])
