"""What the web server has done so far: counts, bytes and latencies, in constant memory."""

import os
import resource
import time
from collections import Counter

from sfss import __version__

#: A latency falls into one of eight buckets to each doubling: a percentile is true to 9 %.
_PER_DOUBLING = 8


class Telemetry:
    """The figures of one process since it started."""

    def __init__(self) -> None:
        self._started = time.time()
        self._statuses: Counter[int] = Counter()
        self._latencies: Counter[int] = Counter()  # by bucket
        self._bytes_in = 0
        self._bytes_out = 0

    def record(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        """One request has been answered. Bytes are those of the bodies."""
        self._statuses[status] += 1
        self._latencies[_bucket(seconds)] += 1
        self._bytes_in += bytes_in
        self._bytes_out += bytes_out

    def figures(self) -> dict[str, str]:
        """Names to values, as text; latencies in milliseconds, memory in bytes."""
        figures = {
            "version": __version__,
            "pid": os.getpid(),
            "uptime": int(time.time() - self._started),
            "requests": self._statuses.total(),
            **{f"requests_{status}": n for status, n in sorted(self._statuses.items())},
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
            "latency_p50_ms": self._percentile(0.50),
            "latency_p90_ms": self._percentile(0.90),
            "latency_p99_ms": self._percentile(0.99),
            "memory_bytes": _resident_bytes(),
        }
        return {name: str(value) for name, value in figures.items()}

    def _percentile(self, share: float) -> float:
        wanted = self._latencies.total() * share
        for bucket, count in sorted(self._latencies.items()):
            wanted -= count
            if wanted <= 0:
                return round(_upper_bound(bucket) * 1000, 3)
        return 0.0


def _bucket(seconds: float) -> int:
    microseconds = int(seconds * 1_000_000)
    doublings = max(microseconds.bit_length() - 4, 0)
    return doublings * _PER_DOUBLING + (microseconds >> doublings)


def _upper_bound(bucket: int) -> float:
    """Seconds at the upper end of *bucket*."""
    doublings = max(bucket // _PER_DOUBLING - 1, 0)
    return ((bucket - doublings * _PER_DOUBLING + 1) << doublings) / 1_000_000


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the highest so far is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
