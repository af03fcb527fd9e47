"""A run on disk: nothing is lost, torn or there twice, whatever happens while it is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn
from gcbench.bench.store.run import Run, _cut_torn_line
from gcbench.errors import BitstreamError, StoreError

FILES = ("codings.jsonl", "measurements.jsonl")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def coding(key: str, *meshes: str, stream: bytes | None = None, **more) -> Coding:
    """A coding of meshes m or of others; with a stream, of which each mesh has its share."""
    names = meshes or ("m",)
    coded = tuple(
        CodedMesh(name, sha(name.encode()), 3, 1, 40, 48, 50, mesh_bytes=None if stream is None else 2)
        for name in names
    )
    values = {
        "key": key, "session": "s", "dataset": "d", "split": "all", "codec": "c", "codec_version": "1",
        "kind": "model" if len(names) == 1 else "set", "rate": "r0", "rate_index": 0, "effort": "quick", "seed": 0,
        "meshes": coded, "streams": () if stream is None else (sha(stream),),
        "shared_bytes": None if stream is None else len(stream) - 2 * len(names),
    }  # fmt: skip
    return Coding(**(values | more))


def measurement(key: str, stream: bytes = b"stream", mesh: str = "m", **more) -> Measurement:
    values = {
        "key": key, "session": "s", "stream": sha(stream), "place": 0, "codec": "c", "decoder_version": "1",
        "input": sha(mesh.encode()), "suite": "suite", "suite_version": "1", "seed": 0, "values": {"x": 1.5},
    }  # fmt: skip
    return Measurement(**(values | more))


def keys(run: Run) -> list[str]:
    return [c.key for c in run.codings()]


def test_what_is_kept_is_read_back(tmp_path):
    full = coding(
        "k1", "m", stream=b"stream", encode=Cost(0.1, 0.2, 3, 2), decode=Cost(0.3, 0.4, 5, 4, 5, 7, {"part": 0.25}),
        ran_on=RanOn("host", "3", 2, "cpu", "gpu"), limit_s=9.0, decoder_bytes=11, timing=None,
    )  # fmt: skip
    measured = measurement("m1", values={"x": 1.5, "yes": True, "n": 3}, seconds=0.5)
    with Run(tmp_path / "run").writing() as run:
        run.keep("s", [full], [b"stream"], [measured])
    run = Run(tmp_path / "run")
    assert list(run.codings()) == [full]
    assert list(run.measurements()) == [measured]
    assert run.stream(sha(b"stream")) == b"stream"
    (record,) = run.records()
    assert (record.mesh, record.status, record.stream_bytes, record.bits_per_vertex) == ("m", "ok", 6.0, 16.0)
    assert record.metrics == {"x": 1.5, "yes": True, "n": 3}
    assert record.suites == {"suite": "1"}
    row = record.flat()
    assert (row["encode_s"], row["decode_repeats"], row["decode_gpu_bytes"], row["decode_stage_part_s"]) == (
        *(0.1, 5, 7),
        0.25,
    )
    assert (row["x"], row["host"], row["threads"], row["unmeasured"]) == (1.5, "host", 2, None)


def test_a_record_joins_a_coding_with_the_measurements_of_its_own_stream_only(tmp_path):
    """Another stream, place, input, seed, codec or version is another thing."""
    others = [
        {"stream": b"other"}, {"place": 1}, {"input": sha(b"other")}, {"seed": 1}, {"codec": "other"},
        {"decoder_version": "2"},
    ]  # fmt: skip
    foreign = [measurement(f"o{i}", values={"x": 0.0}, **change) for i, change in enumerate(others)]
    with Run(tmp_path).writing() as run:
        run.keep("s", [coding("k", stream=b"stream", codec="c[k=64]")], [b"stream"], foreign)
        assert [r.metrics for r in run.records()] == [{}]
        run.keep("s", measurements=[measurement("m")])
        assert [r.metrics for r in run.records()] == [{"x": 1.5}]


def test_records_of_a_set_add_up_and_have_values_by_place(tmp_path):
    whole = coding("k", "a", "b", "c", stream=b"0123456789")
    bad = dataclasses.replace(whole.meshes[1], problem="no faces", mesh_bytes=None)
    whole = dataclasses.replace(whole, meshes=(whole.meshes[0], bad, whole.meshes[2]), shared_bytes=6)
    values = [measurement(f"m{place}", b"0123456789", mesh, place=place, values={"x": float(place)})
              for place, mesh in enumerate("ac")]  # fmt: skip
    with Run(tmp_path).writing() as run:
        run.keep("s", [whole], [b"0123456789"], values)
    by_mesh = {r.mesh: r for r in Run(tmp_path).records()}
    assert (by_mesh["b"].status, by_mesh["b"].error) == ("bad-input", "no faces")
    assert [(by_mesh[m].stream_place, by_mesh[m].metrics["x"]) for m in "ac"] == [(0, 0.0), (1, 1.0)]
    assert sum(by_mesh[m].stream_bytes for m in "ac") == 10
    assert {by_mesh[m].set_size for m in "ac"} == {2}


def test_whose_fault_a_missing_value_is(tmp_path):
    """A mesh that cannot be measured is the codec's failure; a suite that crashes is nobody's."""
    with Run(tmp_path).writing() as run:
        crashed = measurement("m1", suite="bad", status="crashed", error="a bug", values={})
        run.keep("s", [coding("k", stream=b"stream")], [b"stream"], [measurement("m0"), crashed])
        (record,) = run.records()
        assert (record.status, record.metrics, record.unmeasured) == ("ok", {"x": 1.5}, {"bad": "crashed: a bug"})
        assert record.flat()["unmeasured"] == "bad: crashed: a bug"
        run.keep("s", measurements=[measurement("m2", suite="strict", status="failed", error="no area", values={})])
        (record,) = run.records()
        assert (record.status, record.stage, record.error, record.metrics) == ("failed", "measure", "no area", {})


def test_the_last_coding_of_a_name_counts_and_the_order_of_finishing_does_not(tmp_path):
    with Run(tmp_path / "a").writing() as a:
        a.keep("s", [coding("old", "x", status="failed"), coding("k2", "y"), coding("k1", "x")])
    with Run(tmp_path / "b").writing() as b:
        b.keep("s", [coding("k1", "x"), coding("k2", "y")])
    assert Run(tmp_path / "a").records() == Run(tmp_path / "b").records()


def test_the_last_measurement_of_a_suite_counts(tmp_path):
    with Run(tmp_path).writing() as run:
        run.keep("s", [coding("k", stream=b"stream")], [b"stream"], [measurement("m1")])
        run.keep("s", measurements=[measurement("m2", suite_version="2", values={"y": 2.0})])
        (record,) = run.records()
        assert (record.metrics, record.suites) == ({"y": 2.0}, {"suite": "2"})


def test_a_timing_pass_has_no_values(tmp_path):
    with Run(tmp_path).writing() as run:
        run.keep("s", [coding("k", stream=b"stream", timing="machine")], [b"stream"], [measurement("m1")])
    (record,) = Run(tmp_path).records()
    assert (record.timing, record.metrics, record.stream_bytes) == (True, {}, 6.0)


def test_empty_fields_are_not_written_and_stages_are(tmp_path):
    coded = coding("k", encode=Cost(1.0, 1.0, 3, 2, stage_s={"sampling": 0.25}), decode=Cost(1.0, 1.0, 3, 2))
    data = json.loads(json.dumps(coded.to_json()))
    assert data["encode"]["stage_s"] == {"sampling": 0.25}
    assert not {"stage_s", "gpu_bytes"} & set(data["decode"])
    assert not {"error", "stage", "timing", "streams"} & set(data)
    assert Coding.from_json(data) == coded


def write_one(path: Path) -> dict[str, bytes]:
    with Run(path).writing() as run:
        run.keep("s", [coding("k1")], (), [measurement("m1")])
    return {name: (path / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("torn", [b'{"key": "k2", "sess', b"\x00" * 100, b"{}", b'{"key": 1}' * 10_000])
def test_torn_last_line_is_cut_off_and_the_rest_is_kept(tmp_path, name, torn, caplog):
    before = write_one(tmp_path)
    (tmp_path / name).write_bytes(before[name] + torn)
    assert keys(Run(tmp_path)) == ["k1"]  # readers skip it too
    assert [m.key for m in Run(tmp_path).measurements()] == ["m1"]
    with Run(tmp_path).writing() as run:
        assert (tmp_path / name).read_bytes() == before[name]
        run.keep("s", [coding("k2", "n")], (), [measurement("m2")])
    assert f"{name} ends in an incomplete line" in caplog.text
    assert keys(Run(tmp_path)) == ["k1", "k2"]
    assert [m.key for m in Run(tmp_path).measurements()] == ["m1", "m2"]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=5), tail=st.binary(max_size=99)
)
def test_cutting_keeps_exactly_the_whole_lines(tmp_path_factory, lines, tail):
    path = tmp_path_factory.mktemp("cut") / "f"
    whole = b"".join(line + b"\n" for line in lines)
    path.write_bytes(whole + tail)
    _cut_torn_line(path)
    assert path.read_bytes() == (whole + tail)[: (whole + tail).rfind(b"\n") + 1]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ruin", [b"\xff\xfe rubbish\n", b"[]\n", b"7\n", b'{"key": "b"}\n'])
def test_a_ruined_line_in_the_middle_costs_only_itself(tmp_path, name, ruin):
    with Run(tmp_path).writing() as run:
        for key in "abc":
            run.keep("s", [coding(key, key)], (), [measurement(key)])
    lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
    lines[1] = ruin
    (tmp_path / name).write_bytes(b"".join(lines))
    here = {"codings.jsonl": Run(tmp_path).codings(), "measurements.jsonl": Run(tmp_path).measurements()}[name]
    assert [one.key for one in here] == ["a", "c"]


def test_a_second_writer_is_refused_and_told_who_holds_the_run(tmp_path):
    with Run(tmp_path).writing(), pytest.raises(StoreError, match=f"process {os.getpid()}"):
        Run(tmp_path).writing()
    with Run(tmp_path).writing():
        pass


def test_a_changed_or_lost_stream_is_found(tmp_path):
    name = sha(b"stream")
    with Run(tmp_path).writing() as run:
        run.keep("s", [coding("k")], [b"stream"])
    path = tmp_path / "streams" / name[:2] / name
    path.write_bytes(b"Stream")
    with pytest.raises(BitstreamError, match="changed"):
        Run(tmp_path).stream(name)
    path.unlink()
    with pytest.raises(StoreError, match="no stream"):
        Run(tmp_path).stream(name)


def test_a_torn_stream_is_written_again(tmp_path):
    name = sha(b"stream")
    path = tmp_path / "streams" / name[:2] / name
    with Run(tmp_path).writing() as run:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"str")
        run.keep("s", [coding("k")], [b"stream"])
    assert Run(tmp_path).stream(name) == b"stream"


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_is_a_clear_error_and_leaves_whole_lines(tmp_path, monkeypatch, name):
    before = write_one(tmp_path)
    real_write = os.write
    file = (tmp_path / name).stat()

    def short_write(fd, data):
        if os.fstat(fd).st_ino != file.st_ino:
            return real_write(fd, data)
        if os.fstat(fd).st_size < file.st_size + 50:  # a nearly full disk takes a part first
            return real_write(fd, data[:50])
        raise OSError(28, "No space left on device")

    with Run(tmp_path).writing() as run:
        monkeypatch.setattr(os, "write", short_write)
        with pytest.raises(StoreError, match="No space left"):
            run.keep("s", [coding("k2", "n")], (), [measurement("m2")])
        monkeypatch.undo()
        assert (tmp_path / name).read_bytes() == before[name]
        # Where the disk was full after the coding, the coding is kept: it needs to be measured only.
        assert keys(run) == (["k1"] if name == "codings.jsonl" else ["k1", "k2"])
        run.keep("s", [coding("k3", "o")], (), [measurement("m3")])
    assert [m.key for m in Run(tmp_path).measurements()] == ["m1", "m3"]


def test_a_stream_is_on_disk_with_its_folder_before_a_line_names_it(tmp_path, monkeypatch):
    """The order of what reaches the disk: bytes, name, folder, folder of the folder; then the line."""
    did: list[str] = []
    real_fsync, real_replace, real_write = os.fsync, Path.replace, os.write

    def name_of(fd: int) -> str:
        return Path(f"/proc/self/fd/{fd}").readlink().relative_to(tmp_path).as_posix()

    def fsync(fd):
        did.append(f"sync {name_of(fd)}")
        real_fsync(fd)

    def replace(self, target):
        did.append(f"rename {Path(target).relative_to(tmp_path).as_posix()}")
        return real_replace(self, target)

    def write(fd, data):
        did.append(f"write {name_of(fd)}")
        return real_write(fd, data)

    name = sha(b"stream")
    folder = f"streams/{name[:2]}"
    with Run(tmp_path).writing() as run:
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(os, "write", write)
        run.keep("s", [coding("k", stream=b"stream")], [b"stream"], [measurement("m")])
        monkeypatch.undo()
    assert did[0].startswith(f"write {folder}/{name}.")
    assert did[1].startswith(f"sync {folder}/{name}.")
    assert did[2:] == [
        f"rename {folder}/{name}",
        f"sync {folder}",
        "sync streams",
        "sync .",
        "write codings.jsonl",
        "sync codings.jsonl",
        "write measurements.jsonl",
        "sync measurements.jsonl",
    ]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Run(tmp_path / "file" / "run").writing()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_run import coding, keys, measurement
from gcbench.bench.store.run import Run
with Run(Path(sys.argv[1])).writing() as run:
    known = set(keys(run))
    print("ready", flush=True)
    for i in range(100_000):
        if str(i) not in known:
            stream = str(i).encode() * 500
            one = coding(str(i), *(f"{i} {j}" for j in range(20)), stream=stream)
            run.keep("s", [one], [stream], [measurement(str(i), stream)] * 2)
"""


