"""What is left out of a run because only an earlier version of a codec coded it."""

from __future__ import annotations

import json

import pytest

from gcbench.bench.analysis.versions import newest
from gcbench.bench.store.records import Record
from gcbench.bench.store.run import Run


def record(rate="r0", mesh="a", codec="c", **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": rate,
        "rate_index": int(rate[1:]), "effort": "quick", "seed": 0, "timing": False, "status": "ok",
    }  # fmt: skip
    return Record(**(values | more))


@pytest.fixture
def run(tmp_path):
    """Appends cells of a session, in which codec c has a version: run("1.0", record(), ...)."""
    store = Run(tmp_path / "run")
    keys = iter(range(1000))

    def append(version, *records):
        session = f"s{next(keys)}"
        with store.writing():
            if version:
                store.note(session, codecs={"c": version, "other": "7"})
            for one in records:
                store.append(f"{next(keys):064}", session, [one])
        return store

    return append


def kept(store):
    return [(r.rate, r.mesh) for r in newest(store).records]


def test_one_version_is_left_as_it_is(run):
    run("1", record("r0"), record("r1"))
    store = run("1", record("r2"))
    assert newest(store).records == store.records()
    assert newest(store).notes == ()


def test_rates_of_an_earlier_version_only_are_left_out_and_said(run):
    run("1", record("r0"), record("r1"), record("r1", "b"))
    store = run("2", record("r0"), record("r2"))
    assert kept(store) == [("r0", "a"), ("r2", "a")]
    assert newest(store).notes == (
        "left out: 2 records of c at r1 on d/all, coded by its version 1; the newest here is 2",
    )


def test_what_was_asked_for_last_is_the_newest(run):
    run("2", record("r0"), record("r2"))
    store = run("1", record("r0"), record("r1"))
    assert kept(store) == [("r0", "a"), ("r1", "a")]


def test_other_meshes_of_a_rate_stay_and_the_mixture_is_said(run):
    run("1", record("r0"), record("r0", "b"))
    store = run("2", record("r0"))
    assert kept(store) == [("r0", "a"), ("r0", "b")]
    assert newest(store).notes == (
        "means over two versions: 1 records of c at r0 on d/all, coded by its version 1; the newest here is 2",
    )


def test_another_dataset_effort_or_codec_is_a_matter_of_its_own(run):
    run("1", record("r1"), record("r1", dataset="e"), record("r1", effort="paper"), record("r1", codec="other"))
    store = run("2", record("r0"))
    assert [(r.dataset, r.effort, r.codec, r.rate) for r in newest(store).records] == [
        ("d", "quick", "c", "r0"),
        ("d", "paper", "c", "r1"),
        ("d", "quick", "other", "r1"),
        ("e", "quick", "c", "r1"),
    ]
    assert len(newest(store).notes) == 1


def test_nothing_is_held_against_a_session_of_unknown_version(run):
    run(None, record("r1"))
    store = run("2", record("r0"))
    assert kept(store) == [("r0", "a"), ("r1", "a")]
    assert newest(store).notes == ()


def test_the_command_line_says_what_it_left_out(run, monkeypatch, capsys, tmp_path):
    from gcbench.bench.cli import main

    run("1", record("r0"), record("r1"))
    store = run("2", record("r0"))
    monkeypatch.setattr("sys.argv", ["bench", "table", str(store.path), "--per-mesh", "-f", "json"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr()
    assert [row["rate"] for row in json.loads(said.out)] == ["r0"]
    assert said.err.startswith("left out: 1 records of c at r1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "table", "run"])
    with pytest.raises(SystemExit):
        main()
    assert "did you mean ./run?" in capsys.readouterr().err
