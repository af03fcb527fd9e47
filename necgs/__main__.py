"""The command ``necgs``, also for ``torchrun``: handles Ctrl-C from the first moment; ``cli.py`` has the commands."""

from __future__ import annotations

import sys

from gcbench.interrupts import INTERRUPTED, handled


def main() -> None:
    """Run the command line and exit."""
    try:
        with handled():
            from gcbench.necgs import cli

            cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