def test_survives_kill_9_at_any_moment(tmp_path, request):
    """Killed again and again while it writes: every kept line is whole, in order, and has its stream."""
    kept: list[str] = []
    for turn in range(16):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(request.path.parent)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.01 + 0.03 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before, kept = kept, keys(Run(tmp_path))
        assert kept == [str(i) for i in range(len(kept))]
        assert len(kept) >= len(before)
        # The measurements come after the coding in one keep(): of the last one they may be missing.
        measured = {m.key for m in Run(tmp_path).measurements()}
        assert measured <= set(kept)
        if turn >= 3 and len(kept) > 10:
            break
    assert len(kept) > 10
    for coded in Run(tmp_path).codings():
        assert Run(tmp_path).stream(coded.streams[0]) == coded.key.encode() * 500


def test_sessions_are_merged_and_unfinished_ones_show(tmp_path):
    with Run(tmp_path).writing() as run:
        run.note("one", started="t0")
        run.note("two", started="t1")
        run.note("one", finished="t2")
    assert Run(tmp_path).sessions() == [
        {"session": "one", "started": "t0", "finished": "t2"},
        {"session": "two", "started": "t1"},
    ]


def test_a_run_adopts_what_it_lacks(tmp_path):
    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        a.note("sa", machine="a")
        b.note("sb", machine="b")
        a.keep("sa", [coding("k1", stream=b"one")], [b"one"], [measurement("m1", b"one")])
        b.keep("sb", [coding("k1", stream=b"one")], [b"one"], [measurement("m1", b"one"), measurement("m2", b"one")])
        b.keep("sb", [coding("k2", "n", "o", stream=b"a set")], [b"a set"], [measurement("m3", b"a set", "n")])
        b.keep("sb", [coding("k3", "p", status="failed")])
        assert a.adopt(b) == 2
        assert a.adopt(b) == 0
    assert [r.mesh for r in a.records()] == ["m", "n", "o", "p"]
    assert a.stream(sha(b"a set")) == b"a set"
    assert [s["machine"] for s in a.sessions()] == ["a", "b"]
    assert [c.session for c in a.codings()] == ["sa", "sb", "sb"]
    assert [(m.key, m.session) for m in a.measurements()] == [("m1", "sa"), ("m2", "sb"), ("m3", "sb")]


