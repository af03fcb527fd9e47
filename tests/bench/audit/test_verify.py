"""A run that holds, and runs that were tampered with in every way that verification promises to find."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import trimesh
from tampering import edit, edit_values, lines_of, rekey, stream_of, write

from gcbench.bench import tabular
from gcbench.bench.audit import render
from gcbench.bench.audit.consistency import Finding, check_values
from gcbench.bench.audit.remeasure import MIN_SAMPLE, Sample, draw
from gcbench.bench.audit.verify import verify
from gcbench.bench.metrics import SUITES
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.plan.units import coding_key
from gcbench.bench.run import machine
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store.records import Measurement
from gcbench.bench.store.run import Run
from gcbench.codecs import Rate
from gcbench.errors import UsageError

NONE, ALL = Sample(count=0), Sample(fraction=1)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run over a folder: two meshes and a broken one, a model codec, a set codec, one that fails either way."""
    folder = tmp_path_factory.mktemp("verify") / "shapes"
    folder.mkdir()
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    trimesh.creation.torus(2, 0.5).export(folder / "ring.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    made = make_plan(
        str(folder), ["test-exact", "test-set", "test-bad"], rates=["d2", "only", "enc-raise", "dec-raise"]
    )
    store = Run(folder.parent / "run")
    run_plan(made, store, jobs=2, threads=1)
    run_plan(make_plan(str(folder), "test-exact", rates=["d2"], timing=machine.kind()), store)
    return store


@pytest.fixture
def tampered(original, tmp_path):
    """A copy of the run, to be tampered with; the meshes are copied along and found through provenance."""
    shutil.copytree(original.path.parent, tmp_path / "copy")
    store = Run(tmp_path / "copy" / "run")
    sessions = store.path / "sessions.jsonl"
    was, now = (json.dumps(str(path)) for path in (original.path.parent / "shapes", store.path.parent / "shapes"))
    assert was in sessions.read_text()
    sessions.write_text(sessions.read_text().replace(was, now))
    return store


def found(report) -> set[str]:
    return {finding.what for finding in report.differs}


def contents(store: Run) -> dict:
    return {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()}


def test_an_untouched_run_holds(original):
    before, seen = contents(original), []
    report = verify(original, sample=ALL, jobs=2, progress=lambda *step: seen.append(step))
    assert report.differs == report.unchecked == ()
    assert report.exit_code == 0
    assert (report.meshes, report.meshes_intact) == (3, 3)
    # Of 4 measured: two meshes by the model codec, two by the set codec, each by four suites.
    assert (report.sampled, report.recomputed, report.measurements) == (4, 4, 16)
    assert report.largest_deviation == 0
    assert report.streams == report.streams_intact == len(list(original.path.glob("streams/*/*")))
    assert report.codecs == {"test-bad": "1", "test-exact": "1", "test-set": "1"}
    assert set(report.suites) == {"paper", "surface", "psnr", "topology"}
    assert seen[-1][:2] == (4, 4)
    assert contents(original) == before


def test_a_flipped_bit_in_a_stream(tampered):
    path = stream_of(tampered)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    report = verify(tampered, sample=NONE)
    (finding,) = report.differs
    assert finding.what == "stream"
    assert "test-exact d2 on shapes/ball" in finding.where
    assert path.name in finding.message
    assert (report.streams - report.streams_intact, report.exit_code) == (1, 1)


def test_a_missing_stream_of_a_set(tampered, here):
    stream_of(tampered, "test-set").unlink()
    report = verify(tampered, sample=ALL, executor=here)
    (finding,) = report.differs
    assert (finding.what, finding.where, report.exit_code) == (
        "stream",
        "test-set only on shapes/3 meshes (standard)",
        1,
    )
    assert (report.sampled, report.recomputed) == (4, 2)


