"""Every fuzz target takes its seeds and some mutants of them; ``tox -e fuzz`` tries more, for as long as one likes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from gcbench.bench.conformance.mutants import mutants
from gcbench.codecs import CODECS


def _module(name: str):
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


TARGETS = _module("targets").TARGETS
LOOP = _module("loop")


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(TARGETS.keys() - CODECS.builtins.keys()))
def test_a_target_takes_seeds_and_mutants(name):
    target = TARGETS[name]
    seeds = [file.read_bytes() for file in target.seeds]
    assert seeds
    for data in (*seeds, b"", *mutants(seeds, 300)):
        target.read(data)


@pytest.mark.parametrize("name", ["raw-zstd", "draco"])  # the others decode their golden streams in their own tests
def test_a_codec_takes_its_seeds(name):
    for file in TARGETS[name].seeds:
        TARGETS[name].read(file.read_bytes())


def test_a_seed_is_good():
    """Else the fuzzer would begin with what is refused at the first byte."""
    from gcbench.geometry import files

    for suffix in ("obj", "off", "ply", "stl"):
        for file in TARGETS[suffix].seeds:
            assert len(files.read(file.read_bytes(), f".{suffix}").faces)


def test_findings_with_one_reason_are_one():
    text = 'INFO\n  File "/a/entropy/varints.py", line 7, in read\n    x\nIndexError: index out of range\n==1== ERROR'
    assert LOOP.reason(text) == "IndexError: index out of range (varints.py:7)"
    assert LOOP.reason("==1== ERROR: libFuzzer: timeout after 10 seconds") == "timeout after 10 seconds"
