"""Types hold: mypy, strict, over the installed package. A test, so that the other tests run beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="tox runs it, over the wheel: `tox -- tests/architecture`")
def test_types(tmp_path):
    # Not in the checkout: there mypy takes codecs/ for the standard library's module of that name.
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "-p", "gcbench"]
    cache = ["--cache-dir", Path(os.environ["TOX_WORK_DIR"]) / "mypy"]
    done = subprocess.run([*command, *cache], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