CODINGS = {
    "mesh bytes": (lambda c, m: m.update(mesh_bytes=m["mesh_bytes"] - 1), {"size"}),
    "bytes that all share": (lambda c, m: c.update(shared_bytes=1), {"size"}),
    "size of the input": (lambda c, m: m.update(obj_bytes=m["obj_bytes"] * 2), {"size"}),
    "vertices of the input": (lambda c, m: m.update(vertices=m["vertices"] * 2), {"size"}),
    "no vertices in the input": (lambda c, m: m.update(vertices=0), {"size"}),
    "size of the file": (lambda c, m: m.update(source_bytes=m["source_bytes"] + 1), {"size"}),
    "another stream": (lambda c, m: c.update(streams=["0" * 64]), {"stream"}),
    "another seed": (lambda c, m: c.update(seed=1), {"key"}),
    "another mesh": (lambda c, m: m.update(input_sha256="0" * 64), {"key", "input"}),
    "another rate": (lambda c, m: c.update(rate="d3"), {"key"}),
    "another place in the ladder": (lambda c, m: c.update(rate_index=0), {"key"}),
    "another key": (lambda c, m: c.update(key="0" * 64), {"key"}),
    "weights that do not ship": (lambda c, m: c.update(decoder_bytes=5), {"key"}),
    "another effort": (lambda c, m: c.update(effort="lazy"), {"key"}),
    "a failure without a reason": (lambda c, m: c.update(status="failed"), {"status"}),
    "a good mesh called bad": (lambda c, m: c.update(status="bad-input", stage="load", error="hm"), {"status"}),
    "ok, but with an error": (lambda c, m: c.update(error="hm"), {"status"}),
    "ok, but never decoded": (lambda c, m: c.pop("decode"), {"status"}),
}


@pytest.mark.parametrize("name", CODINGS)
def test_a_coding_that_contradicts_itself_or_others_needs_no_sample(tampered, name):
    change, expected = CODINGS[name]
    edit(tampered, change)
    report = verify(tampered, sample=NONE)
    assert found(report) >= expected
    assert report.exit_code == 1
    assert all("ball" in finding.where for finding in report.differs if finding.what != "session")


