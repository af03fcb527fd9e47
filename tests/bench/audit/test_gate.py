"""A gate that catches what is injected, its baseline, and the commands of both."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shlex

import pytest
import trimesh
import typer

from gcbench.bench import tabular
from gcbench.bench.audit import Baseline, Subset, cell_results, gate, render, run_subset
from gcbench.bench.audit.baseline import BaselineUnreadable, CodecFacts, Timing, TimingRatio
from gcbench.bench.audit.comparison import EXACT, OTHER_INPUT, TRAINED, CellId
from gcbench.bench.audit.gate import _ratios, judge
from gcbench.bench.cli.verbs import app
from gcbench.bench.metrics import DEFAULT_SUITES, SUITES
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store.records import Cost, Record
from gcbench.bench.store.run import Run
from gcbench.errors import UsageError
from results import MEASURED_BY, result


class TestBaseline:
    @pytest.fixture
    def baseline(self):
        failed = dataclasses.replace(result(), status="failed", stream_bytes=None, metrics={}, error="a bug")
        return Baseline(
            Subset(("mixed",), "mini", "quick", 0, ("q10",), ("m0", "m1", "m2")),
            {
                CellId("mixed", "mini", "m0", "draco", "q10", "quick", 0, "cpu"): result(1000.5),
                CellId("mixed", "mini", "m1", "draco", "q10", "quick", 0, "cpu"): failed,
                CellId("mixed", "mini", "m0", "necgs", "q10", "quick", 0, "cpu"): result(10),
            },
            {
                "draco": CodecFacts("1+DracoPy-2.2.0", {"DracoPy": "2.2.0"}, deterministic=True),
                "necgs": CodecFacts("4", {}, deterministic=False),
            },
            processor="a fast one",
            suites=MEASURED_BY,
            tolerances={"trained": {"mean_bytes": 0.5}},
            timing=Timing("draco", "a fast one", {"necgs q10": TimingRatio(100.0, 2.5)}),
        )

    def test_a_file_holds_all_of_it_in_a_stable_order(self, baseline, tmp_path):
        baseline.write(tmp_path / "new" / "b.json")
        text = (tmp_path / "new" / "b.json").read_text()
        assert Baseline.read(tmp_path / "new" / "b.json") == baseline
        shuffled = dataclasses.replace(baseline, cells=dict(reversed(list(baseline.cells.items()))))
        shuffled.write(tmp_path / "b.json")
        assert (tmp_path / "b.json").read_text() == text
        assert sum('"mesh"' in line for line in text.splitlines()) == 3
        assert list(tmp_path.glob("*partial")) == []

    def test_tolerances_can_be_set_by_hand_and_survive_an_update(self, baseline):
        assert baseline.tolerance("trained") == dataclasses.replace(TRAINED, mean_bytes=0.5)
        assert baseline.tolerance("exact") == EXACT
        new = dataclasses.replace(
            baseline,
            cells={CellId("mixed", "mini", "m0", "necgs", "q10", "quick", 0, "cpu"): result(9)},
            codecs={"necgs": CodecFacts("5", {}, deterministic=False)},
            tolerances={},
            timing=None,
        )
        updated = baseline.updated(new)
        assert {c.codec: r.stream_bytes for c, r in updated.cells.items() if r.status == "ok"} == {
            "draco": 1000.5,
            "necgs": 9,
        }
        assert updated.codecs["necgs"].version == "5"
        assert updated.codecs["draco"].version == "1+DracoPy-2.2.0"
        assert updated.tolerances == baseline.tolerances
        assert updated.timing == baseline.timing

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("nonsense", "cannot be read as a baseline"),
            ("[]", "names no format, this gcbench reads 2"),
            ('{"format": 99}', "has format 99"),
            ('{"format": "2"}', "names no format"),
            ('{"format": 2}', r"not a baseline as --update writes it: subset is missing"),
            ("[" * 100_000, "nested too deeply"),
            ('{"format": NaN}', "the file has NaN, which is no number"),
            ('{"format": 2, "format": 2}', "the file has a name twice"),
            ('{"format": ' + "2" * 5000 + "}", "too many digits"),
            ("\udcff", "not UTF-8"),
        ],
    )
    def test_what_is_no_baseline(self, tmp_path, text, message):
        (tmp_path / "b.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(BaselineUnreadable, match=message):
            Baseline.read(tmp_path / "b.json")
        with pytest.raises(BaselineUnreadable, match="there is no baseline"):
            Baseline.read(tmp_path / "nowhere.json")

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            (("cells", 0, "bytes"), math.nan, "the file has NaN, which is no number"),
            (("cells", 0, "bytes"), -1, r"cell 1: bytes: is -1, not a number from 0"),
            (("cells", 0, "bytes"), "1000", r'cell 1: bytes: is "1000", not a number'),
            (("cells", 0, "bytes"), True, r"cell 1: bytes: is true"),
            (("cells", 0, "bytes"), None, "cell 1: is ok and has no bytes"),
            (("cells", 0, "cd"), math.inf, "the file has Infinity"),
            (("cells", 0, "cd"), -0.5, r"cell 1: cd: is -0\.5, which is not possible"),
            (("cells", 0, "nc"), 1.5, r"cell 1: nc: is 1\.5, which is not possible"),
            (("cells", 0, "out_components"), 1.5, r"cell 1: out_components: is 1\.5"),
            (("cells", 0, "cd"), [1], r"cell 1: cd: is a list of 1 values"),
            (("cells", 0, "status"), "fine", r'cell 1: status: is "fine"; possible are ok'),
            (("cells", 0, "codec"), "nobody", "cell 1 is of nobody, which is not among the codecs"),
            (("cells", 0, "mesh"), "nobody", "is of the mesh mixed/nobody, which is not among the inputs"),
            (("cells", 0), 5, "not a list of at most"),
            (("cells", 1), None, "not a list of at most"),
            (("subset", "seed"), -1, r"subset: seed: is -1"),
            (("subset", "effort"), "huge", r'subset: effort: is "huge"'),
            (("subset", "datasets"), "mixed", r'subset: datasets: is "mixed", not a list'),
            (("subset", "rates"), [["q10"]], r"subset: rates: .*: is a list"),
            (("inputs", "mixed/m0"), "../../x", r"inputs: .*mixed/m0.*: is .* not a SHA-256"),
            (("tolerances",), {"exact": {"name": 1}}, "unknown tolerances of 'exact'; known: exact"),
            (("tolerances",), {"sloppy": {}}, "unknown tolerances of 'sloppy'"),
            (("tolerances", "trained", "mean_bytes"), 1e9, r"mean_bytes.?: is .* not a number from 0 to 10"),
            (("codecs", "draco", "deterministic"), 1, "deterministic: is neither true nor false"),
            (("timing", "necgs q10", "encode"), 0, "encode: is 0, not a positive number"),
            (("suites",), [], "suites: is a list"),
        ],
    )
    def test_no_value_of_a_stranger_is_believed(self, baseline, tmp_path, place, value, message):
        """A NaN in ``bytes`` compared as better."""
        file = tmp_path / "b.json"
        baseline.write(file)
        data = json.loads(file.read_text())
        inner = data
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        file.write_text(json.dumps(data))
        with pytest.raises(BaselineUnreadable, match=message) as caught:
            Baseline.read(file)
        assert "\n" not in str(caught.value)

    def test_a_row_twice_and_what_is_no_file(self, baseline, tmp_path):
        file = tmp_path / "b.json"
        baseline.write(file)
        data = json.loads(file.read_text())
        data["cells"].append(data["cells"][0])
        file.write_text(json.dumps(data))
        with pytest.raises(BaselineUnreadable, match="draco q10 on mixed/m0 is there twice"):
            Baseline.read(file)
        os.mkfifo(tmp_path / "pipe")
        for name in ("pipe", "."):
            with pytest.raises(BaselineUnreadable, match="is not a file"):
                Baseline.read(tmp_path / name)

    def test_packages_are_those_that_a_codec_says_whatever_they_are_called_in_its_version(self, monkeypatch):
        """Versions such as 2.13.0+cpu and distributions such as open3d-cpu cannot be read from a version's text."""
        here = {"torch": "2.13.0+cpu", "open3d": "0.19.0", "numpy": "9.9"}
        monkeypatch.setattr("gcbench.bench.audit.baseline.installed", here.get)
        monkeypatch.setattr("gcbench_drifting.Drifting.packages", ("torch", "open3d", "absent"))
        facts = CodecFacts.here("test-drift", "1+torch-2.13.0+cpu+open3d-0.19.0")
        assert facts.packages == {"open3d": "0.19.0", "torch": "2.13.0+cpu"}
        assert facts.deterministic
        assert not CodecFacts.here("test-trained[x=1]", "1").deterministic


