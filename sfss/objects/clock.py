"""The time, as the object service writes it down."""

import time


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
