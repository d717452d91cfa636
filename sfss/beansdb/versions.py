"""Versions and labels.

A version is a positive number of 31 bits: a *unit* (24 bits), and the *writer* (7 bits), so no two writes have
the same one. Units are minutes since 2026, or ahead of that where a key is written more often. Nodes keep the
version beside the value, and a native delete makes it negative.

``get`` tells a value's flags and not its version, so the flags are a *label*: the version's low 29 bits and
whether the value is a tombstone. Two bits have a meaning to nodes (docs/stores.rst): 0x10, with which they do not
compress, is set in a label, and 0x10000 is not. Flags without 0x10 are no label: an earlier release or a proxy
has written that value.
"""

from typing import NamedTuple

WRITER_BITS = 7
WRITERS = 1 << WRITER_BITS
#: No process writes as this one: a purge of tombstones is to be told from all writes.
PURGE_WRITER = WRITERS - 1
MOST_UNITS = (1 << 24) - 1
#: Where writes are refused: so much is left for those who repair it (docs/beansdb.rst, "The budget of versions").
LAST_UNIT = MOST_UNITS - (1 << 12)
#: 2026-01-01 00:00 UTC, in seconds since the epoch.
_BEGIN = 1_767_225_600
SECONDS_PER_UNIT = 60

#: What has a unit below this was written by an earlier release, or through a proxy. (It is March of 2026.)
OURS = 100_000

_IS_LABEL = 0x10
_TOMBSTONE = 1 << 31
_LOW_BITS = (1 << 29) - 1


class Seen(NamedTuple):
    """What a node's hash tree has of a key."""

    version: int  #: 0: nothing; negative: a native tombstone
    value_hash: int

    @property
    def age(self) -> int:
        """The version, whatever its sign: what is greater is newer."""
        return abs(self.version)


def version_of(unit: int, writer: int) -> int:
    return unit << WRITER_BITS | writer


def unit_of(version: int) -> int:
    return abs(version) >> WRITER_BITS


def unit_at(wall: float) -> int:
    """The unit of a moment, in seconds since the epoch."""
    return max(0, int(wall - _BEGIN) // SECONDS_PER_UNIT)


def label(version: int, tombstone: bool) -> int:
    """The flags of a value of this version."""
    low = version & _LOW_BITS
    # Bits 0 to 3 stay; 4 to 14 and 15 to 28 make room for the two that mean something to nodes.
    flags = (low & 0xF) | (low & 0x7FF0) << 1 | (low & 0x1FFF8000) << 2 | _IS_LABEL
    return flags | _TOMBSTONE if tombstone else flags


def is_label(flags: int) -> bool:
    """Whether *flags* may be a label. (Other clients may have set 0x10, too; the version then does not fit.)"""
    return flags & _IS_LABEL != 0


def fits(flags: int, version: int) -> bool:
    """Whether *flags* are the label of a value of this *version*."""
    return version > 0 and flags & ~_TOMBSTONE == label(version, False)


def is_tombstone(flags: int, version: int) -> bool:
    """Whether a value with *flags* and this *version* is a tombstone of ours."""
    return flags & _TOMBSTONE != 0 and fits(flags, version)


def is_torn(flags: int, version: int) -> bool:
    """Whether *flags* are the label of another version than this one of ours: it was written meanwhile."""
    return is_label(flags) and not fits(flags, version) and version >> WRITER_BITS >= OURS


def is_foreign(flags: int, version: int) -> bool:
    """Whether a value has a version as only we give them, and not our label."""
    return not is_label(flags) and version >> WRITER_BITS >= OURS
