import logging
import sys

from sfss.runtime.logs import Formatter, quoted


def line(message: str, **extra) -> str:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "created": 0, **extra})
    return Formatter().format(record)


def test_a_line():
    assert line("listening", url="http://127.0.0.1:8255", store="sqlite /a b", none=None) == (
        '1970-01-01T00:00:00.000Z INFO listening url=http://127.0.0.1:8255 store="sqlite /a b" none=-'
    )


def test_no_value_makes_a_line_of_its_own():
    assert "\n" not in line("a\nb", target="x\n2026 ERROR forged", other="\r\x1b[31m\u2028")
    assert quoted('a" b="c') == '"a\\" b=\\"c"'
    assert quoted("") == '""'


def test_exceptions_are_below_their_line():
    try:
        raise ValueError("why")
    except ValueError:
        text = line("failed", exc_info=sys.exc_info())
    assert text.startswith("1970-01-01T00:00:00.000Z INFO failed\nTraceback")
    assert text.endswith("ValueError: why")
