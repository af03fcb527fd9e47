"""The MPEG codecs in the engine: what is recorded when a program fails, and what is said where there is none."""

from __future__ import annotations

import json
import sys

import psutil
import pytest
import trimesh

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.slot import Folders, Slot, Templates
from gcbench.bench.run.spool import Spool
from gcbench.bench.run.work import Task, TaskLimits
from gcbench.bench.store.records import records_of
from gcbench.entropy.container import HEADER_BYTES
from gcbench.errors import CodecUnavailable

FAILURES = {
    "exit": (
        "sys.stderr.write('missing coordinates!'); sys.exit(255)",
        "failed",
        "exit code 255: missing coordinates!",
    ),
    "missing": ("pass", "failed", "CodecFailed: tmc3 wrote no out.bin"),
    "empty": ("Path(option('compressedStreamPath')).touch()", "failed", "CodecFailed: tmc3 wrote an empty out.bin"),
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "failed", "CodecFailed: tmc3 died of SIGSEGV"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "CodecFailed: tmc3 died of SIGKILL"),
    "hangs": ("print('began', flush=True); time.sleep(60)", "timeout", None),
}
ENCODES = "Path(option('compressedStreamPath')).write_bytes(b'stream') if option('mode') == '0' else "
DECODER_FAILURES = {
    "crash": (ENCODES + "os.kill(os.getpid(), signal.SIGSEGV)", "failed", "BitstreamError: tmc3 died of SIGSEGV"),
    "no-points": (
        ENCODES + "Path(option('reconstructedDataPath')).write_text('ply\\nformat ascii 1.0\\nelement vertex 0\\n'"
        " + ''.join('property float %s\\n' % n for n in 'xyz') + 'end_header\\n')",
        "failed",
        "BitstreamError: the stream holds no points",
    ),
    "hangs": (ENCODES + "time.sleep(60)", "timeout", None),
}


@pytest.fixture(scope="module")
def sliver(tmp_path_factory):
    """A folder with one long thin mesh, of which there are few voxels."""
    path = tmp_path_factory.mktemp("meshes") / "slivers"
    path.mkdir()
    mesh = trimesh.Trimesh([[-1, 0, 0], [1, 0, 0], [0, 0.01, 0], [0, 0, 0.01]], [[0, 1, 2], [0, 3, 1]], process=False)
    mesh.export(path / "sliver.ply")
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory, make_stand_ins):
    """Workers that find a stand-in for tmc3, which does what a file says."""
    root = tmp_path_factory.mktemp("rig")
    body = f"Path({str(root / 'pid')!r}).write_text(str(os.getpid()))\nexec(Path({str(root / 'body')!r}).read_text())"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCBENCH_TMC3", str(make_stand_ins(root / "stand-ins").put("tmc3", body)))
        limits = {"patient": TaskLimits(60.0), "hasty": TaskLimits(2.5)}
        templates = Templates(1)
        slots = {
            name: Slot(
                Folders(Spool(root / f"{name} spool"), root / name, logs=root / "logs"),
                limit=limit,
                name=name,
                templates=templates,
            )
            for name, limit in limits.items()
        }
        yield root, slots
        for slot in slots.values():
            slot.close()
        templates.close()


@pytest.fixture
def run(rig, sliver):
    """Run one coding of gpcc-octree with a body for the stand-in; its record and the worker's logs."""
    root, slots = rig

    def call(body: str, *, hasty: bool):
        (root / "body").write_text(body)
        name = "hasty" if hasty else "patient"
        (unit,) = make_plan(str(sliver), "gpcc-octree", rates=["r01"]).codings
        (record,) = records_of(slots[name].run(Task(unit)).coding, {})
        assert list(slots[name]._scratch.rglob("*")) == []
        assert not _runs(int((root / "pid").read_text()))
        return record, "".join(path.read_text() for path in (root / "logs").glob(f"{name}-*.log"))

    return call


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.long
@pytest.mark.parametrize("name", [*sorted(FAILURES.keys() - {"hangs"}), pytest.param("hangs", marks=pytest.mark.slow)])
def test_a_failing_encoder_is_recorded(name, run):
    body, status, error = FAILURES[name]
    record, logs = run(body, hasty=status == "timeout")
    assert (record.status, record.stage) == (status, "encode")
    if error:
        assert error in record.error
        assert f"{error.removeprefix('CodecFailed: ').partition(':')[0]}\n" in logs, "the program's log is kept"
        assert "--uncompressedDataPath=in.ply" in logs