def test_times_are_medians_of_ratios_on_the_same_mesh():
    def timed(codec, rate, mesh, encode, decode):
        costs = {name: Cost(s, s, 0, 0, 5) for name, s in (("encode", encode), ("decode", decode))}
        return Record("d", "all", mesh, codec, "model", rate, 0, "quick", 0, True, "ok", **costs)

    records = [timed("c", rate, mesh, s, 0.1) for mesh, s in (("a", 1), ("b", 2), ("x", 4)) for rate in ("1", "2")]
    records += [timed("mine", "1", mesh, s, 0.4) for mesh, s in (("a", 1), ("b", 40), ("x", 24), ("unknown", 9))]
    assert _ratios(records, "c") == {"mine 1": TimingRatio(3.0, pytest.approx(2.0))}


# The gate, run for real on two small meshes.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("gate") / "shapes"
    path.mkdir()
    trimesh.creation.icosphere(2).export(path / "ball.ply")
    trimesh.creation.torus(2, 0.5).export(path / "ring.ply")
    return path


@pytest.fixture(scope="module")
def baseline(folder):
    """Two codecs on two meshes at one rate, with times."""
    subset = Subset((str(folder),), rates=("d2",))
    return run_subset(subset, ["test-drift", "test-trained"], control="test-exact", jobs=2)[0]


