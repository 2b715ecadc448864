"""The `costsim` script, and `python -m costsim.cli`: from the first import on, Ctrl-C ends in one line."""

from __future__ import annotations

import sys


def entry() -> None:
    """Run the command line of this process and leave with its status."""
    try:
        from costsim.cli.main import main

        status = main(sys.argv[1:])
    except KeyboardInterrupt:  # before main could catch it
        sys.stderr.write("costsim: interrupted; nothing was left half-written\n")
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    entry()
