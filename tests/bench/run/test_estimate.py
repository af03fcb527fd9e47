"""How long a plan takes: exact for what is known, medians for the rest, and honest about guesses."""

from __future__ import annotations

import hashlib
import json

import pytest

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run import machine
from gcbench.bench.run.estimate import estimate, history
from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn
from gcbench.bench.store.run import Run


def hash_of(mesh):
    return mesh if len(mesh) == 64 else hashlib.sha256(mesh.encode()).hexdigest()


def coding(
    codec="test-exact", rate="d1", *, mesh="a", faces=100, seconds=2.0, size=10, cpu=None, device="cpu", status="ok"
):
    return Coding(
        key=f"{codec} {rate} {mesh}",
        session="s",
        dataset="d",
        split="all",
        codec=codec,
        codec_version="1",
        kind="model",
        rate=rate,
        rate_index=0,
        effort="standard",
        seed=0,
        meshes=(CodedMesh(mesh, hash_of(mesh), 10, faces, mesh_bytes=size, decoded_sha256="0" * 64),),
        device=device,
        status=status,
        encode=Cost(seconds * 0.75, 0, 0, 0),
        decode=Cost(seconds * 0.25, 0, 0, 0),
        ran_on=RanOn(cpu=machine.cpu_model() if cpu is None else cpu),
    )


def measurement(seconds, suite="topology", mesh="a"):
    return Measurement("k", "s", "0" * 64, 0, "test-exact", "1", hash_of(mesh), suite, "1", 0, seconds=seconds)


def made(path, codings, measurements=()):
    path.mkdir(parents=True)
    (path / "codings.jsonl").write_text("".join(json.dumps(c.to_json()) + "\n" for c in codings))
    (path / "measurements.jsonl").write_text("".join(json.dumps(m.to_json()) + "\n" for m in measurements))
    return path


@pytest.fixture
def plan(folder):
    return make_plan([str(folder)], ["test-exact"], rates=["d1"])


def test_seconds_per_face_where_they_vary_less(tmp_path, plan):
    """Seconds and bytes are proportional to faces: the three meshes have 320 + 12 + 1024 faces."""
    faces = sum(mesh.faces for mesh in plan.meshes)
    run = made(
        tmp_path / "r",
        [coding(mesh=str(n), faces=n, seconds=0.01 * n, size=3 * n) for n in (100, 1000, 5000)],
        [measurement(s, mesh="100") for s in (1.0, 2.0, 9.0)],
    )
    found = estimate(plan, Run(tmp_path / "new"), ["topology"], history([run, run]), jobs=2)
    assert (found.codings, found.kept, found.based_on, found.runs) == (4, 0, 3, 1)
    assert found.coding_s == pytest.approx(0.01 * faces)
    assert found.stream_bytes == pytest.approx(3 * faces)
    assert found.measuring_s == 3 * 2.0, "the median, for each of the three meshes that can be used"
    assert found.wall_s == pytest.approx(max(found.longest_s, (found.coding_s + 6) / 2))
    assert not found.guessed
    assert not found.unknown_codecs
    assert not found.unknown_suites


def test_seconds_per_mesh_where_they_vary_less(tmp_path, plan):
    """A network that trains for 40 s on any mesh: the longest coding bounds the time."""
    run = made(tmp_path / "r", [coding(mesh=str(n), faces=n, seconds=40.0) for n in (10, 1000, 50000)])
    found = estimate(plan, Run(tmp_path / "new"), ["topology"], history([run]), jobs=16)
    assert (found.coding_s, found.longest_s, found.wall_s) == pytest.approx((120, 40, 40))
    assert found.unknown_suites == {"topology": 3}


def test_the_same_mesh_is_taken_as_it_was(tmp_path, plan):
    (first, *_) = (mesh for mesh in plan.meshes if mesh.problem is None)
    run = made(
        tmp_path / "r",
        [coding(mesh=str(n), faces=n, seconds=1.0) for n in (10, 20, 30)] + [coding(mesh=first.sha256, seconds=100.0)],
    )
    found = estimate(plan, Run(tmp_path / "new"), [], history([run]), jobs=1)
    assert found.longest_s == 100
    assert found.coding_s == pytest.approx(102)


def test_what_is_guessed_and_what_is_not_counted(tmp_path, folder):
    both = make_plan([str(folder)], ["test-exact", "raw-zstd"])
    run = made(tmp_path / "r", [coding(rate="d1"), coding(rate="d2", cpu="another machine")])
    found = estimate(both, Run(tmp_path / "new"), [], history([run]), jobs=1)
    assert found.guessed == {"test-exact d2": 3, "test-exact d3": 3}
    assert found.unknown_codecs == {"raw-zstd": 3}
    assert estimate(both, Run(tmp_path / "new"), [], history([]), jobs=1).unknown_codecs == {
        "raw-zstd": 3,
        "test-exact": 9,
    }


def test_failures_other_devices_and_torn_lines_are_left_out(tmp_path, plan):
    run = made(
        tmp_path / "r",
        [coding(seconds=2.0), coding(seconds=900.0, status="timeout"), coding(seconds=700.0, device="cuda")],
    )
    with (run / "codings.jsonl").open("a") as file:
        file.write('[1]\n{"key": "x"}\n{"key": "torn')
    found = estimate(plan, Run(tmp_path / "new"), [], history([run, tmp_path / "no run"]), jobs=1)
    assert found.longest_s < 100


def test_a_timing_pass_repeats_short_codings_and_measures_nothing(tmp_path, folder):
    timing = make_plan([str(folder)], ["test-exact"], rates=["d1"], timing="kind")
    run = made(tmp_path / "r", [coding(seconds=2.0), coding(seconds=2.0, mesh="b", faces=900)], [measurement(5.0)])
    found = estimate(timing, Run(tmp_path / "new"), ["topology"], history([run]), jobs=1)
    assert found.coding_s == pytest.approx(3 * 2.0 * 6)
    assert found.measuring_s == 0


def test_the_command_says_it(bench, tmp_path, folder):
    command = ("run", "-d", folder, "-c", "test-exact,raw-zstd", "--run", "r")
    assert "no estimate: no run in results/runs" in bench(*command, "--dry-run").stdout
    bench(*command, "--rate", "d1", "--suite", "topology")
    said = bench(*command, "--dry-run", "--suite", "topology,psnr").stdout
    assert "16 codings: 4 kept from before, 12 to do" in said
    assert "at least " in said
    assert "from the medians of 3 codings on this machine, in 1 run\n" in said
    assert "guessed from other rates of the codec: 6 codings, of test-exact d2, test-exact d3" in said
    assert "not counted, since it has not run on this machine: raw-zstd (3 codings), psnr (9 measurements)" in said
    known = json.loads(bench(*command, "--dry-run", "--format", "json").stdout)
    assert (known["codings"], known["kept"], known["unknown_codecs"]) == (16, 4, {"raw-zstd": 3})
