"""The log: a line an event, ``key=value``, made for eyes, grep and log shippers alike.

    2026-11-20T03:15:37.123Z INFO listening url=http://127.0.0.1:8255 store="sqlite /srv/files"

A value with anything but plain characters is a JSON string, so no client can write a line of
its own into the log.
"""

import json
import logging
import re
import sys
import time

_PLAIN = re.compile(r"[A-Za-z0-9._:/?&%+@,;~\[\]*()-]+")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = f"{moment}.{int(record.created % 1 * 1000):03d}Z {record.levelname} {record.getMessage()}"
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line += f" {name}={quoted(value)}"
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def quoted(value: object) -> str:
    """*value* as it stands behind ``name=``."""
    text = "-" if value is None else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


#: Of what answers to the command itself: where the server listens. It is said at every level.
ANNOUNCEMENTS = "sfss.start"


def set_up(level: str) -> None:
    """Log to standard error from *level* on, which is ``debug``, ``info``, ``warning`` or ``error``."""
    logging.getLogger(ANNOUNCEMENTS).setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
