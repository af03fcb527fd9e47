"""What is left out of a run because only an earlier version of a codec coded it."""

from __future__ import annotations

import json

import pytest

from gcbench.bench.analysis.versions import newest
from gcbench.bench.store.records import CodedMesh, Coding
from gcbench.bench.store.run import Run
from gcbench.errors import UsageError


def coding(version, rate="r0", mesh="a", codec="c", **more) -> Coding:
    values = {
        "key": f"{version}{rate}{mesh}", "session": "s", "dataset": "d", "split": "all", "codec": codec,
        "codec_version": version, "kind": "model", "rate": rate, "rate_index": int(rate[1:]), "effort": "quick",
        "seed": 0, "meshes": tuple(CodedMesh(name, "0" * 64, 8, 12) for name in mesh),
    }  # fmt: skip
    return Coding(**(values | more))


def store(path, *codings) -> Run:
    path.mkdir(exist_ok=True)
    (path / "codings.jsonl").write_text("".join(json.dumps(one.to_json()) + "\n" for one in codings))
    return Run(path)


@pytest.fixture
def found(tmp_path):
    """What is used of codings, in the order in which they were made: (rate, mesh) of the records, and the notes."""

    def of(*codings):
        newest_ = newest(store(tmp_path / "run", *codings))
        return [*newest_.rows[["rate", "mesh"]].astype(str).itertuples(index=False, name=None)], newest_.notes

    return of


def test_one_version_is_left_as_it_is(found):
    assert found(*(coding("1", rate) for rate in ("r0", "r1", "r2"))) == ([("r0", "a"), ("r1", "a"), ("r2", "a")], ())
    assert found() == ([], ())


def test_rates_of_an_earlier_version_only_are_left_out_and_said(found):
    codings = [*(coding("1", r, m) for r, m in (("r0", "a"), ("r1", "a"), ("r1", "b"))), coding("2"), coding("2", "r2")]
    assert found(*codings)[0] == [("r0", "a"), ("r2", "a")]
    assert found(*codings)[1] == (
        "left out: 2 records of c at r1 on d/all, coded by its version 1; the newest here is 2",
    )


def test_what_was_asked_for_last_is_the_newest(found):
    codings = [coding("2"), coding("2", "r2"), coding("1"), coding("1", "r1")]
    assert found(*codings)[0] == [("r0", "a"), ("r1", "a")]


def test_other_meshes_of_a_rate_stay_and_the_mixture_is_said(found):
    codings = [coding("1"), coding("1", mesh="b"), coding("2")]
    assert found(*codings)[0] == [("r0", "a"), ("r0", "b")]
    assert found(*codings)[1] == (
        "means over two versions: 1 records of c at r0 on d/all, coded by its version 1; the newest here is 2",
    )


def test_a_newer_version_that_was_only_timed_hides_no_distances(found):
    codings = [coding("1"), coding("1", "r1"), coding("2", timing="m")]
    assert found(*codings)[0] == [("r0", "a"), ("r0", "a"), ("r1", "a")]
    assert found(*codings)[1] == ("two versions: times of c at r0 on d/all are of its version 2, the rest of 1",)


def test_times_of_an_earlier_version_are_left_out_with_its_rates(found):
    codings = [coding("1", timing="m"), coding("1", "r1", timing="m"), coding("2")]
    assert found(*codings)[0] == [("r0", "a"), ("r0", "a")]
    assert [note.partition(":")[0] for note in found(*codings)[1]] == ["left out", "means over two versions"]


def test_times_do_not_bring_back_distances_that_were_left_out(found):
    codings = [coding("0", "r1"), coding("1"), coding("2", "r1", timing="m")]
    assert found(*codings)[0] == [("r0", "a"), ("r1", "a")]
    assert found(*codings)[1][0].startswith("left out: 1 records of c at r1 on d/all, coded by its version 0")


def test_what_was_only_timed_is_one_version(found):
    assert found(coding("1", timing="m"), coding("2", "r1", timing="m"))[0] == [("r1", "a")]


def test_every_mesh_of_a_set_goes_with_its_coding(found):
    codings = [coding("1", "r1", "abc", kind="set"), coding("2", "r0", "abc", kind="set")]
    assert found(*codings)[0] == [("r0", "a"), ("r0", "b"), ("r0", "c")]
    assert found(*codings)[1][0].startswith("left out: 3 records of c at r1")


@pytest.mark.parametrize("other", [{"dataset": "e"}, {"effort": "paper"}, {"codec": "other"}, {"device": "cuda"}])
def test_another_dataset_effort_codec_or_device_is_a_matter_of_its_own(found, other):
    codings = [coding("1", "r1", **other), coding("2", "r0")]
    assert len(found(*codings)[0]) == 2
    assert found(*codings)[1] == ()


def test_the_command_line_says_what_it_left_out(capsys, tmp_path):
    from gcbench.bench.cli import runs

    run = store(tmp_path / "x", coding("1"), coding("1", "r1"), coding("2"))
    _, rows = runs.read_run(str(run.path))
    assert list(rows["rate"]) == ["r0"]
    assert capsys.readouterr().err.startswith("left out: 1 records of c at r1")


def test_a_run_that_is_a_folder_here_is_suggested(monkeypatch, tmp_path):
    from gcbench.bench.cli import runs

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "codings.jsonl").write_text(json.dumps(coding("1").to_json()) + "\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"did you mean \./run\?"):
        runs.opened("run")
