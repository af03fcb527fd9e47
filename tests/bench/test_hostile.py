"""Attacks behind the checksum: each kind of fault is found and counted, and every codec of ours withstands them."""

from __future__ import annotations

import contextlib
import functools
from itertools import islice

import pytest
from common import STREAMS, golden

from gcbench.bench.conformance import Crew, check, hostile
from gcbench.bench.conformance.mutants import HEAD_BYTES, PATCHES, mutants
from gcbench.entropy.container import Container, Writer
from gcbench.errors import CodecUnavailable

WAYS = ("careful", "raises", "hangs", "grows", "dies", "nan")  # of test-hostage
FAULTS = {
    "raises": ("crashes", "IndexError"),
    "hangs": ("hangs", "took longer than"),
    "grows": ("memory", "MiB more than the worker held"),
    "dies": ("crashes", "worker process died of SIGSEGV"),
    "nan": ("crashes", "positions that are not finite"),
}


def hostage(way: str, count: int = 3) -> bytes:
    """A stream of test-hostage, which decodes if the count is 3."""
    return Container(b"HST", 1, "test-hostage").pack(Writer().choice(way, WAYS).number(count).data())


@pytest.fixture(scope="module")
def crew():
    with Crew() as crew:
        yield crew


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(hostile, "LEAST_LIMIT_S", 1.0)
    monkeypatch.setattr(hostile, "_WARM_UP_S", 3.0)
    monkeypatch.setattr(hostile, "_GRACE_S", 0.1)


@pytest.mark.long
@pytest.mark.parametrize("way", FAULTS)
def test_each_fault_behind_a_right_checksum_is_found(crew, short, way):
    outcome, said = FAULTS[way]
    report = check(
        "test-hostage", only=["hostile"], streams=[hostage("careful"), hostage(way, 101)], mutants=0, crew=crew
    )
    found = report["hostile"]
    assert found.status == "fail"
    assert said in found.reason
    assert found.figures["mutants"] == found.figures[outcome] == 1


def test_a_codec_that_looks_at_its_fields_withstands(crew):
    report = check("test-hostage", only=["hostile"], rates=["careful"], mutants=150, crew=crew)
    found = report["hostile"]
    assert found.status == "pass", report
    assert found.figures["mutants"] == 150
    assert found.figures["errors"] > 100
    assert found.figures["crashes"] == found.figures["hangs"] == found.figures["memory"] == 0


def test_mutants_of_its_own_streams_reach_behind_the_checksum(crew):
    report = check("test-hostage", only=["hostile"], rates=["raises"], quick=True, crew=crew)
    assert report["hostile"].status == "fail"
    assert "IndexError" in report["hostile"].reason


def test_what_is_found_is_kept_and_the_command_that_is_named_finds_it_again(crew, bench, tmp_path, monkeypatch):
    monkeypatch.setattr("gcbench.bench.conformance.Crew", lambda *_: contextlib.nullcontext(crew))
    streams = tmp_path / "streams"
    streams.mkdir()
    (streams / "good.bin").write_bytes(hostage("careful"))
    (streams / "bad.bin").write_bytes(hostage("raises", 101))
    command = ["check", "test-hostage", "--only", "hostile", "--mutants", "0"]
    said = bench(*command, "--streams", streams, "--keep", tmp_path / "kept", code=1).stdout
    kept = sorted(file.name.partition("-")[0] for file in (tmp_path / "kept").iterdir())
    assert kept == ["crashes", "seed", "seed"]
    (again,) = [line.partition("again: bench ")[2].split() for line in said.splitlines() if "again: " in line]
    assert again == [*command, "--streams", str(tmp_path / "kept")]
    assert "IndexError" in bench(*again, code=1).stdout


@pytest.mark.parametrize("arguments", [["--streams", "nothing"], ["--streams", "."]])
def test_streams_that_are_not_there(bench, arguments):
    said = bench("check", "test-hostage", "--only", "hostile", *arguments, code=2)
    assert "streams" in said.stderr


def test_mutants_are_many_differ_and_are_always_the_same():
    seeds = [bytes(range(200)), bytes(range(100, 250)) * 3]
    made = list(mutants(seeds, 3000, fixed=8))
    assert made == list(mutants(seeds, 3000, fixed=8))
    assert len({one[8:] for one in made}) == len(made) == 3000
    assert made != list(mutants(seeds, 3000, fixed=8, seed=1))
    assert not set(seeds) & set(made)
    assert {one[:8] for one in made} <= {seed[:8] for seed in seeds} | {one[:8] for one in made if len(one) < 8}
    lengths = {len(one) for one in made}
    assert min(lengths) < 20
    assert max(lengths) > 700


def test_each_byte_of_the_head_gets_each_value_at_a_limit():
    seed = bytes(100)
    made = set(mutants([seed], 5000, fixed=8))
    for at in range(8, 8 + HEAD_BYTES):
        for patch in PATCHES:
            changed = seed[:at] + patch + seed[at + len(patch) :]
            assert changed in made or changed == seed


@pytest.mark.parametrize("seeds", [[], [b""], [b"a"]])
def test_tiny_seeds_have_mutants_too(seeds):
    assert len(set(islice(mutants(seeds, 50), 50))) == 50


# A quarter of an hour each where decoding takes a second: pcgcv2 reconstructs a surface.
MUTANTS = 5000


@pytest.mark.slow
@pytest.mark.parametrize("codec", [folder.name for folder in sorted(STREAMS.iterdir())])
def test_every_codec_of_ours_withstands_mutants(crew, codec):
    seeds = [file.read_bytes() for file in golden(codec)]
    ask = functools.partial(check, codec, only=["hostile"], mutants=MUTANTS, streams=seeds, crew=crew)
    try:
        report = ask()
    except CodecUnavailable as error:
        pytest.skip(str(error))
    assert report.ok, report
    assert report["hostile"].figures["mutants"] == MUTANTS