VALUES = {
    "a floor": ("paper", lambda v: v.update(cd_floor=v["cd_floor"] * 1.01)),
    "more than all": ("surface", lambda v: v.update(f1_p2s_001=1.2)),
    "half a component": ("topology", lambda v: v.update(out_components=0.5)),
    "a quantile above the largest": ("surface", lambda v: v.update(p99_p2s=v["hausdorff_p2s"] + 1)),
    "no value": ("surface", lambda v: v.pop("cd_p2s")),
    "a value of nobody": ("surface", lambda v: v.update(beauty=1.0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_cannot_be_need_no_sample(tampered, here, name):
    suite, change = VALUES[name]
    edit_values(tampered, suite, lambda m: change(m["values"]))
    report = verify(tampered, sample=NONE, executor=here)
    assert found(report) == {"metric"}
    assert all("on shapes/ball" in finding.where for finding in report.differs)


@pytest.mark.parametrize("value", [float("nan"), "60", None, [60]])
def test_a_line_with_a_value_that_is_no_number_cannot_be_read(tampered, here, value, caplog):
    edit_values(tampered, "psnr", lambda m: m["values"].update(sampled_d1_psnr_bbox=value))
    report = verify(tampered, sample=ALL, executor=here)
    assert "1 of" in next(finding.message for finding in report.differs if finding.what == "line")
    assert caplog.text.count("is left out") == 1


def test_a_measurement_has_a_status_and_a_key_of_its_own(tampered):
    edit_values(tampered, "paper", lambda m: m.update(status="crashed", error="killed"))
    (finding,) = verify(tampered, sample=NONE).differs
    assert (finding.what, finding.message) == ("status", "paper has values, but is crashed")
    edit_values(tampered, "psnr", lambda m: m.update(seed=5))
    assert {"key", "metric"} <= found(verify(tampered, sample=NONE))  # not of this mesh any more: it lacks psnr


@pytest.mark.parametrize(
    ("unit", "good", "bad"),
    [
        ("length", (0, 7.5), (-1e-12,)),
        ("squared length", (0.0,), (-1.0,)),
        ("fraction", (0, 1, 1 + 1e-12), (-0.1, 1.001)),
        ("cosine", (0.5,), (1.001,)),
        ("similarity", (-0.3, 1.0), (1.001,)),
        ("dB", (-3.0, 99.99), (float("inf"),)),
        ("count", (0, -2, 3.0), (0.5,)),
        ("flag", (True, False, 0), (2, -1)),
    ],
)
def test_bounds_of_every_unit(unit, good, bad):
    class One:
        name = "one"
        columns = (dataclasses.replace(SUITES.get("surface").columns[0], name="x", unit=unit),)

        def implausible(self, values):
            return iter(())

    def says(value):
        m = Measurement("", "", "", 0, "", "", "", "one", "1", 0, values={"x": value})
        return [finding.message for finding in check_values(m, One(), "somewhere")]

    assert [says(value) for value in good] == [[]] * len(good)
    assert [says(value) for value in bad] == [[f"x cannot be {value!r}"] for value in bad]


def test_sizes_of_a_set_are_those_of_its_layout(tampered):
    def shift(coding, mesh):  # the sum is right
        coding["shared_bytes"] += 3
        mesh["mesh_bytes"] -= 3

    edit(tampered, shift, codec="test-set")
    report = verify(tampered, sample=NONE)
    assert found(report) == {"size"}
    assert [finding.message[:12] for finding in report.differs] == ["shared_bytes", "mesh_bytes i"]


def test_a_timing_pass_has_checks_too(tampered):
    edit(tampered, lambda c, m: m.update(mesh_bytes=1), timing=True)
    (finding,) = verify(tampered, sample=NONE).differs
    assert finding.what == "size"
    assert "timing pass" in finding.where


def test_a_changed_value_is_found_by_measuring_again_only(tampered, here):
    edit_values(tampered, "surface", lambda m: m["values"].update(cd_p2s=m["values"]["cd_p2s"] * 0.999))
    edit_values(tampered, "paper", lambda m: m["values"].update(nc=m["values"]["nc"] - 1e-6))
    edit_values(tampered, "topology", lambda m: m["values"].update(out_euler=7), codec="test-set", mesh="ring")
    assert verify(tampered, sample=NONE).differs == ()
    report = verify(tampered, sample=ALL, executor=here)
    one, other = sorted(report.differs, key=lambda finding: finding.where)
    assert {one.what, other.what} == {"metric"}
    assert "test-exact d2 on shapes/ball" in one.where
    assert one.message.startswith("cd_p2s is recorded as")
    assert one.message.endswith("(off by 0.001); also nc")
    assert "test-set only on shapes/ring" in other.where
    assert "out_euler is recorded as 7, measured again it is 0" in other.message
    assert report.largest_deviation == pytest.approx(1)  # 7 → 0, of 7


def test_lines_that_are_gone_torn_or_cannot_be_read(tampered):
    path = tampered.path / "codings.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    gone = next(line for line in lines if '"enc-raise"' in line and '"bad-input"' not in line)
    rest = "".join(line for line in lines if line != gone)
    path.write_text(rest)
    (finding,) = verify(tampered, sample=NONE).differs
    assert (finding.what, finding.message) == ("session", "coded 7, but has 6 lines")
    path.write_text("{nonsense\n" + rest)
    assert found(verify(tampered, sample=NONE)) == {"session", "line"}
    path.write_text("".join(lines) + gone[:20])
    report = verify(tampered, sample=NONE)
    assert (report.differs, report.exit_code) == ((), 3)
    assert report.unchecked[0].message.startswith("its last line is incomplete")


def test_a_measurement_that_is_gone(tampered):
    lines = lines_of(tampered, "measurements.jsonl")
    write(tampered, "measurements.jsonl", lines[1:])
    report = verify(tampered, sample=NONE)
    session, metric = sorted(report.differs, key=lambda finding: finding.what, reverse=True)
    assert (session.what, session.message) == ("session", "measured 16, but has 15 lines")
    assert (metric.what, metric.message) == ("metric", f"is not measured by {lines[0]['suite']}")


def test_a_changed_mesh_file(tampered):
    trimesh.creation.icosphere(1).export(tampered.path.parent / "shapes" / "ball.ply")
    report = verify(tampered, sample=NONE)
    (finding,) = report.differs
    assert (finding.what, finding.where) == ("input", "shapes/ball")
    assert (report.exit_code, report.meshes_intact) == (1, 2)


def test_a_broken_mesh_file_that_was_mended_and_a_good_one_that_was_broken(tampered):
    shapes = tampered.path.parent / "shapes"
    trimesh.creation.box().export(shapes / "broken.obj")
    (shapes / "ring.ply").write_text("nothing")
    report = verify(tampered, sample=NONE)
    assert {(f.what, f.where) for f in report.differs} == {("input", "shapes/broken"), ("input", "shapes/ring")}


def test_data_that_is_not_here_is_said_and_can_be_pointed_at(tampered, here):
    shapes = tampered.path.parent / "shapes"
    moved = shapes.rename(shapes.with_name("elsewhere"))
    report = verify(tampered, sample=ALL, executor=here)
    assert report.differs == ()
    assert [finding.what for finding in report.unchecked] == ["data"]
    assert (report.exit_code, report.meshes_intact, report.recomputed) == (3, 0, 0)
    report = verify(tampered, sample=ALL, executor=here, folders={"shapes": moved})
    assert (report.exit_code, report.recomputed) == (0, 4)
    (moved / "ring.ply").unlink()
    report = verify(tampered, sample=NONE, folders={"shapes": moved})
    assert [str(finding) for finding in report.unchecked] == [
        "data: shapes: 1 meshes of the run are not on this machine"
    ]


def test_another_version_of_a_codec_is_said_and_not_called_a_difference(tampered, here):
    def older(coding, mesh):
        key = {"effort": "standard", "seed": 0, "device": "cpu", "timing": None, "inputs": [mesh["input_sha256"]]}
        rate = Rate("d2", {"digits": 2})
        assert coding["key"] == coding_key(codec="test-exact", codec_version="1", rate=rate, **key)
        coding["codec_version"] = "0"
        coding["key"] = coding_key(codec="test-exact", codec_version="0", rate=rate, **key)

    before = tampered.records()
    stream = edit(tampered, older)["streams"][0]
    lines = lines_of(tampered, "measurements.jsonl")
    for m in lines:
        if m["stream"] == stream:
            m["decoder_version"] = "0"
            rekey(m)
            m["values"] = {name: 0 if name == "cd_p2s" else value for name, value in m["values"].items()}
    write(tampered, "measurements.jsonl", lines)
    assert [r.mesh for r in tampered.records()] == [r.mesh for r in before]
    report = verify(tampered, sample=ALL, executor=here)
    assert report.differs == ()
    assert [str(finding) for finding in report.unchecked] == [
        "version: test-exact: version 0 made the run, installed is 1: 1 codings cannot be decoded again"
    ]
    assert (report.exit_code, report.sampled, report.recomputed) == (3, 4, 3)


def test_another_version_of_a_suite_is_said_and_the_others_are_measured_again(tampered, here):
    def older(m):
        m["suite_version"] = "0"
        m["values"] = {"what it had then": 7}
        rekey(m)

    edit_values(tampered, "surface", older)
    report = verify(tampered, sample=ALL, executor=here)
    assert report.differs == ()
    (finding,) = report.unchecked
    assert str(finding).startswith("version: metrics surface: version 0 made the run, installed is 1+")
    assert finding.message.endswith(": 1 measurements cannot be made again")
    assert (report.exit_code, report.recomputed) == (3, 4)
    edit_values(tampered, "paper", lambda m: m["values"].update(cd=m["values"]["cd"] * 0.999))
    assert found(verify(tampered, sample=ALL, executor=here)) == {"metric"}


def test_keys_of_a_run_that_does_not_say_how_they_were_made(tampered):
    sessions = tampered.path / "sessions.jsonl"
    sessions.write_text(sessions.read_text().replace('"key_version"', '"keys"'))
    assert verify(tampered, sample=NONE).exit_code == 0
    edit(tampered, lambda c, m: c.update(rate_index=7))
    report = verify(tampered, sample=NONE)
    assert report.differs == ()
    assert [str(finding) for finding in report.unchecked] == [
        "version: keys: of 1 codings are made in another way than here"
    ]


def test_a_codec_or_a_suite_that_is_not_here(tampered):
    edit(tampered, lambda c, m: c.update(codec="their-codec"), codec="test-set")
    for mesh in ("ball", "ring"):
        edit_values(tampered, "psnr", lambda m: (m.update(suite="their-suite"), rekey(m)), mesh=mesh)
    report = verify(tampered, sample=NONE)
    unknown = {finding.where: finding.message for finding in report.unchecked}
    assert set(unknown) == {"their-codec", "metrics their-suite"}
    assert "unknown codec" in unknown["their-codec"]
    assert "unknown metric suite" in unknown["metrics their-suite"]


def test_a_network_has_a_band_and_must_decode(tmp_path, here, drift):
    folder = tmp_path / "one"
    folder.mkdir()
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    store = Run(tmp_path / "run")
    run_plan(make_plan(str(folder), "test-trained", rates=["d2"]), store, executor=here)
    kept = lines_of(store, "measurements.jsonl")

    def found_again(**factors):
        lines = json.loads(json.dumps(kept))
        for m in lines:
            m["values"] |= {name: value * factors[name] for name, value in m["values"].items() if name in factors}
        write(store, "measurements.jsonl", lines)
        return verify(store, sample=ALL, executor=here).differs

    assert found_again(cd_p2s=1.005, out_faces=2) == ()  # a triangle more or less is no lie of a network
    (finding,) = found_again(cd_p2s=1.05, cd_floor=1.001)  # floors know no codec
    assert finding.what == "metric"
    assert "cd_p2s is recorded as" in finding.message
    assert finding.message.endswith("also cd_floor")
    drift("undecodable")
    (finding,) = found_again()
    assert finding.what == "status"
    assert finding.message == (
        "is measured by paper, surface, psnr, topology; now it is crashed: decoding the stored stream again failed: "
        "BitstreamError: drifted away"
    )


class TestSample:
    @pytest.mark.parametrize(
        ("text", "of_1000", "of_3"),
        [("1%", 10, 3), ("0.1%", MIN_SAMPLE, 3), ("20", 20, 3), ("all", 1000, 3), ("0", 0, 0)],
    )
    def test_sizes(self, text, of_1000, of_3):
        assert Sample.parse(text).size(1000) == of_1000
        assert Sample.parse(text).size(3) == of_3

    @pytest.mark.parametrize("text", ["", "some", "-1", "101%", "nan%", "1.5"])
    def test_nonsense(self, text):
        with pytest.raises(UsageError, match="percentage"):
            Sample.parse(text)

    def test_draw(self, original):
        # The same records 50 times over, as those of other runs.
        many = [dataclasses.replace(r, key=f"{r.key}{i}") for r in original.records() for i in range(50)]
        assert draw(many, Sample(count=9), 1) == draw(list(reversed(many)), Sample(count=9), 1)
        assert draw(many, Sample(count=9), 1) != draw(many, Sample(count=9), 2)
        assert len(draw(many, ALL, 1)) == 200
        for seed in range(20):
            drawn = draw(many, Sample(count=1), seed)
            assert {r.codec for r in drawn} == {"test-exact", "test-set"}  # of each codec one
            assert len(drawn) == 2
            assert all(r.status == "ok" and not r.timing for r in drawn)

    def test_the_default_seed_is_not_known_beforehand(self, original):
        assert verify(original, sample=NONE).seed != verify(original, sample=NONE).seed


def test_no_run(tmp_path):
    with pytest.raises(UsageError, match="is not a run"):
        verify(Run(tmp_path / "nowhere"))


def test_the_report_as_tables(original):
    report = verify(original, sample=NONE)
    many = tuple(Finding("size", f"mesh {i}", "is too large") for i in range(render.SHOWN + 4))
    tables = render.verification_tables(dataclasses.replace(report, differs=many, unchecked=()))
    said = "".join(tabular.render(tables))
    assert f"differs from the record: {len(many)}\n\nwhat  where    message" in said
    assert "size  mesh 0   is too large\n" in said
    assert f"mesh {render.SHOWN}" not in said
    assert "and 4 more; -f json prints all\n" in said
    assert "could not be checked" not in said


def test_the_command(original, tampered, bench):
    def verified(*arguments, code):
        return bench("verify", *arguments, code=code).stdout

    out = verified(original.path, "--sample", "1", "--seed", "7", code=0)
    assert "measured  2 of 2 sampled records again (--seed 7); largest deviation 0" in out
    assert out.endswith("all checks pass\n")
    edit(tampered, lambda c, m: m.update(mesh_bytes=1))
    assert "a check failed" in verified(tampered.path, "--sample", "0", code=1)
    report = json.loads(verified(tampered.path, "--sample", "0", "--format", "json", code=1))
    assert report["exit_code"] == 1
    assert {finding["what"] for finding in report["differs"]} == {"size"}
    verified(original.path, "--sample", "some", code=2)
    verified(original.path, "--folder", "shapes=nowhere", code=2)
    moved = tampered.path.parent / "shapes"
    moved.rename(moved.with_name("moved"))
    shutil.copy(original.path / "codings.jsonl", tampered.path / "codings.jsonl")
    verified(tampered.path, "--sample", "0", code=3)
    verified(tampered.path, "--sample", "0", "--folder", f"shapes={moved.with_name('moved')}", code=0)


def test_merged_runs_that_share_codings_hold(original, tmp_path):
    """Of a coding that both have only one is taken in, and the session of the other has lost nothing by it."""
    folder = original.path.parent / "shapes"
    again, both = Run(tmp_path / "again"), Run(tmp_path / "both")
    run_plan(make_plan(str(folder), "test-exact", rates=["d2", "d3"]), again, threads=1)
    for _ in range(2):
        for part in (original, again):
            with both.writing():
                both.adopt(part)
    report = verify(both, sample=NONE)
    assert not report.differs, report.differs
    further = Run(tmp_path / "further")
    with further.writing():
        further.adopt(both)
    assert not verify(further, sample=NONE).differs
    path = further.path / "codings.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"d3"' not in line or '"ball"' not in line))
    (finding,) = verify(further, sample=NONE).differs
    assert (finding.what, finding.message) == ("session", "coded 2, but has 1 lines")
