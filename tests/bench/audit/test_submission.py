"""From a run to a pack in a repository, and back: `bench submit`, `bench verify PACK`, `bench table PACK`."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import trimesh
import zstandard

from gcbench.bench.audit.comparison import named_alike
from gcbench.bench.audit.remeasure import Sample
from gcbench.bench.audit.submission import missing, submit
from gcbench.bench.audit.verify import verify
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store import Run, open_results
from gcbench.bench.store.archive import open_streams
from gcbench.bench.store.pack import CONTENT
from gcbench.bench.store.safe_files import PACK_MARKER
from gcbench.errors import UsageError

NONE, ALL = Sample(count=0), Sample(fraction=1)
NOT_RUN = {"ni": "needs 9 h on two cores"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run of two meshes and a broken one, and of a codec that always fails."""
    folder = tmp_path_factory.mktemp("submit") / "shapes"
    folder.mkdir()
    trimesh.creation.icosphere(1).export(folder / "ball.ply")
    trimesh.creation.torus(2, 0.5, 8, 6).export(folder / "ring.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    store = Run(folder.parent / "results/runs/run")
    codecs, rates = ["test-exact", "test-set", "test-bad"], ["d1", "d2", "only", "enc-raise"]
    run_plan(make_plan(str(folder), codecs, rates=rates), store, threads=1, suites=["surface", "topology"])
    return store


@pytest.fixture
def theirs(run, tmp_path) -> Path:
    """A pack, with its archive and its meshes beside it, in the folder of the test."""
    submit(run, tmp_path / "theirs", not_run=NOT_RUN, about="Ada", url="https://example.org/s.zip")
    shutil.copytree(run.path.parents[2] / "shapes", tmp_path / "shapes")
    return tmp_path / "theirs"


def test_a_submission_says_what_a_reader_will_miss(run, theirs, tmp_path, bench):
    shutil.copytree(run.path, tmp_path / "results/runs/run")
    first, second, *missing, following = bench("submit", "run", "-o", "again").stdout.splitlines()
    assert first.startswith("again: 12 records in ")
    assert second.startswith("again-streams.zip: ")
    assert [line.partition(": ")[2] for line in missing] == [
        "2 of 8 codings failed, which the pack says: test-bad 2",
        "no timing pass, so that times are single calls: test-exact, test-set (bench run ... --timing)",
        "fewer than 4 rates, so that there is no BD-rate: test-bad, test-exact, test-set",
        "codings that a default suite has not measured: paper 6, psnr 6 (bench measure)",
        "where test-bad, test-exact, test-set can be had, and who made the results (--about TEXT)",
    ]
    assert following == "next: bench verify again --streams again-streams.zip"
    marker = json.loads((theirs / PACK_MARKER).read_text())
    assert marker["about"] == "Ada"
    assert {codec: facts["ok"] for codec, facts in marker["codecs"].items()} == {
        "test-bad": 0, "test-exact": 4, "test-set": 2,
    }  # fmt: skip
    assert marker["meshes"] == {"shapes/all": 3}
    archive = (tmp_path / "theirs-streams.zip").read_bytes()
    assert marker["streams"] == {
        "file": "theirs-streams.zip",
        "sha256": hashlib.sha256(archive).hexdigest(),
        "bytes": len(archive),
        "url": "https://example.org/s.zip",
    }
    assert (tmp_path / "again" / CONTENT).read_bytes() == (theirs / CONTENT).read_bytes()
    assert (tmp_path / "again-streams.zip").read_bytes() == archive


def test_results_of_another_run_are_added_to_a_pack(run, theirs, tmp_path, bench):
    more = Run(tmp_path / "results/runs/more")
    plan = make_plan(str(tmp_path / "shapes"), ["test-exact"], rates=["d2", "d3"])
    run_plan(plan, more, threads=1, suites=["surface", "topology"])
    before = open_results(theirs).records()
    shown = bench("submit", "more", "--add-to", "theirs", "--not-run", "nglod:no time").stdout
    assert shown.startswith("theirs: 15 records in ")
    assert "archive" not in shown
    both = open_results(theirs)
    assert both.not_run == NOT_RUN | {"nglod": "no time"}
    assert both.marker["about"] == "Ada"
    added = {(r.mesh, r.rate): r for r in both.records() if r.codec == "test-exact"}
    assert {rate for _, rate in added} == {"d1", "d2", "d3"}
    assert [r for r in both.records() if r.codec != "test-exact"] == [r for r in before if r.codec != "test-exact"]
    newer = {c.session for c in both.codings() if (c.codec, c.rate) == ("test-exact", "d2") and c.status == "ok"}
    assert newer == {more.sessions()[0]["session"]}
    call = ("verify", "./theirs", "--sample", "all", "-d", "shapes", "--streams", "theirs-streams.zip", "-f", "json")
    found = json.loads(bench(*call).stdout)
    assert (found["differs"], found["unchecked"]) == ([], [])
    assert found["streams_intact"] == found["streams"]


def test_what_a_pack_loses_when_its_archive_is_not_beside_it(run, theirs, tmp_path):
    before = open_results(theirs)
    again = submit(run, tmp_path / "again", base=before, streams=False)
    assert open_results(again.folder).archive == before.archive
    (tmp_path / "theirs-streams.zip").unlink()
    more = Run(tmp_path / "results/runs/more")
    run_plan(make_plan(str(tmp_path / "shapes"), ["test-exact"], rates=["d3"]), more, threads=1, suites=["surface"])
    done = submit(more, tmp_path / "both", base=before)
    assert done.missing[-1] == "5 streams of the pack that was added to: its archive is not beside it"
    assert len(open_streams(tmp_path / "both-streams.zip")) == 2


def test_values_of_two_versions_of_a_suite_are_said(run):
    records = [replace(r, suites={"surface": f"v{r.mesh}"}) for r in run.records() if r.status == "ok"]
    (said,) = [line for line in missing([], records, {}, "Ada") if line.startswith("values of one version")]
    assert said == "values of one version: surface measured in several, which do not compare (bench measure)"


def test_what_cannot_be_added_to_a_pack(run, theirs, tmp_path, bench):
    other = tmp_path / "other/shapes"
    other.mkdir(parents=True)
    trimesh.creation.icosphere(2).export(other / "ball.ply")
    more = Run(tmp_path / "results/runs/more")
    run_plan(make_plan(str(other), ["test-exact"], rates=["d1"]), more, threads=1, suites=["surface"])
    assert "ball of theirs is another mesh" in bench("submit", "more", "--add-to", "theirs", code=2).stderr
    (other / "ball.ply").rename(other / "globe.ply")
    run_plan(make_plan(str(other), ["test-exact"], rates=["d1"]), more, threads=1, suites=["surface"])
    assert "none of the meshes" in bench("submit", "more", "--add-to", "theirs", code=2).stderr
    assert "see bench merge" in bench("submit", "more", "--add-to", "results/runs/more", code=2).stderr


def test_what_cannot_be_submitted(run, theirs, tmp_path, bench):
    here = tmp_path / "results/runs/run"
    shutil.copytree(run.path, here)
    assert "CODEC:WHY" in bench("submit", "run", "--not-run", "ni", code=2).stderr
    assert "test-exact has results" in bench("submit", "run", "--not-run", "test-exact:no time", code=2).stderr
    assert "is no pack" in bench("submit", "run", "-o", "shapes", code=3).stderr
    assert "is a pack" in bench("submit", "./theirs", code=2).stderr
    assert "is a pack" in bench("measure", "./theirs", "--suite", "psnr", code=2).stderr
    assert "is for a pack" in bench("verify", "run", "--streams", "x.zip", code=2).stderr
    lines = [json.loads(line) for line in (here / "codings.jsonl").read_text().splitlines()]
    (here / "codings.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines if one["status"] != "ok"))
    with pytest.raises(UsageError, match="there is nothing to submit"):
        submit(Run(here), tmp_path / "nothing")


def test_a_pack_is_shown_as_a_run_with_a_row_for_what_did_not_run(theirs, bench):
    table = bench("table", "./theirs").stdout
    assert "2/3" in table  # and a bad input
    assert "needs 9 h on two cores" in table
    rows = json.loads(bench("table", "./theirs", "-f", "json").stdout)
    assert [row["not_run"] for row in rows if row["codec"] == "ni"] == ["needs 9 h on two cores"]
    assert "test-exact" in bench("choose", "./theirs", "--max-kb", "1000").stdout
    assert "bad-input" in bench("table", "./theirs", "--failures").stdout
    assert "nothing is worse" in bench("compare", "./theirs", "./theirs").stdout


def test_a_pack_is_verified_with_its_archive_and_meshes_under_other_names(theirs, bench, tmp_path):
    alone = verify(open_results(theirs), sample=ALL)
    assert alone.exit_code == 3
    assert sorted(one.what for one in alone.unchecked) == ["data", "stream"]
    for number, path in enumerate(sorted((tmp_path / "shapes").glob("*.ply"))):
        path.rename(path.with_name(f"other{number}.ply"))
    call = ("verify", "./theirs", "--sample", "all", "-d", "shapes", "--streams")
    found = json.loads(bench(*call, "theirs-streams.zip", "-f", "json").stdout)
    assert (found["differs"], found["unchecked"]) == ([], [])
    assert found["recomputed"] == found["sampled"] == 6
    assert found["streams_intact"] == found["streams"] == 5
    assert found["meshes_intact"] == 3
    assert found["largest_deviation"] < 1e-9
    (tmp_path / "other.zip").write_bytes((tmp_path / "theirs-streams.zip").read_bytes() + b"\0")
    said = bench("verify", "./theirs", "--sample", "0", "--streams", "other.zip", code=3)
    assert "SHA-256 differs" in said.stderr


@pytest.mark.parametrize(
    ("table", "column", "change", "what"),
    [
        ("coded", "mesh_bytes", lambda v: v + 1, "size"),
        ("codings", "streams", lambda v: [v[0][::-1]], "stream"),
        ("codings", "rate_index", lambda v: v + 1, "key"),
        ("codings", "codec", lambda _: "test-exact", "key"),
        ("inputs", "vertices", lambda v: v + 1, "size"),
        ("surface", "cd_p2s", lambda v: v * 1.01, "metric"),
    ],
)
def test_a_changed_value_is_found(theirs, tmp_path, table, column, change, what):
    content = json.loads(zstandard.decompress((theirs / CONTENT).read_bytes()))
    of = content["measurements"]["surface"]["values"] if table == "surface" else content[table]
    of[column] = [value if value is None else change(value) for value in of[column]]
    (theirs / CONTENT).write_bytes(zstandard.compress(json.dumps(content).encode()))
    marker = json.loads((theirs / PACK_MARKER).read_text())
    marker["content_sha256"] = hashlib.sha256((theirs / CONTENT).read_bytes()).hexdigest()
    (theirs / PACK_MARKER).write_text(json.dumps(marker))
    pack = open_results(theirs)
    pack.streams = open_streams(tmp_path / "theirs-streams.zip")
    found = verify(pack, sample=ALL if what == "metric" else NONE, datasets=[str(tmp_path / "shapes")])
    assert what in {one.what for one in found.differs}


@pytest.mark.parametrize(
    ("name", "value"),
    [("records", 7), ("codecs", {}), ("not_run", {"test-exact": "no time"}), ("meshes", {})],
)
def test_a_marker_that_says_other_than_the_records_is_found(theirs, name, value):
    marker = json.loads((theirs / PACK_MARKER).read_text())
    (theirs / PACK_MARKER).write_text(json.dumps(marker | {name: value}))
    found = verify(open_results(theirs), sample=NONE)
    assert [(one.what, one.where) for one in found.differs] == [("pack", PACK_MARKER)]


def test_meshes_are_named_alike_by_their_hashes(run):
    records = run.records()
    renamed = [replace(r, dataset="copy", mesh=f"my-{r.mesh}") for r in records]
    named = {(r.dataset, r.mesh) for r in named_alike(records, renamed)}
    assert named == {("shapes", "ball"), ("shapes", "ring"), ("copy", "my-broken")}
    assert named_alike(records, records) == records
