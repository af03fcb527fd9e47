from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import gcbench
from gcbench.bench.run import provenance
from gcbench.codecs import CODECS

PACKAGE = Path(gcbench.__file__).parent


def test_it_is_plain_json_and_says_what_matters():
    facts = json.loads(json.dumps(provenance.collect()))
    assert facts["packages"]["numpy"]
    assert facts["machine"]["cores"] >= 1
    assert facts["machine"]["memory_bytes"] > 2**28
    assert facts["gcbench"] == gcbench.__version__
    assert re.fullmatch("[0-9a-f]{64}", facts["source_sha256"])


def test_external_programs_are_named_by_version_and_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GCBENCH_TMC3", raising=False)
    coder = CODECS.create("gpcc-octree")
    assert provenance.collect([coder])["programs"] == {}
    program = tmp_path / "tmc3"
    program.write_text("#!/bin/sh\necho MPEG PCC tmc3 version release-v23.0-rc2\n")
    program.chmod(0o755)
    found = json.loads(json.dumps(provenance.collect([CODECS.create("draco"), coder])["programs"]))
    sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
    assert found == {"tmc3": f"release-v23.0-rc2 sha256:{sha256}"}
    assert provenance.collect([CODECS.create("draco")])["programs"] == {}, "a codec that is not run is not asked"


def test_packages_are_those_that_codecs_name_beside_those_of_every_run():
    class Third(SimpleNamespace):
        packages = ("pytest", "no-such-package")
        programs = staticmethod(lambda: {"coder": "7"})

    plain = provenance.collect()["packages"]
    assert {"numpy", "trimesh", "scipy"} <= set(plain)
    assert "DracoPy" not in plain
    facts = provenance.collect(iter([CODECS.create("draco"), Third()]))
    assert set(facts["packages"]) - set(plain) == {"DracoPy", "pytest"}
    assert facts["packages"]["pytest"] == pytest.__version__
    assert facts["programs"] == {"coder": "7"}


def test_the_engine_names_no_codec():
    """Codecs say themselves what they depend on."""
    words = set(re.findall(r"[\w-]+", (PACKAGE / "bench/run/provenance.py").read_text(encoding="utf-8")))
    assert not words & {*CODECS.builtins, "mpeg", "tmc3", "PCGCv2", "DracoPy", "torch"}


def test_the_hash_of_the_sources_changes_with_any_of_them_and_with_nothing_else(tmp_path):
    copy = tmp_path / "copy"
    for name in (init.parent.name for init in PACKAGE.glob("*/__init__.py")):
        shutil.copytree(PACKAGE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in PACKAGE.glob("*.py"):
        shutil.copy(file, copy)
    assert provenance.source_sha256(copy) == provenance.source_sha256(PACKAGE)
    for no_part in ("notes.txt", "tests/test_x.py"):
        (copy / no_part).parent.mkdir(exist_ok=True)
        (copy / no_part).write_text("x")
    assert provenance.source_sha256(copy) == provenance.source_sha256(PACKAGE)
    (copy / "bench" / "store.py").write_text("x")
    assert provenance.source_sha256(copy) != provenance.source_sha256(PACKAGE)


def test_commit_of_the_checkout_it_was_installed_from_only_while_the_sources_agree(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    for name in (init.parent.name for init in PACKAGE.glob("*/__init__.py")):
        shutil.copytree(PACKAGE / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in PACKAGE.glob("*.py"):
        shutil.copy(file, checkout)
    git = ["git", "-C", str(checkout), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    monkeypatch.setattr(provenance, "_installed_from", lambda: checkout)
    monkeypatch.setattr(gcbench, "__file__", str(tmp_path / "copy" / "__init__.py"))
    shutil.copytree(checkout, tmp_path / "copy", ignore=shutil.ignore_patterns(".git"))
    ours = provenance.source_sha256(tmp_path / "copy")
    assert re.fullmatch("[0-9a-f]{40}", provenance.commit(ours)["commit"])
    assert provenance.commit(ours)["dirty"] is False
    (checkout / "notes.txt").write_text("x")
    assert provenance.commit(ours)["dirty"] is True
    (checkout / "bench" / "store.py").write_text("changed after installing")
    assert provenance.commit(ours) is None
