from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench.store.records import Cost, Record
from gcbench.bench.store.run import Run, _cut_torn_line
from gcbench.errors import BitstreamError, StoreError


def record(mesh="m", rate_index=0, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": "c", "kind": "model", "rate": f"r{rate_index}",
        "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
    }  # fmt: skip
    return Record(**(values | more))


def test_what_is_appended_is_read_back(tmp_path):
    full = record(
        encode=Cost(0.1, 0.2, 3, 2), decode=Cost(0.3, 0.4, 5, 4, 5), metrics={"cd": 1e-3}, facts={"in_faces": 12},
        stream_bytes=7.5, error=None,
    )  # fmt: skip
    with Run(tmp_path / "run").writing() as run:
        run.append("k1", "s", [full], [b"stream"])
    run = Run(tmp_path / "run")
    assert run.records() == [full]
    assert run.stream(hashlib.sha256(b"stream").hexdigest()) == b"stream"
    row = full.flat()
    assert row["encode_s"] == 0.1
    assert row["decode_repeats"] == 5
    assert row["cd"] == 1e-3
    assert row["in_faces"] == 12


def test_stages_of_a_call_are_kept_and_records_without_them_are_read():
    coded = record(encode=Cost(1.0, 1.0, 3, 2, stage_s={"sampling": 0.25}), decode=Cost(1.0, 1.0, 3, 2))
    data = json.loads(json.dumps(coded.to_json()))
    assert data["encode"]["stage_s"] == {"sampling": 0.25}
    assert "stage_s" not in data["decode"]  # as in every record written before there were stages
    assert Record.from_json(data) == coded
    assert coded.flat()["encode_stage_sampling_s"] == 0.25
    assert not [name for name in coded.flat() if name.startswith("decode_stage")]


def test_last_record_of_an_address_counts_and_order_of_finishing_does_not(tmp_path):
    with Run(tmp_path / "a").writing() as a:
        a.append("old", "s", [record("x", status="failed")])
        a.append("k2", "s", [record("y")])
        a.append("k1", "s", [record("x")])
    with Run(tmp_path / "b").writing() as b:
        b.append("k1", "s", [record("x")])
        b.append("k2", "s", [record("y")])
    assert Run(tmp_path / "a").records() == Run(tmp_path / "b").records()


@pytest.mark.parametrize("torn", [b'{"key": "k2", "sess', b"\x00" * 100, b"{}", b'{"key": 1}' * 10_000])
def test_torn_last_line_is_cut_off_and_the_rest_is_kept(tmp_path, torn, caplog):
    with Run(tmp_path).writing() as run:
        run.append("k1", "s", [record()])
    before = (tmp_path / "records.jsonl").read_bytes()
    (tmp_path / "records.jsonl").write_bytes(before + torn)
    assert [c.key for c in Run(tmp_path).cells()] == ["k1"]  # readers skip it too
    with Run(tmp_path).writing() as run:
        assert (tmp_path / "records.jsonl").read_bytes() == before
        run.append("k2", "s", [record("n")])
    assert "torn line" in caplog.text
    assert [c.key for c in Run(tmp_path).cells()] == ["k1", "k2"]


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


def test_a_ruined_line_in_the_middle_costs_only_itself(tmp_path):
    with Run(tmp_path).writing() as run:
        for key in "abc":
            run.append(key, "s", [record(key)])
    lines = (tmp_path / "records.jsonl").read_bytes().splitlines(keepends=True)
    lines[1] = b"\xff\xfe rubbish\n"
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines))
    assert [c.key for c in Run(tmp_path).cells()] == ["a", "c"]


def test_a_second_writer_is_refused_and_told_who_holds_the_run(tmp_path):
    with Run(tmp_path).writing(), pytest.raises(StoreError, match=f"process {os.getpid()}"):
        Run(tmp_path).writing()
    with Run(tmp_path).writing():
        pass


def test_a_changed_or_lost_stream_is_found(tmp_path):
    sha = hashlib.sha256(b"stream").hexdigest()
    with Run(tmp_path).writing() as run:
        run.append("k", "s", [record()], [b"stream"])
    path = tmp_path / "streams" / sha[:2] / sha
    path.write_bytes(b"Stream")
    with pytest.raises(BitstreamError, match="changed"):
        Run(tmp_path).stream(sha)
    path.unlink()
    with pytest.raises(StoreError, match="no stream"):
        Run(tmp_path).stream(sha)


