"""gcbench without its extras: ``check.py``, in an environment of links to the light packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINKED = Path(__file__).with_name("linked.py")


@pytest.mark.long
def test_light_where_only_its_packages_are():
    """`tox -e light` installs them from the index."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # of the test plugin
    done = subprocess.run([sys.executable, LINKED], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
