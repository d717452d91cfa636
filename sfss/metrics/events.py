"""What has happened to something that has a state: shown as history on the status page."""

from typing import NamedTuple


class StateChange(NamedTuple):
    time: float  #: seconds since the epoch
    subject: str  #: a proxy's address, or a peer's URL
    state: str  #: which it is in now
    reason: str
