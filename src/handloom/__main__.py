"""`python -m handloom`: the same as the command `handloom`."""

from __future__ import annotations

import sys


def main() -> int:
    """The command line. Ctrl-C ends it in one line even while it is still being imported."""
    try:
        from handloom.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        if "--debug" in sys.argv[1:]:
            raise
        print("handloom: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
