"""What can go wrong with one proxy. By blame: the connection, the proxy, or what we sent."""


class ProxyError(Exception):
    """One proxy did not do what it was asked; another one may."""


class ConnectionLost(ProxyError):
    """The connection ended before the reply was whole. The operation may have happened."""


class ProxyDown(ProxyError):
    """The proxy cannot be connected to, does not answer in time, or answers garbage."""


class DeadlinePassed(ProxyError):
    """The request's own time was over first: that says nothing about the proxy."""


class ProxyRefused(ProxyError):
    """The proxy answered, and said no. A write may have happened all the same."""


class ValueRefused(ProxyRefused):
    """The value is too large for the store behind the proxy."""


class OutOfMemory(ProxyRefused):
    """The store behind the proxy has no room."""
