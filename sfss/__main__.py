"""``python -m sfss`` is the same as the ``sfss`` command."""

import sys

from sfss.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