def test_an_unchanged_tree_passes(baseline):
    report = gate(baseline, jobs=2)
    assert report.verdict == "equal"
    assert [c.verdict for c in report.comparison.cells] == ["equal"] * 4
    assert {c.cell.codec: c.tolerance for c in report.comparison.cells} == {
        "test-drift": "exact",
        "test-trained": "trained",
    }
    assert report.notes == ()


@pytest.mark.slow
def test_an_unchanged_tree_passes_ten_times_in_a_row(baseline):
    for _ in range(10):
        report = gate(baseline, ["test-drift"], jobs=2)
        assert report.verdict == "equal"
        assert len(report.comparison.cells) == 2


@pytest.mark.parametrize(("way", "figure", "by"), [("bytes:0.01", "bytes", 0.01), ("p2s:0.02", "cd_p2s", 0.02)])
def test_an_injected_regression_is_caught(baseline, drift, way, figure, by):
    drift(way)
    report = gate(baseline, ["test-drift"])
    assert report.verdict == "worse"
    assert {c.cell.mesh for c in report.comparison.of("worse")} == {"ball", "ring"}
    for one in report.comparison.of("worse"):
        (change,) = [d.change for d in one.differences if d.name == figure]
        assert change == pytest.approx(by, rel=0.05)
    assert figure in {mean.name for mean in report.comparison.worse_means}


def only(baseline, codec, *, larger=0.0, **changes):
    """What measuring one codec of a baseline again would give, bytes larger by ``larger``."""
    cells = {
        c: dataclasses.replace(r, stream_bytes=r.stream_bytes * (1 + larger))
        for c, r in baseline.cells.items()
        if c.codec == codec
    }
    return dataclasses.replace(baseline, cells=cells, codecs={codec: baseline.codecs[codec]}, timing=None, **changes)


def test_a_trained_codec_that_is_worse_beyond_its_band(baseline):
    assert judge(baseline, only(baseline, "test-trained", larger=0.009)).verdict == "equal"
    report = judge(baseline, only(baseline, "test-trained", larger=0.011))
    assert report.verdict == "worse"
    assert report.comparison.of("worse") == ()
    assert report.comparison.worse_means[0].name == "bytes"


