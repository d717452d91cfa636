"""The id of a request, in the log and in ``X-Request-ID``."""

import os
import re
from itertools import count

#: The client's own id is kept if it can stand in a log and a header.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestIds:
    """Ids that no other process and no other run gives: some random bits, then a count."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._count = count(1)

    def new(self) -> str:
        return f"{self._prefix}-{next(self._count)}"

    def accept(self, proposed: str | None) -> str:
        """The id that the client proposes, if it is fit; otherwise a new one."""
        if proposed is not None and _ACCEPTABLE.fullmatch(proposed):
            return proposed
        return self.new()
