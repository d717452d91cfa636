"""``python -m tests.killed_node STEP NUMBER FLAGS…``: a node that is killed at a step of its work."""

import asyncio
import os
import signal
import sys
from functools import partial

from sfss.cli import node
from sfss.cli.parser import make_parser
from sfss.config.node import NodeSettings
from sfss.config.sources import load


def main() -> int:
    step, number, *flags = sys.argv[1:]
    options: dict = vars(make_parser().parse_args(["node", *flags]))
    for name in ("command", "what", "verbose"):
        del options[name]
    left = int(number)

    def reached(found: str) -> None:
        nonlocal left
        if found == step:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return asyncio.run(node.serve(partial(load, options, kind=NodeSettings), reached))


if __name__ == "__main__":
    sys.exit(main())