def test_a_torn_stream_is_written_again(tmp_path):
    sha = hashlib.sha256(b"stream").hexdigest()
    path = tmp_path / "streams" / sha[:2] / sha
    path.parent.mkdir(parents=True)
    path.write_bytes(b"str")
    with Run(tmp_path).writing() as run:
        run.append("k", "s", [record()], [b"stream"])
    assert Run(tmp_path).stream(sha) == b"stream"


def test_a_full_disk_is_a_clear_error_and_leaves_whole_lines(tmp_path, monkeypatch):
    real_write = os.write

    def short_write(fd, data):
        if os.fstat(fd).st_size < len(before) + 50:  # a nearly full disk takes a part first
            return real_write(fd, data[:50])
        raise OSError(28, "No space left on device")

    with Run(tmp_path).writing() as run:
        run.append("k1", "s", [record()])
        before = (tmp_path / "records.jsonl").read_bytes()
        monkeypatch.setattr(os, "write", short_write)
        with pytest.raises(StoreError, match="No space left"):
            run.append("k2", "s", [record("n")])
        monkeypatch.undo()
        assert (tmp_path / "records.jsonl").read_bytes() == before
        run.append("k2", "s", [record("n")])
    assert [c.key for c in Run(tmp_path).cells()] == ["k1", "k2"]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Run(tmp_path / "file" / "run").writing()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_store import record
from gcbench.bench.store.run import Run
with Run(Path(sys.argv[1])).writing() as run:
    known = {c.key for c in run.cells()}
    print("ready", flush=True)
    for i in range(100_000):
        if str(i) not in known:
            run.append(str(i), "s", [record(str(i))] * 20, [str(i).encode() * 500])
"""


def test_survives_kill_9_at_any_moment(tmp_path, request):
    """Killed ten times while it writes as fast as it can: every kept line is whole, in order, and has its stream."""
    kept = 0
    for turn in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(request.path.parent)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.01 + 0.013 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait()
        keys = [c.key for c in Run(tmp_path).cells()]
        assert keys == [str(i) for i in range(len(keys))]
        assert len(keys) >= kept
        kept = len(keys)
    assert kept > 10
    for key in keys:
        assert Run(tmp_path).stream(hashlib.sha256(key.encode() * 500).hexdigest()) == key.encode() * 500


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
    def stream(name: bytes) -> dict[str, str]:
        return {"stream_sha256": hashlib.sha256(name).hexdigest()}

    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        a.note("sa", machine="a")
        b.note("sb", machine="b")
        a.append("k1", "sa", [record(**stream(b"one"))], [b"one"])
        b.append("k1", "sb", [record(**stream(b"one"))], [b"one"])
        b.append("k2", "sb", [record("n", **stream(b"set")), record("o", **stream(b"set"))], [b"set"])
        b.append("k3", "sb", [record("p", status="failed")])
        assert a.adopt(b) == 2
        assert a.adopt(b) == 0
    assert [r.mesh for r in a.records()] == ["m", "n", "o", "p"]
    assert a.stream(hashlib.sha256(b"set").hexdigest()) == b"set"
    assert [s["machine"] for s in a.sessions()] == ["a", "b"]
    assert [cell.session for cell in a.cells()] == ["sa", "sb", "sb"]


def test_a_lost_stream_is_not_adopted_as_if_it_were_there(tmp_path):
    lost = hashlib.sha256(b"lost").hexdigest()
    with Run(tmp_path / "a").writing() as a, Run(tmp_path / "b").writing() as b:
        b.append("k1", "sb", [record()])
        b.append("k2", "sb", [record("n", stream_sha256=lost)])
        with pytest.raises(StoreError, match="no stream"):
            a.adopt(b)
        assert [cell.key for cell in a.cells()] == ["k1"]


def test_records_of_a_newer_version_are_readable(tmp_path):
    data = record().to_json() | {"invented_later": 1}
    assert Record.from_json(json.loads(json.dumps(data))) == record()
