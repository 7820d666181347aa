"""`python -m handloom`: the same as the command `handloom`."""

from __future__ import annotations

import sys

from handloom.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
