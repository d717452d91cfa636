"""What is counted of one proxy, and how fast it usually is."""

from collections import deque
from collections.abc import Iterable

from sfss.memcache.errors import KINDS, ProxyError
from sfss.metrics.families import Family, Histogram, counter, gauge, seconds

#: What a get is thought to take before any was seen, in seconds.
_FIRST_GUESS = 0.02
# One step up for each get that takes longer than the estimate, one down for each that does not:
# they balance (1.1 ** 0.05 * 0.995 ** 0.95 is 1) where one of twenty takes longer.
_UP, _DOWN = 1.1, 0.995


class EndpointStats:
    """The counts of one proxy. Times in seconds."""

    __slots__ = ("changes", "failures", "history", "latencies", "slow_get")

    def __init__(self) -> None:
        self.latencies: dict[str, Histogram] = {}  # µs, by operation
        self.slow_get = _FIRST_GUESS  #: about what 19 of 20 of the recent gets did not exceed
        self.failures: dict[str, int] = {}
        self.changes: dict[str, int] = {}
        #: Its last changes of state: (seconds since the epoch, state, reason).
        self.history: deque[tuple[float, str, str]] = deque(maxlen=20)

    def replied(self, operation: str, took: float) -> None:
        latencies = self.latencies.get(operation)
        if latencies is None:
            latencies = self.latencies[operation] = Histogram()
        latencies.observe(int(took * 1_000_000))
        if operation == "get":
            self.slow_get *= _UP if took > self.slow_get else _DOWN

    def failed(self, error: ProxyError) -> None:
        self.failures[error.kind] = self.failures.get(error.kind, 0) + 1

    def changed(self, now: float, state: str, reason: str) -> None:
        self.changes[state] = self.changes.get(state, 0) + 1
        self.history.append((now, state, reason))


def families(
    endpoints: Iterable[tuple[str, EndpointStats, bool, int]],
    prefix: str = "sfss_proxy",
    label: str = "proxy",
) -> list[Family]:
    """The metrics of servers: of each its address, its stats, whether it is up, its connections.

    *prefix* of their names; *label* with the address.
    """
    up = gauge(f"{prefix}_up", "1 if any worker can use it", label, join="max")
    open_ones = gauge(f"{prefix}_connections", "Open connections", label)
    took = seconds(f"{prefix}_duration_seconds", "Time from command to reply", label, "operation")
    failures = counter(f"{prefix}_failures_total", "Failed operations", label, "kind")
    changes = counter(f"{prefix}_state_changes_total", "Times it went down, up", label, "state")
    for address, endpoint_stats, is_up, connections in endpoints:
        up.add((address,), int(is_up))
        open_ones.add((address,), connections)
        for operation, latencies in endpoint_stats.latencies.items():
            took.add((address, operation), latencies)
        for kind in KINDS:  # from 0: an alert on the increase would miss the first one
            failures.add((address, kind), endpoint_stats.failures.get(kind, 0))
        for state in ("down", "up"):
            changes.add((address, state), endpoint_stats.changes.get(state, 0))
    return [up, open_ones, took, failures, changes]
