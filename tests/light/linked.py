"""Check gcbench without its extras in a new environment that borrows the light packages of the environment at hand.

    python tests/light/linked.py                all steps of check.py; after a name or several, only these

`tox -e light` installs the light packages from the index, for minutes. This script links them instead: a new virtual
environment gets gcbench and what gcbench requires without extras, and nothing else. `pip check` then says whether the
metadata of gcbench name everything. CI runs this script.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECK = Path(__file__).with_name("check.py")


def needed(name: str, found: dict[str, metadata.Distribution]) -> None:
    """Add a distribution and what it requires without extras; each requirement may ask for extras of its own."""
    if canonicalize_name(name) in found:
        return
    found[canonicalize_name(name)] = distribution = metadata.distribution(name)
    for line in distribution.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, found)


def link(distributions: dict[str, metadata.Distribution], to: Path) -> None:
    """Link every folder and module at the top of site-packages that belongs to one of the distributions."""
    for distribution in distributions.values():
        site = Path(str(distribution.locate_file(""))).resolve()
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (to / top).exists():
                (to / top).symlink_to(site / top)


def main() -> None:
    """Make the environment, check its requirements, and run check.py in it."""
    found: dict[str, metadata.Distribution] = {}
    needed("gcbench", found)
    with tempfile.TemporaryDirectory(prefix="gcbench-light-") as folder:
        venv.create(folder, symlinks=True)
        python = Path(folder, "bin", "python")
        link(found, Path(sysconfig.get_path("purelib", vars={"base": folder, "platbase": folder})))
        pip = [sys.executable, "-m", "pip", "--python", str(python), "check"]
        for command in (pip, [str(python), str(CHECK), *sys.argv[1:]]):
            if code := subprocess.run(command, check=False).returncode:
                sys.exit(code)


if __name__ == "__main__":
    main()