def test_times_of_two_machines_are_both_kept_and_nothing_twice(tmp_path):
    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        a.keep("sa", [coding("ka", stream=b"one", timing="machine a")], [b"one"])
        b.keep("sb", [coding("kb", stream=b"one", timing="machine b"), coding("k", stream=b"one")], [b"one"])
        assert a.adopt(b) == 2
        assert a.adopt(b) == 0
    assert sorted(c.timing or "" for c in a.counting()) == ["", "machine a", "machine b"]
    assert sum(r.timing for r in a.records()) == 2


def test_the_same_mesh_under_another_name_is_adopted_too(tmp_path):
    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        a.keep("s", [coding("k", stream=b"one")], [b"one"])
        b.keep("s", [coding("k", stream=b"one", dataset="other"), coding("k", "x", stream=b"one")], [b"one"])
        assert a.adopt(b) == 2
    assert [(r.dataset, r.mesh) for r in a.records()] == [("d", "m"), ("d", "x"), ("other", "m")]


def test_what_counted_in_the_other_run_counts_after_it_was_adopted(tmp_path):
    """There, an older version was run again after a newer one: kept again, it is the last."""
    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        for key, version in (("k1", "1"), ("k2", "2"), ("k1", "1")):
            measured = measurement(f"m{version}", suite_version=version, values={"x": float(version)})
            b.keep("s", [coding(key, stream=b"stream", codec_version="1", rate_index=int(version))], [b"stream"],
                   [measured])  # fmt: skip
        assert [(r.key, r.suites) for r in b.records()] == [("k1", {"suite": "1"})]
        assert a.adopt(b) == 2
        assert a.records() == b.records()


def test_a_lost_stream_is_not_adopted_as_if_it_were_there(tmp_path):
    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        b.keep("s", [coding("k1")])
        b.keep("s", [coding("k2", "n", stream=b"lost")])
        with pytest.raises(StoreError, match="no stream"):
            a.adopt(b)
        assert keys(a) == ["k1"]


def test_lines_of_a_newer_version_are_readable():
    coded = coding("k", encode=Cost(1.0, 1.0, 3, 2), ran_on=RanOn("host"))
    data = json.loads(json.dumps(coded.to_json())) | {"invented_later": 1}
    for part in (data["meshes"][0], data["encode"], data["ran_on"]):
        part["invented_later"] = [1]
    assert Coding.from_json(data) == coded
    assert Measurement.from_json(measurement("m").to_json() | {"invented_later": 1}) == measurement("m")