@pytest.mark.long
@pytest.mark.parametrize("name", ["crash", "no-points", pytest.param("hangs", marks=pytest.mark.slow)])
def test_a_failing_decoder_is_recorded(name, run):
    body, status, error = DECODER_FAILURES[name]
    record, _ = run(body, hasty=status == "timeout")
    assert (record.status, record.stage) == (status, "decode")
    assert record.mesh_bytes == HEADER_BYTES + 2 + len("stream")  # of the bits of the grid, and of the scale
    if error:
        assert error in record.error


def test_all_runs_everything_else_and_says_what_is_missing(bench, sliver, monkeypatch):
    """One line for each codec: what is missing, and where to get it."""
    monkeypatch.delenv("GCBENCH_TMC3", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    done = bench("run", "-d", str(sliver), "-c", "all", "--rate", "q10", "--suite", "topology", "--dry-run")
    lines = [line for line in done.stdout.splitlines() if line.startswith("not available: ")]
    for codec, program, variable, repository in [
        ("gpcc-octree", "tmc3", "GCBENCH_TMC3", "github.com/MPEGGroup/mpeg-pcc-tmc13"),
        ("gpcc-trisoup", "tmc3", "GCBENCH_TMC3", "github.com/MPEGGroup/mpeg-pcc-tmc13"),
        ("vpcc", "PccAppEncoder", "GCBENCH_TMC2", "github.com/MPEGGroup/mpeg-pcc-tmc2"),
    ]:
        (line,) = [line for line in lines if line.startswith(f"not available: {codec}: ")]
        assert f"{program} is not on PATH and {variable} is not set; build release" in line
        assert repository in line
        assert "docs/mpeg.md" in line
    assert "codecs: raw-zstd, draco, draco-qem, meshopt, " in done.stdout
    assert "2 codings: 0 kept from before, 2 to do" in done.stdout  # draco and meshopt


def test_asked_for_by_name_it_is_an_error_with_the_remedy(sliver, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CodecUnavailable, match=r"codec 'vpcc\[mode=random-access\]' cannot run here: PccAppEncoder is"):
        make_plan(str(sliver), "vpcc[mode=random-access]")


def test_a_wrong_program_is_said_to_be_one(sliver, stand_ins, monkeypatch):
    monkeypatch.setenv("GCBENCH_TMC3", str(stand_ins.put("tmc3", banner="MPEG PCC tmc3 version release-v14.0")))
    with pytest.raises(
        CodecUnavailable, match=r"is version release-v14\.0, not 23\.0 or later; build release 23\.0 of"
    ):
        make_plan(str(sliver), "gpcc-octree")
    monkeypatch.setenv("GCBENCH_TMC3", sys.executable)
    with pytest.raises(CodecUnavailable, match="does not say that it is tmc3"):
        make_plan(str(sliver), "gpcc-octree")


def test_a_sequence_is_one_coding_of_its_set(sliver, stand_ins, monkeypatch, tmp_path):
    for name in ("PccAppEncoder", "PccAppDecoder"):
        stand_ins.put(name)
    (stand_ins.root / "cfg" / "common").mkdir(parents=True)
    (stand_ins.root / "cfg" / "common" / "ctc-common.cfg").touch()
    monkeypatch.setenv("GCBENCH_TMC2", str(stand_ins.root))
    meshes = tmp_path / "sequence"
    meshes.mkdir()
    for name in ("one", "other"):
        (meshes / f"{name}.ply").write_bytes((sliver / "sliver.ply").read_bytes())
    apart = make_plan(str(meshes), ["vpcc", "vpcc[mode=random-access]"], rates=["r1"])
    assert [(unit.codec, unit.kind, len(unit.meshes), unit.sequences) for unit in apart.codings] == [
        ("vpcc", "model", 1, ()),
        ("vpcc", "model", 1, ()),
        ("vpcc[mode=random-access]", "set", 2, ()),
    ]
    (meshes / "sequence.toml").touch()
    together = make_plan(str(meshes), ["vpcc", "vpcc[mode=random-access]"], rates=["r1"])
    assert [unit.sequences for unit in together.codings] == [(), (), (range(2),)]
    same = [a.key == b.key for a, b in zip(apart.codings, together.codings, strict=True)]
    assert same == [True, True, False]


COPIES = """
count = int(option("frameCount"))
meshes = [Path(option("srcMesh") % i).read_bytes() for i in range(count)]
Path(option("compressed")).write_bytes(b"".join(b"%d\\n" % len(m) for m in meshes) + b"\\n" + b"".join(meshes))
"""
AS_PLY = """
sizes, meshes = Path(option("compressed")).read_bytes().split(b"\\n\\n", 1)
for i, size in enumerate(map(int, sizes.split())):
    lines, meshes = meshes[:size].decode().splitlines(), meshes[size:]
    points = [line[2:] for line in lines if line.startswith("v ")]
    corners = [[n.split("/")[0] for n in line.split()[1:]] for line in lines if line.startswith("f ")]
    faces = ["3 %d %d %d" % tuple(int(n) - 1 for n in face) for face in corners]
    head = "ply\\nformat ascii 1.0\\nelement vertex %d\\n" % len(points)
    head += "".join("property double %s\\n" % n for n in "xyz") + "element face %d\\n" % len(faces)
    head += "property list uchar int vertex_indices\\nend_header\\n"
    Path(option("decMesh") % i).write_text(head + "\\n".join(points + faces) + "\\n")
"""


@pytest.mark.slow
def test_frames_reach_the_encoder_and_the_tables_and_verify_agrees(bench, tmp_path, stand_ins, monkeypatch):
    """From `sequence.toml` to `kbit/frame`; and the key of the coding is what the record says."""
    for name, body in (("encode", COPIES), ("decode", AS_PLY)):
        stand_ins.put(name, body, banner="MPEG VMESH version v14.0")
    walk = tmp_path / "data" / "walk"
    walk.mkdir(parents=True)
    for number in (9, 10, 11):
        trimesh.creation.box([1, 1, number / 10]).export(walk / f"f{number}.ply")
    trimesh.creation.icosphere(1).export(tmp_path / "data" / "ball.ply")
    (walk / "sequence.toml").write_text("fps = 25")
    monkeypatch.setenv("GCBENCH_VMESH", str(stand_ins.root))
    arguments = ("-d", "data", "-c", "vdmc[mode=inter],draco", "--rate", "r1,q10", "--suite", "surface", "--run", "out")
    bench("run", *arguments)
    counts = [[a for a in call if a.startswith("--frameCount")] for call in stand_ins.called()]
    assert [count for (count, *_) in filter(None, counts)] == ["--frameCount=1", "--frameCount=3"]
    (lines,) = tmp_path.rglob("codings.jsonl")
    codings = [json.loads(line) for line in lines.read_text().splitlines()]
    (whole,) = [coding for coding in codings if coding["codec"].startswith("vdmc")]
    assert [(m["mesh"], m.get("sequence"), m.get("frame"), m.get("fps")) for m in whole["meshes"]] == [
        ("ball", None, None, None),
        ("walk/f9", "walk", 9, 25),
        ("walk/f10", "walk", 10, 25),
        ("walk/f11", "walk", 11, 25),
    ]
    table = bench("table", "out", "-k", "sequences", "-f", "json")
    rows = {row["codec"]: row for row in json.loads(table.stdout)}
    of_walk = [whole["shared_bytes"] / 4 + m["mesh_bytes"] for m in whole["meshes"][1:]]
    assert rows["vdmc[mode=inter]"]["kilobits_per_frame"] == pytest.approx(0.008 * sum(of_walk) / 3)
    assert rows["vdmc[mode=inter]"]["kilobits_per_second"] == pytest.approx(0.008 * sum(of_walk) / 3 * 25)
    assert (rows["draco"]["frames"], rows["draco"]["first"], rows["draco"]["last"]) == (3, 9, 11)
    bench("verify", "out")


def test_verify_agrees_with_a_codec_that_could_code_sets_and_codes_single_meshes(
    bench, tmp_path, stand_ins, monkeypatch
):
    """The stream of one mesh has a layout too; its record counts all bytes as the mesh's."""
    for name, body in (("encode", COPIES), ("decode", AS_PLY)):
        stand_ins.put(name, body, banner="MPEG VMESH version v14.0")
    (tmp_path / "data").mkdir()
    trimesh.creation.icosphere(1).export(tmp_path / "data" / "ball.ply")
    monkeypatch.setenv("GCBENCH_VMESH", str(stand_ins.root))
    bench("run", "-d", "data", "-c", "vdmc", "--rate", "r1", "--suite", "surface", "--run", "out")
    assert "all checks pass" in bench("verify", "out").stdout