def test_better_is_fine_and_said(baseline):
    report = judge(baseline, only(baseline, "test-drift", larger=-0.05))
    assert report.verdict == "better"
    assert len(report.comparison.of("better")) == len(report.comparison.cells) == 2


def test_another_package_is_not_blamed_on_the_codec(baseline):
    facts = baseline.codecs["test-drift"]
    assert list(facts.packages) == ["numpy"]
    older = dataclasses.replace(facts, version="1+numpy-1.0", packages={"numpy": "1.0"})
    aged = dataclasses.replace(baseline, codecs={**baseline.codecs, "test-drift": older})
    report = judge(aged, only(baseline, "test-drift"))
    assert report.verdict == "equal"
    assert report.notes[0].endswith("no result is worse")
    report = judge(aged, only(baseline, "test-drift", larger=0.01))
    assert report.verdict == "not measured"
    assert re.search(r"test-drift: numpy 1.0 → \S+; a package that decides the results has changed", report.notes[0])


def test_a_new_version_of_the_codec_itself_is_judged(baseline):
    facts = baseline.codecs["test-drift"]
    older = dataclasses.replace(facts, version=facts.version.replace("1+", "0+", 1))
    aged = dataclasses.replace(baseline, codecs={**baseline.codecs, "test-drift": older})
    report = judge(aged, only(baseline, "test-drift", larger=0.01))
    assert report.verdict == "worse"
    assert report.notes == (f"test-drift: version {older.version} → {facts.version}",)


def test_meshes_of_another_machine_are_compared_within_a_band(baseline):
    moved = {c: dataclasses.replace(r, input_sha256="0" * 64) for c, r in baseline.cells.items()}
    elsewhere = dataclasses.replace(baseline, cells=moved, processor="another")
    report = judge(elsewhere, only(baseline, "test-drift", larger=0.001))
    assert {c.tolerance for c in report.comparison.cells} == {"other input"}
    assert report.verdict == "equal"
    assert report.notes[0].startswith("2 input meshes differ from those of the baseline")
    report = judge(elsewhere, only(baseline, "test-drift", larger=0.01))
    assert report.verdict == "worse"
    assert report.notes[-1] == "the baseline was made on another processor (another)"


def test_metrics_of_another_version_cannot_be_compared(baseline):
    suites = {**baseline.suites, "surface": "0"}
    cells = {cell: dataclasses.replace(value, suites=suites) for cell, value in baseline.cells.items()}
    report = judge(dataclasses.replace(baseline, cells=cells, suites=suites), only(baseline, "test-drift"))
    assert report.verdict == "not measured"
    assert report.comparison.cells[0].note == f"surface was of version 0, is of {baseline.suites['surface']}"


def test_cells_that_are_no_longer_run_or_are_new(baseline):
    gone = CellId("shapes", "all", "ball", "test-drift", "d7", "quick", 0, "cpu")
    first = next(c for c in baseline.cells if c.codec == "test-drift")
    cells = {c: r for c, r in baseline.cells.items() if c != first} | {gone: result()}
    report = judge(dataclasses.replace(baseline, cells=cells), only(baseline, "test-drift"))
    assert report.verdict == "not measured"
    (lost,) = report.comparison.of("not measured")
    assert (lost.cell, lost.note) == (gone, "is no longer run")
    assert "1 cells are not in the baseline; add them with --update" in report.notes


