"""One task through real workers, with codecs and suites that misbehave in every way the engine promises to survive."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import psutil
import pytest
import trimesh

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.plan.units import CodingUnit, PlannedMesh, SuiteId
from gcbench.bench.run import slot as slots
from gcbench.bench.run import stages
from gcbench.bench.run.process import CallLimits, WorkerDied
from gcbench.bench.run.slot import Folders, Slot, measurement_unit
from gcbench.bench.run.spool import Spool
from gcbench.bench.run.work import Outcome, Task, TaskLimits
from gcbench.bench.store.records import Measurement, Record, records_of
from gcbench.datasets import MeshSource
from gcbench.errors import StoreError

pytestmark = pytest.mark.usefixtures("counting_suites")
COUNTS, PAPER = SuiteId("test-counts", "1"), SuiteId("paper", "1")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes") / "shapes"
    path.mkdir()
    trimesh.creation.icosphere(2).export(path / "sphere.ply")
    trimesh.creation.torus(2, 0.5).export(path / "torus.ply")
    return path


def codings(shapes, codec, limit=1, **more) -> dict[str, CodingUnit]:
    return {unit.rate.label: unit for unit in make_plan(str(shapes), codec, limit=limit, **more).codings}


def records(outcome: Outcome) -> list[Record]:
    by_place: dict[int, dict[str, Measurement]] = {}
    for m in outcome.measurements:
        by_place.setdefault(m.place, {})[m.suite] = m
    return records_of(outcome.coding, by_place)


def again(outcome: Outcome, place: int = 0, suites: tuple[SuiteId, ...] = (COUNTS,)) -> Task:
    """The task of measuring a mesh of a coding that is kept."""
    unit = measurement_unit(outcome.coding, outcome.task.unit, place, suites)
    return Task(unit, stream=outcome.streams[0])


def test_a_good_coding_has_everything(slot, shapes):
    unit = codings(shapes, "test-exact")["d3"]
    outcome = slot.run(Task(unit, (PAPER, SuiteId("topology", "1"), SuiteId("surface", "1"))))
    (record,) = records(outcome)
    assert (record.status, record.mesh) == ("ok", "sphere")
    assert record.mesh_bytes == len(outcome.streams[0]) == record.stream_bytes
    assert record.shared_bytes == 0
    assert record.bits_per_vertex == 8 * record.mesh_bytes / 162
    assert 0 < record.encode.wall_s < 1
    assert 0 < record.decode.cpu_s < 1
    assert record.encode.peak_rss_bytes >= record.encode.rss_before_bytes > 10 << 20
    assert 0 < record.metrics["cd_p2s"] < 5e-4  # three decimals
    assert record.metrics["cd"] == pytest.approx(record.metrics["cd_floor"], rel=0.02)
    assert record.metrics["in_faces"] == record.metrics["out_faces"] == 320
    assert record.metrics["out_watertight"] is True
    assert record.suites == {"paper": "1", "topology": "1", "surface": "1"}
    assert (record.ran_on.slot, record.ran_on.threads) == ("0", 1)
    assert outcome.coding.limit_s is None, "a limit that was not met is no part of a result"
    assert not list((slot.folders.spool.path).iterdir()), "what was measured leaves the spool"


def test_the_same_coding_gives_the_same_values(slot, shapes):
    unit = codings(shapes, "test-exact")["d2"]
    one, two = slot.run(Task(unit, (PAPER,))), slot.run(Task(unit, (PAPER,)))
    assert one.streams == two.streams
    assert one.measurements[0].values == two.measurements[0].values
    assert one.measurements[0].key == two.measurements[0].key


@pytest.mark.parametrize(
    ("rate", "status", "stage", "error"),
    [
        ("enc-raise", "failed", "encode", "ValueError: a bug over two lines"),
        ("dec-raise", "failed", "decode", "ValueError: a bug over two lines"),
        ("dec-corrupt", "failed", "decode", "BitstreamError: bad magic"),
        ("enc-segv", "crashed", "encode", "SIGSEGV"),
        ("dec-segv", "crashed", "decode", "SIGSEGV"),
        ("enc-exit", "crashed", "encode", "exit code 7"),
        ("enc-leave", "crashed", "encode", "SIGSEGV"),
        ("enc-litter", "crashed", "encode", "exit code 7"),
        ("enc-eat", "out-of-memory", "encode", "limit is 900 MiB; to try with more: --memory "),
        ("dec-eat", "out-of-memory", "decode", "limit is 900 MiB"),
        ("enc-nothing", "failed", "encode", "CodecFailed"),
        ("enc-text", "failed", "encode", "returned str, not 1 streams of bytes"),
        ("dec-nothing", "failed", "decode", "NoneType, not trimesh"),
        ("dec-text", "failed", "decode", "str, not trimesh"),
        ("dec-nan", "failed", "measure", "not finite"),
        ("dec-wild", "failed", "measure", "outside 0..2"),
    ],
)
def test_whatever_a_codec_does_there_is_a_record(slot, shapes, rate, status, stage, error):
    (record,) = records(slot.run(Task(codings(shapes, "test-bad")[rate], (PAPER,))))
    assert (record.status, record.stage) == (status, stage), record
    assert error in record.error
    assert not list(slot._scratch.iterdir())
    assert "\n" not in record.error


@pytest.mark.parametrize("rate", ["enc-hang", "dec-hang", "enc-program"])
def test_an_overrun_is_killed_with_its_programs_and_the_next_coding_runs(slot, shapes, rate):
    slot.run(Task(codings(shapes, "test-exact")["d3"]))
    slot.limit = TaskLimits(deadline_s=1.0)
    begin = time.monotonic()
    outcome = slot.run(Task(codings(shapes, "test-bad")[rate], (COUNTS,)))
    assert time.monotonic() - begin < 10
    (record,) = records(outcome)
    assert (record.status, record.stage) == ("timeout", "encode" if rate.startswith("enc") else "decode")
    assert outcome.coding.limit_s == 1.0
    assert "longer than 1 s" in record.error
    programs = [p for p in psutil.process_iter(["cmdline"]) if str(slot._scratch) in " ".join(p.info["cmdline"] or [])]
    _, alive = psutil.wait_procs(programs, timeout=5)  # a killed process takes a moment to end on a loaded machine
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert slot.run(Task(codings(shapes, "test-exact")["d3"])).coding.status == "ok"


def test_a_set_has_a_deadline_for_each_mesh_in_it(shapes):
    (whole,) = codings(shapes, "test-set", limit=None).values()
    bad = PlannedMesh(MeshSource("shapes", "bad", shapes / "bad.ply"), problem="no good")
    limit = TaskLimits(deadline_s=100.0, memory_bytes=1, set_memory_bytes=3)
    assert limit.coding_s(whole) == 200.0
    assert limit.coding_s(replace(whole, meshes=(*whole.meshes, bad))) == 200.0
    assert limit.coding_s(codings(shapes, "test-exact")["d3"]) == 100.0
    assert TaskLimits(deadline_s=None).coding_s(whole) is None
    assert [limit.coding_bytes(kind) for kind in ("model", "set")] == [1, 3]
    assert TaskLimits(memory_bytes=1).coding_bytes("set") == 1


def test_a_full_disk_stops_the_run_instead_of_blaming_the_codec(slot, shapes):
    with pytest.raises(StoreError, match="no disk space"):
        slot.run(Task(codings(shapes, "test-bad")["enc-full"]))


@pytest.mark.parametrize("how", ["changes", "vanishes"])
def test_an_input_that_changes_or_vanishes_during_the_run_stops_it(slot, tmp_path, how):
    folder = tmp_path / "f"
    folder.mkdir()
    trimesh.creation.box().export(folder / "a.ply")
    unit = codings(folder, "test-exact")["d3"]
    (folder / "a.ply").unlink()
    if how == "changes":
        trimesh.creation.box(extents=(1, 2, 3)).export(folder / "a.ply")
    with pytest.raises(StoreError, match=r"a\.ply changed"):
        slot.run(Task(unit))


def test_a_worker_killed_from_outside_gets_another_chance(slot, shapes):
    unit = codings(shapes, "test-exact")["d3"]
    before = slot.run(Task(unit, (COUNTS,)))
    for worker in slot._workers.values():
        psutil.Process(worker.pid).kill()
    after = slot.run(Task(unit, (COUNTS,)))
    assert after.coding.status == "ok"
    assert after.measurements[0].values == before.measurements[0].values


class Dying:
    """A worker whose calls end in deaths, one after the other; then it answers."""

    pid, says = 1, ""

    def __init__(self, *deaths: WorkerDied) -> None:
        self.deaths, self.calls = list(deaths), 0

    def start(self):
        pass

    def call(self, function, argument, limits=CallLimits()):
        if function is stages.prepare:
            return None, 0
        self.calls += 1
        if self.deaths:
            raise self.deaths.pop(0)
        return "answer", 0


OOM, KILLED, FAULT = WorkerDied(-9, out_of_memory=True), WorkerDied(-9), WorkerDied(-11)


@pytest.mark.parametrize(
    ("deaths", "status", "calls"),
    [
        ([OOM, OOM, OOM], "out-of-memory", 2),
        ([OOM], None, 2),
        ([KILLED] * 9, "crashed", 6),
        ([KILLED] * 5, None, 6),
        ([KILLED, OOM, KILLED, OOM, OOM], "out-of-memory", 4),
        ([FAULT], "crashed", 1),
        ([OOM, FAULT], "crashed", 2),
    ],
)
def test_how_often_a_call_is_repeated(slot, monkeypatch, deaths, status, calls):
    worker = Dying(*deaths)
    monkeypatch.setitem(slot._workers, "encode", worker)
    monkeypatch.setattr(slot, "_prepared", set())

    def call():
        return slot._call("encode", "test-exact", stages.load_inputs, None, CallLimits())

    if status is None:
        assert call() == ("answer", 0)
    else:
        with pytest.raises(slots.UnitFailure) as failure:
            call()
        assert (failure.value.status, failure.value.stage) == (status, "encode")
    assert worker.calls == calls


def test_set_codec_shares_bytes_and_skips_bad_meshes(slot, shapes):
    (unit,) = codings(shapes, "test-set", limit=None).values()
    bad = PlannedMesh(MeshSource("shapes", "bad", shapes / "bad.ply"), problem="no good")
    outcome = slot.run(Task(replace(unit, meshes=(bad, *unit.meshes)), (COUNTS,)))
    assert not outcome.measurements, "the meshes of a set are measured as tasks of their own"
    assert len(list(slot.folders.spool.path.iterdir())) == 2
    measured = [m for place in (1, 0) for m in slot.run(again(outcome, place)).measurements]
    by_mesh = {record.mesh: record for record in records(replace(outcome, measurements=tuple(measured)))}
    assert (by_mesh["bad"].status, by_mesh["bad"].error) == ("bad-input", "no good")
    good = [by_mesh["sphere"], by_mesh["torus"]]
    assert sum(r.stream_bytes for r in good) == len(outcome.streams[0])
    assert {r.shared_bytes for r in good} == {12}
    assert {r.set_size for r in good} == {2}
    assert [r.metrics["test_faces_after"] for r in good] == [r.faces for r in good] == [320, 2048]
    assert not list(slot.folders.spool.path.iterdir())


@pytest.mark.parametrize("codec", ["test-set", "test-random-access"])
@pytest.mark.parametrize("spool", ["whole", "tiny", "damaged", "gone"])
def test_a_spool_saves_time_and_changes_no_value(slot, shapes, log, codec, spool):
    (unit,) = codings(shapes, codec, limit=None).values()
    if spool == "tiny":
        slot.folders = replace(slot.folders, spool=Spool(slot.folders.spool.path, max_bytes=10))
    outcome = slot.run(Task(unit))
    files = sorted(slot.folders.spool.path.iterdir())
    assert len(files) == (0 if spool == "tiny" else 2)
    if spool == "damaged":  # each is replaced by the other: whole meshes, of another name
        one, other = (file.read_bytes() for file in files)
        files[0].write_bytes(other)
        files[1].write_bytes(one)
    if spool == "gone":
        for file in files:
            file.unlink()
    values = [slot.run(again(outcome, place)).measurements[0].values for place in (0, 1)]
    assert [v["test_faces_before"] for v in values] == [v["test_faces_after"] for v in values] == [320, 2048]
    decoded = {"test-set": f"decode {codec}", "test-random-access": f"decode-one {codec}"}[codec]
    decodings = len(log(decoded)) - (codec == "test-set")  # the coding itself decoded once
    # Decoded again whole, a set leaves its other meshes in the spool, if there is room; alone, it does not.
    expected = {"whole": 0, "tiny": 2, "damaged": 2, "gone": 2 if codec == "test-random-access" else 1}[spool]
    if (codec, spool) == ("test-set", "damaged"):
        expected = 2  # the other file is there under its name and not trusted either
    assert decodings == expected, log()


@pytest.mark.parametrize("codec", ["test-exact", "test-set"])
def test_another_slot_may_take_the_mesh_away_at_any_time(slot, shapes, monkeypatch, codec):
    call = slot._call

    def taken(stage, *arguments, **more):
        if stage == "measure":
            for file in slot.folders.spool.path.iterdir():
                file.unlink()
        return call(stage, *arguments, **more)

    outcome = slot.run(Task(next(iter(codings(shapes, codec).values()))))
    monkeypatch.setattr(slot, "_call", taken)
    (measured,) = slot.run(again(outcome)).measurements
    assert measured.values["test_faces_after"] == 320


def test_timing_pass_repeats_and_measures_nothing(slot, shapes):
    outcome = slot.run(Task(codings(shapes, "test-exact", timing="a machine")["d3"]))
    (record,) = records(outcome)
    assert record.timing
    assert record.encode.repeats == record.decode.repeats == 5
    assert not record.metrics
    assert not list(slot.folders.spool.path.iterdir())


def test_a_stream_that_does_not_decode_is_kept_with_its_size(slot, shapes):
    outcome = slot.run(Task(codings(shapes, "test-bad")["dec-corrupt"]))
    (record,) = records(outcome)
    assert outcome.streams == (b"corrupt",)
    assert record.stream_bytes == 7
    assert record.encode.wall_s > 0
    assert record.decode is None


@pytest.mark.parametrize(
    ("suite", "status", "error"),
    [
        ("test-raises", "crashed", "IndexError: a bug"),
        ("test-crashes", "crashed", "exit code 3"),
        ("test-hangs", "timeout", "longer than 0.7 s"),
        ("test-infinite", "crashed", "no finite number for test_infinite"),
        ("test-refuses", "bad-input", "BadMesh: not closed"),
    ],
)
def test_a_suite_that_fails_blames_no_codec(slot, shapes, suite, status, error):
    slot.run(Task(codings(shapes, "test-exact")["d3"], (COUNTS,)))  # what is imported once is not measured
    slot.limit = replace(slot.limit, measure_s=0.7)
    outcome = slot.run(Task(codings(shapes, "test-exact")["d3"], (SuiteId(suite, "1"), COUNTS)))
    (record,) = records(outcome)
    assert record.status == "ok"
    assert list(record.unmeasured) == [suite]
    assert record.unmeasured[suite].startswith(f"{status}: ")
    assert error in record.unmeasured[suite]
    assert record.metrics["test_faces_after"] == 320, "the suites after it measure all the same"
    assert outcome.measurements[0].limit_s == (0.7 if status == "timeout" else None)


def test_a_suite_can_blame_the_codec(slot, shapes):
    (record,) = records(slot.run(Task(codings(shapes, "test-exact")["d3"], (COUNTS, SuiteId("test-blames", "1")))))
    assert (record.status, record.stage) == ("failed", "measure")
    assert "no faces left" in record.error
    assert not record.metrics


def test_a_kept_stream_that_does_not_decode_any_more_blames_nobody(slot, shapes):
    outcome = slot.run(Task(codings(shapes, "test-exact")["d3"]))
    task = replace(again(outcome), stream=outcome.streams[0][:-1])
    (measured,) = slot.run(task).measurements
    assert measured.status == "crashed"
    assert "decoding the stored stream again failed: BitstreamError: wrong length" in measured.error


def test_no_memory_is_added_by_a_codec_that_does_nothing(slot, tmp_path):
    """Loading a mesh, copying it, or giving memory back is nothing that a codec did."""
    folder = tmp_path / "big"
    folder.mkdir()
    sphere = trimesh.creation.icosphere(7)  # 327 680 faces
    sphere.export(folder / "big.ply")
    unit = codings(folder, "test-idle")["only"]
    slot._workers["encode"].kill()  # a new one has loaded nothing yet
    encode = slot.run(Task(unit)).coding.encode
    assert encode.wall_s > 0.3
    assert encode.added_bytes < 8 << 20


@pytest.fixture(scope="module")
def own_slot(tmp_path_factory):
    """A slot that a test may stop for good; pinned."""
    root = tmp_path_factory.mktemp("own")
    slot = Slot(Folders(Spool(root / "spool"), root), threads=2, cores=(min(os.sched_getaffinity(0)),), name="7")
    yield slot
    slot.close()
    assert not slot._scratch.exists()


def affinity(_: None) -> list[int]:
    return sorted(os.sched_getaffinity(0))


def test_workers_are_pinned_and_threads_are_recorded(own_slot):
    assert own_slot._call("encode", None, affinity, None, CallLimits())[0] == [min(os.sched_getaffinity(0))]
    ran_on = own_slot._ran_on("cpu")
    assert (ran_on.slot, ran_on.threads, ran_on.gpu) == ("7", 2, "")
    assert ran_on.host
    assert ran_on.cpu


def test_stop_ends_a_call_in_the_middle_and_blames_no_codec(own_slot, shapes):
    unit = codings(shapes, "test-bad")["enc-hang"]
    own_slot._call("encode", "test-bad", stages.load_inputs, own_slot._inputs(unit.usable), CallLimits())
    timer = threading.Timer(0.5, own_slot.stop)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(StoreError, match="stopped"):
        own_slot.run(Task(unit))
    assert 0.4 < time.monotonic() - begin < 10
    assert own_slot.under_way() is None
    timer.join()
