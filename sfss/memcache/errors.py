"""What can go wrong with one proxy. By blame: the connection, the proxy, or what we sent."""

from collections.abc import Iterable

from sfss.errors import FileTooLarge, StoreFull, StoreRefused


class ProxyError(Exception):
    """One proxy did not do what it was asked; another one may."""

    kind: str  #: what it is called in the metrics; see :data:`KINDS`


class ConnectionLost(ProxyError):
    """The connection ended before the reply was whole. The operation may have happened."""

    kind = "connection_lost"


class ProxyDown(ProxyError):
    """The proxy cannot be connected to, does not answer in time, or answers garbage."""

    kind = "down"


class DeadlinePassed(ProxyError):
    """The request's own time was over first: that says nothing about the proxy."""

    kind = "deadline"


class ProxyRefused(ProxyError):
    """The proxy answered, and said no. A write may have happened all the same."""

    kind = "refused"


class ValueRefused(ProxyRefused):
    """The value is too large for the store behind the proxy."""

    kind = "too_large"


class OutOfMemory(ProxyRefused):
    """The store behind the proxy has no room."""

    kind = "out_of_memory"


#: All that :attr:`ProxyError.kind` can be. (``garbage`` is that of the protocol's errors.)
KINDS = ("garbage", "connection_lost", "down", "deadline", "out_of_memory", "too_large", "refused")


def refused_because(refusals: Iterable[ProxyRefused]) -> StoreRefused | FileTooLarge:
    """What to tell the client of a write that was refused: the reason that he can do something about."""
    reasons = list(refusals)
    for refusal in reasons:
        if isinstance(refusal, ValueRefused):
            return FileTooLarge(f"The store takes no file of this size: {refusal}.")
    for refusal in reasons:
        if isinstance(refusal, OutOfMemory):
            return StoreFull(f"The store has no room left: {refusal}.")
    return StoreRefused(f"The store refused: {reasons[0]}. A write may have happened all the same.")