def test_times_are_judged_by_their_ratio_to_the_control(baseline):
    assert set(baseline.timing.ratios) == {"test-drift d2", "test-trained d2"}
    then = Timing("test-exact", "this", {"test-drift d2": TimingRatio(1.0, 2.0)})
    now = dataclasses.replace(then, ratios={"test-drift d2": TimingRatio(2.1, 0.9), "test-drift d9": TimingRatio(1, 1)})
    new = dataclasses.replace(only(baseline, "test-drift"), timing=now)
    report = judge(dataclasses.replace(baseline, timing=then), new)
    assert [(t.what, t.verdict) for t in report.timing] == [
        ("test-drift d2 encode", "worse"),
        ("test-drift d2 decode", "better"),
    ]
    assert report.comparison.verdict == "equal"
    assert report.verdict == "worse"
    said = "".join(tabular.render(render.comparison_tables("t", report.comparison, report.timing)))
    assert "worse    test-drift d2 encode  1.00  2.10\n" in said
    assert "1 times worse" in said
    elsewhere = dataclasses.replace(new, timing=dataclasses.replace(now, machine="another"))
    report = judge(dataclasses.replace(baseline, timing=then), elsewhere)
    assert {t.verdict for t in report.timing} == {"not measured"}
    assert report.verdict == "not measured"
    assert report.notes[-1].startswith(
        "times are not compared: those of the baseline are from this, this machine is another"
    )


@pytest.mark.slow
def test_a_codec_that_became_slow(baseline, drift):
    drift("slow:0.05")
    report = gate(baseline, ["test-drift"], timing=True)
    assert {t.what: t.verdict for t in report.timing}["test-drift d2 encode"] == "worse"
    assert report.comparison.verdict == "equal"
    assert report.verdict == "worse"


def test_only_some_meshes_also_of_a_set(folder):
    new, _ = run_subset(Subset((str(folder),), meshes=("ring",)), ["test-set"])
    assert [c.mesh for c in new.cells] == ["ring"]
    assert next(iter(new.cells.values())).status == "ok"
    with pytest.raises(UsageError, match="no mesh rang"):
        run_subset(Subset((str(folder),), meshes=("rang",)), ["test-set"])


def test_what_cannot_be_asked_for(baseline, folder, tmp_path):
    with pytest.raises(UsageError, match="the baseline has no codec draco; add it with --update"):
        gate(baseline, ["draco"])
    with pytest.raises(UsageError, match="has no times"):
        gate(dataclasses.replace(baseline, timing=None), timing=True)
    Run(tmp_path / "run").writing().__exit__()
    with pytest.raises(UsageError, match="is there already"):
        gate(baseline, keep=tmp_path / "run")


