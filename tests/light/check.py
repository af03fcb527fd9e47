"""gcbench without its extras: modules import or say which package they lack, and every verb that needs none works.

    tox -e light                                in an environment without torch and dask.distributed
    python tests/light/linked.py                in one that is made of links to the packages of the environment at hand
    python tests/light/check.py imports list    only these steps

It needs no pytest. A step that fails ends the script with what the command printed. It takes about a minute in an
environment that pip made, most of it numba's compilation of loops that an earlier environment has in its cache.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gcbench
from gcbench import extras

LIGHT = ("raw-zstd", "draco", "draco-qem", "meshopt", "meshopt-simplify", "blendshapes")
TETRAHEDRON = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


def ran(*words: str, module: str = "gcbench.bench.cli", exits: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in the working directory; anything but the exit code that it should have ends this script."""
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=False)
    if done.returncode != exits or "Traceback" in done.stderr:
        sys.exit(f"{module} {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def imports() -> None:
    """No package of an extra is here; a module that cannot be imported lacks one of them, and nothing else."""
    here = [package for package in extras.EXTRA_OF if extras.is_installed(package)]
    assert not here, f"{', '.join(here)}: installed, so this environment shows nothing"
    for module in pkgutil.walk_packages(gcbench.__path__, "gcbench.", onerror=lambda _name: None):
        if module.name.endswith("__main__") or ".tests" in module.name or ".templates" in module.name:
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if extras.explained(error) is None or module.name.startswith("gcbench.datasets"):
                raise


def list_() -> None:
    """A codec that lacks a package says which extra brings it."""
    rows = {row["codec"]: row for row in json.loads(ran("list", "codecs", "--format", "json").stdout)}
    for name in LIGHT:
        assert rows[name]["available"], rows[name]
    for name in ("necgs", "quantdeepsdf", "ni", "nglod", "pcgcv2"):
        assert rows[name]["reason"] == "the package torch is not installed", rows[name]
        assert rows[name]["remedy"] == 'pip install "gcbench[networks]"', rows[name]


def run() -> None:
    """``--codec all`` leaves out what cannot run, in one line for each codec, and draws and judges the rest."""
    said = ran(
        "run", "-d", "mixed", "-c", "all", "--limit", "1", "--rate", "z19,q10,d0400,d0280", "--run", "light"
    ).stdout
    assert said.count("\nnot available: ") == said.count("not available: ") > 6, said
    assert 'not available: necgs: the package torch is not installed; pip install "gcbench[networks]"\n' in said, said
    assert f"{len(LIGHT)} coded now" in said, said
    ran("table", "light")
    ran("plot", "light")
    ran("choose", "light", "--max-kb", "1000")
    ran("measure", "light", "--suite", "volume")
    ran("report", "light")
    assert "all checks pass" in ran("verify", "light").stdout
    ran("gate", "-b", "gate.json", "-c", "draco", "--mesh", "ama/human/stand", "--rate", "q10", "--update")
    ran("gate", "-b", "gate.json")
    says = 'the package distributed is not installed; pip install "gcbench[cluster]"\n'
    cluster = ran("run", "-c", "draco", "--limit", "1", "--cluster", "local:1", exits=3)
    assert cluster.stderr.endswith(f"error: --cluster cannot be used: {says}"), cluster.stderr


def lacks() -> None:
    """Commands that need a network end in one line; the others do not notice."""
    Path("meshes").mkdir()
    Path("meshes/tetrahedron.off").write_text(TETRAHEDRON)
    ran("run", "-d", "meshes", "-c", "draco", "--rate", "q10")
    says = 'the package torch is not installed; pip install "gcbench[networks]"\n'
    compress = ran("compress", "meshes/tetrahedron.off", "-o", "s.necgs", module="gcbench.necgs", exits=3)
    assert compress.stderr == f"error: {says}", compress.stderr
    named = ran("encode", "meshes/tetrahedron.off", "-c", "ni", "--max-kb", "1", exits=3)
    assert named.stderr == f"error: codec 'ni' cannot run here: {says}", named.stderr


def use() -> None:
    """A codec is used outside of a run."""
    Path("one.off").write_text(TETRAHEDRON)
    ran("encode", "one.off", "-c", "draco", "--rate", "q10", "-o", "streams")
    (stream,) = Path("streams").iterdir()
    ran("decode", str(stream), "-o", "decoded")


STEPS = {"imports": imports, "list": list_, "lacks": lacks, "run": run, "use": use}


def main() -> None:
    """Take the steps that are named, or all."""
    for name in sys.argv[1:] or STEPS:
        begin, cpu = time.monotonic(), sum(os.times()[:4])
        STEPS[name]()
        sys.stdout.write(f"{name}: {time.monotonic() - begin:.0f} s, {sum(os.times()[:4]) - cpu:.0f} s of CPU\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        main()
