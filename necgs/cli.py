"""The command ``necgs``."""

from __future__ import annotations

import sys

_ABSENT = "necgs: this version of gcbench does not contain the NeCGS codec yet; see CHANGELOG.md for what it has\n"


def main() -> None:
    """Say that the codec is not there, and fail."""
    sys.stderr.write(_ABSENT)
    sys.exit(3)