class TestCommands:
    @pytest.fixture
    def bench(self, bench):
        def call(*arguments, code):
            said = bench(*arguments, code=code)
            return said.stdout + said.stderr

        return call

    @pytest.mark.long
    def test_gate(self, bench, folder, tmp_path, drift):
        said = bench("gate", "-b", "b.json", code=2)
        assert "there is no baseline b.json; write one with --update" in said
        assert "needs --codec" in bench("gate", "-b", "b.json", "--update", code=2)
        new = ["-c", "test-drift", "-d", folder, "--rate", "d2", "--mesh", "ring", "--update"]
        misspelt = [*new[:5], "d2,d99", *new[6:]]
        assert "no chosen codec has a rate called d99" in bench("gate", "-b", "c.json", *misspelt, code=2)
        assert not (tmp_path / "c.json").exists()
        assert "1 cells of test-drift" in bench("gate", "-b", "b.json", *new, code=0)
        report = json.loads(
            bench("gate", "-b", "b.json", "--format", "json", "--markdown", "m.md", "--keep", "kept", code=0)
        )
        assert report["verdict"] == "equal"
        assert Run(tmp_path / "kept").records()[0].status == "ok"
        drift("bytes:0.01")
        said = bench("gate", "-b", "b.json", "--markdown", "m.md", code=1)
        assert "(+1 %)" in said
        headings = re.findall("^### .*", (tmp_path / "m.md").read_text(), re.MULTILINE)
        assert headings == ["### bench gate: equal", "### bench gate: worse"]
        (before,) = Baseline.read(tmp_path / "b.json").cells.values()
        bench("gate", "-b", "b.json", "--update", code=0)  # so be it
        (after,) = Baseline.read(tmp_path / "b.json").cells.values()
        assert after.stream_bytes == pytest.approx(1.01 * before.stream_bytes, abs=1)
        bench("gate", "-b", "b.json", "-c", "draco", code=2)
        assert "--effort: the baseline names the subset" in bench("gate", "-b", "b.json", "--effort", "paper", code=2)
        baseline = json.loads((tmp_path / "b.json").read_text())
        baseline["subset"]["datasets"] = ["nowhere"]
        (tmp_path / "b.json").write_text(json.dumps(baseline))
        assert "neither a dataset nor a folder" in bench("gate", "-b", "b.json", "--markdown", "m.md", code=2)
        assert "### bench gate: could not be measured\n\n    'nowhere' is neither" in (tmp_path / "m.md").read_text()
        bench("gate", code=2)

    @pytest.mark.slow
    def test_gate_of_some_codecs_takes_their_rates_of_those_in_the_baseline(self, bench, folder):
        both = ["-c", "test-drift,draco", "-d", folder, "--rate", "d2,q08", "--mesh", "ring", "--update"]
        assert "2 cells of test-drift, draco" in bench("gate", "-b", "b.json", *both, code=0)
        assert "1 cells: 1 equal" in bench("gate", "-b", "b.json", "-c", "draco", code=0)

    @pytest.mark.slow
    def test_compare(self, bench, folder, tmp_path, drift):
        made = make_plan(str(folder), "test-drift", rates=["d2"], limit=1)
        run_plan(made, Run(tmp_path / "a"))
        drift("bytes:0.01")
        run_plan(made, Run(tmp_path / "b"))
        a, b = tmp_path / "a", tmp_path / "b"
        assert "1 cells: 1 worse" in bench("compare", a, b, code=1)
        assert "something is better" in bench("compare", b, a, code=0)
        assert "nothing is worse" in bench("compare", a, a, code=0)
        assert "nothing is worse" in bench("compare", a, b, "--tolerance", "1.5%", code=0)
        assert json.loads(bench("compare", a, b, "--format", "json", code=1))["verdict"] == "worse"
        assert bench("compare", a, b, "-f", "markdown", code=1).startswith("### ")
        assert "nothing in common" in bench("compare", a, b, "-c", "draco", code=2)
        assert "no run at" in bench("compare", a, tmp_path / "c", code=2)
        bench("compare", a, b, "--tolerance", "much", code=2)
        bench("compare", a, b, "-f", "html", code=2)
        assert cell_results(Run(a).records(), ["draco"]) == {}


def test_every_command_of_the_page_can_be_typed(request):
    """Names and options, also in the workflow: an option that is renamed must not stay in the documentation."""
    page = (request.config.rootpath / "docs" / "gate.md").read_text()
    command = typer.main.get_command(app)
    typed = re.findall(r"^(?: {4,}|- run: |run: )?(?:run: )?(bench (?:verify|compare|gate|run) .*)", page, re.MULTILINE)
    typed += re.findall(r"run: (bench .*)", page)
    assert len(typed) >= 8
    for line in typed:
        name, *arguments = shlex.split(re.split(r" {2,}", line.replace(" #", "  #"))[0])[1:]
        with command.commands[name].make_context(name, arguments):
            pass


def test_the_tolerances_of_the_page_are_those_of_the_code(request):
    page = (request.config.rootpath / "docs" / "gate.md").read_text()
    for tolerance in (TRAINED, OTHER_INPUT):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{tolerance.name}`"))
        percent = [float(x) / 100 for x in re.findall(r"([\d.]+) %", row)]
        assert percent == [tolerance.cell_bytes, tolerance.cell_metric, tolerance.mean_bytes, tolerance.mean_metric]


def test_the_committed_baseline_is_one_of_the_minis(request):
    path = request.config.rootpath / "results" / "baselines" / "minis.json"
    baseline = Baseline.read(path)
    assert list(baseline.codecs) == ["draco", "draco-qem", "meshopt", "raw-zstd"]
    assert {c.split for c in baseline.cells} == {"mini"}
    assert tuple(baseline.suites) == DEFAULT_SUITES
    names = {column.name for suite in baseline.suites for column in SUITES.get(suite).columns}
    assert all(r.status == "ok" and r.stream_bytes and set(r.metrics) == names for r in baseline.cells.values())
    assert path.stat().st_size < 50_000
