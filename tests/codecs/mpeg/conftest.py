"""Stand-ins for MPEG's programs: small scripts that do what the real ones do, or fail as those do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BANNERS = {
    "tmc3": "MPEG PCC tmc3 version release-v23.0-rc2-0-ga3d15c5",
    "PccAppEncoder": "PccAppEncoder v24.0",
    "PccAppDecoder": "PccAppDecoder v24.0",
}


class StandIns:
    """Writes scripts and remembers how they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls.jsonl"

    def put(self, name: str, body: str = "", *, banner: str | None = None, path: Path | None = None) -> Path:
        """Make a script that prints its banner without arguments, and else runs ``body``.

        The body has ``args``, ``option(name)`` (its value) and the modules that the script imports.
        """
        path = path or self.root / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        said = BANNERS.get(name, "Example coder 2.1") if banner is None else banner
        script = path.with_name(f".{path.name}.py")
        script.write_text(
            "import json, os, signal, subprocess, sys, time\n"
            "from pathlib import Path\n"
            "args = sys.argv[1:]\n"
            f"with open({str(self.calls)!r}, 'a') as calls: calls.write(json.dumps(args) + chr(10))\n"
            "if not args:\n"
            f"    print({said!r}); sys.exit(1)\n"
            "def option(name): return next(a.split('=', 1)[1] for a in args if a.startswith('--' + name + '='))\n"
            f"{body}\n"
        )
        # A shebang line cannot be long, nor have blanks; sys.executable may be both.
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{script}" "$@"\n')
        path.chmod(0o755)
        return path

    def called(self) -> list[list[str]]:
        """Arguments of every call so far that had any."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [call for line in lines if (call := json.loads(line))]


@pytest.fixture(scope="session")
def make_stand_ins() -> type[StandIns]:
    return StandIns


@pytest.fixture
def stand_ins(tmp_path) -> StandIns:
    return StandIns(tmp_path / "stand-ins")
