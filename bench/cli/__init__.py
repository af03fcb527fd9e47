"""The command line ``bench``: this module only handles Ctrl-C, from the first moment; ``verbs.py`` has the commands."""

from __future__ import annotations

import sys

from gcbench.interrupts import INTERRUPTED, handled


def main() -> None:
    """Run the command line and exit."""
    try:
        with handled():
            from gcbench.bench.cli.verbs import run

            run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
