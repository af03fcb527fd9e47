"""A pack says what its run says, in few bytes that repeat; packs of strangers are read or refused, nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import trimesh
import zstandard

from gcbench.bench.analysis.frame import frame
from gcbench.bench.analysis.versions import newest
from gcbench.bench.audit.submission import counting
from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run import machine
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store import Pack, Run, archive, columnar, line_tables, open_results, pack, pack_columns, view
from gcbench.bench.store.safe_files import PACK_MARKER
from gcbench.errors import BitstreamError, StoreError

TRIES = int(os.environ.get("GCBENCH_PACK_TRIES", "30"))
#: What a stranger could write in the place of any value.
WRONG = (
    *(None, True, -1, 0, 1.5, 10**25, 2**63, "", "7", [], {}, [[[]]], {"a": {"b": 1}}, "../../dev/zero", "0" * 64),
    *("\x00", "\x1b]0;title\x07", "a\nb,c", "=1+1", "x" * 50_000, "~", [None] * 5, "\ud800"),
)


def packed(run: Run, folder: Path, **more) -> Pack:
    content = pack_columns.content_of(counting(run), run.measurements(), run.sessions())
    pack.write(folder, content, {"records": len(run.records())}, **{"not_run": {}, "archive": None, **more})
    found = open_results(folder)
    assert isinstance(found, Pack)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run of two meshes and a bad one: model codec, set codec, failures, and a timing pass."""
    folder = tmp_path_factory.mktemp("pack") / "shapes"
    folder.mkdir()
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    trimesh.creation.torus(2, 0.5).export(folder / "ring.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    store = Run(folder.parent / "run")
    rates = ["d1", "d2", "only", "enc-raise", "dec-raise"]
    made = make_plan(str(folder), ["test-exact", "test-set", "test-bad"], rates=rates)
    run_plan(made, store, jobs=1, threads=1)
    run_plan(make_plan(str(folder), "test-exact", rates=["d2"], timing=machine.kind()), store)
    return store


def test_a_pack_has_the_records_of_its_run(run, tmp_path):
    pack = packed(run, tmp_path / "pack")
    theirs, ours = run.records(), pack.records()
    assert {r.status for r in theirs} == {"ok", "failed", "bad-input"}
    assert {r.timing for r in theirs} == {True, False}
    assert len(ours) == len(theirs)
    for r, s in zip(theirs, ours, strict=True):
        same = {"key": "", "ran_on": s.ran_on, "encode": s.encode, "decode": s.decode}
        same |= {"metrics": s.metrics, "measure_s": s.measure_s}
        assert replace(s, **same) == replace(r, **same)
        assert (s.ran_on.threads, s.ran_on.cpu, s.ran_on.host) == (r.ran_on.threads, r.ran_on.cpu, "")
        assert list(s.metrics) == list(r.metrics)
        for name, value in r.metrics.items():
            assert type(s.metrics[name]) is type(value)
            assert s.metrics[name] == pytest.approx(value, rel=5.0e-10), name
        for a, b in ((r.encode, s.encode), (r.decode, s.decode)):
            assert (a is None) == (b is None)
            if a is not None:
                assert b.wall_s == pytest.approx(a.wall_s, rel=5.1e-4)
                assert 0 <= a.added_bytes - b.added_bytes < 1024 or b.added_bytes == 4096
                assert b.repeats == a.repeats


def test_the_tables_of_a_pack_are_its_records(run, tmp_path):
    pack = packed(run, tmp_path / "pack")
    with view.opened(pack) as con:
        rows = columnar.frame(con)
        suites = columnar.counting_suites(con)
    expected = frame(pack.records())
    assert set(rows) == set(expected)
    for name in set(expected) - {"measure_s"}:
        got, wanted = ([None if pd.isna(v) else v for v in of[name].astype(object)] for of in (rows, expected))
        assert got == wanted, name
    for kind, lines in (("coding", "codings.jsonl"), ("measurement", "measurements.jsonl")):
        assert line_tables._USUAL[kind].fullmatch(b"".join(pack.lines(lines))), "such lines are read fast"
    assert suites == {s: frozenset({v}) for r in pack.records() for s, v in r.suites.items()}
    assert len(newest(pack).rows) == len(newest(run).rows)


def test_equal_runs_give_equal_bytes_and_a_pack_is_small(run, tmp_path):
    for name in ("one", "two"):
        packed(run, tmp_path / name)
    for file in (pack.CONTENT, PACK_MARKER):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert {path.name for path in (tmp_path / "one").iterdir()} == {pack.CONTENT, PACK_MARKER}
    text = zstandard.decompress((tmp_path / "one" / pack.CONTENT).read_bytes()).decode()
    assert str(run.path.parent) not in text, "no folder of this machine"
    # A thousand more codings, with bytes that do not compress, take 150 bytes each.
    rng = random.Random(0)
    coding = next(c for c in run.codings() if c.status == "ok" and c.kind == "model" and c.timing is None)
    measured = [m for m in run.measurements() if m.stream == coding.streams[0]]
    codings, measurements = [], []
    for number in range(1000):
        stream, decoded = (hashlib.sha256(rng.randbytes(8)).hexdigest() for _ in range(2))
        mesh = replace(coding.meshes[0], mesh=f"mesh{number % 40}", decoded_sha256=decoded)
        codings.append(replace(coding, rate=f"r{number // 40}", meshes=(mesh,), streams=(stream,)))
        for m in measured:
            values = {
                k: v * (0.5 + rng.random()) if type(v) is float and not k.endswith("_floor") else v
                for k, v in m.values.items()
            }
            measurements.append(replace(m, stream=stream, values=values))
    content = pack_columns.content_of(codings, measurements, [])
    size = pack.write(tmp_path / "large", content, {}, not_run={}, archive=None)
    assert size < 200_000
    assert len(open_results(tmp_path / "large").records()) == 1000


def test_only_what_counts_is_packed_in_the_order_of_the_last_lines(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    store = Run(tmp_path / "run")
    first = next(c for c in store.codings() if c.rate == "d1")
    with store.writing():
        store.keep("again", [replace(first, codec_version="other")])
    pack = packed(store, tmp_path / "pack")
    assert [c.codec_version for c in pack.codings()][-1] == "other"
    assert len(list(pack.codings())) == len(store.counting()) == len(list(store.codings())) - 1
    assert newest(pack).notes == newest(store).notes != ()


def test_paths_of_a_machine_are_cut():
    cut = pack_columns.without_folders
    assert cut("/home/ada/meshes") == "meshes"
    assert cut("--data=/home/ada/meshes,/b/c d ~/x/y.toml") == "--data=meshes,c d y.toml"
    for stays in ("and/or", "https://host/a/b", "set/ama,draco[x=1]", "-d", "", "5 / 7", "a: b/c"):
        assert cut(stays) == stays


def test_a_pack_says_what_did_not_run(run, tmp_path):
    assert packed(run, tmp_path / "pack", not_run={"ni": "needs 9 h"}).not_run == {"ni": "needs 9 h"}
    assert run.not_run == {}


def test_a_folder_with_other_files_is_not_written_to(run, tmp_path):
    with pytest.raises(StoreError, match="is no pack"):
        packed(run, run.path)
    packed(run, tmp_path / "pack")
    packed(run, tmp_path / "pack")  # a pack is replaced


def everything(folder: Path) -> None:
    """Read all that commands read."""
    found = open_results(folder)
    found.records()
    found.sessions()
    assert isinstance(found.not_run, dict)
    if isinstance(found, Pack):
        assert found.archive is None or found.archive.bytes >= 0


def places(value, path=()):
    if isinstance(value, dict):
        for name, one in value.items():
            yield from places(one, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))
        yield from places(value[-1], (*path, len(value) - 1))
    yield path


def with_content(folder: Path, content, *, raw: bytes | None = None) -> None:
    data = zstandard.compress(json.dumps(content).encode()) if raw is None else raw
    (folder / pack.CONTENT).write_bytes(data)
    (folder / PACK_MARKER).write_text(json.dumps({"format": 1, "content_sha256": hashlib.sha256(data).hexdigest()}))


def test_wrong_values_are_left_out_or_refused(run, tmp_path):
    pack = packed(run, tmp_path / "pack")
    good = json.loads(zstandard.decompress((pack.path / "records.json.zst").read_bytes()))
    rng = random.Random(7)
    refused = 0
    for number in range(TRIES):
        content = copy.deepcopy(good)
        *above, last = rng.choice([path for path in places(content) if path])
        inner = content
        for name in above:
            inner = inner[name]
        if rng.random() < 0.2 and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = rng.choice(WRONG)
        with_content(pack.path, content)
        try:
            everything(pack.path)
            if number % 15 == 0:
                newest(open_results(pack.path))
        except StoreError:
            refused += 1
    assert 0 < refused < TRIES


def test_a_wrong_marker_is_refused(run, tmp_path):
    found = packed(run, tmp_path / "pack", archive=pack.Archive("x.zip", "0" * 64, 7))
    assert found.archive == pack.Archive("x.zip", "0" * 64, 7)
    good = json.loads((found.path / PACK_MARKER).read_text())
    for name, value, message in (
        ("format", 2, "update gcbench"),
        ("format", "x", "not a whole number"),
        ("not_run", {"a": 7}, "not_run"),
        ("not_run", [], "not_run"),
        ("streams", {"file": "x"}, "streams"),
        ("streams", 7, "no object"),
        ("content_sha256", "0" * 64, "was changed"),
    ):
        (found.path / PACK_MARKER).write_text(json.dumps(good | {name: value}))
        with pytest.raises(StoreError, match=message):
            everything(found.path)
    for text in (b"", b"[]", b"7", b"[" * 10_000, b"\xff", b'{"a": NaN}', b'{"format": 1, "format": 1}'):
        (found.path / PACK_MARKER).write_bytes(text)
        with pytest.raises(StoreError):
            everything(found.path)


def test_a_wrong_file_is_refused_before_it_takes_memory(run, tmp_path, monkeypatch):
    found = packed(run, tmp_path / "pack")
    good = (found.path / pack.CONTENT).read_bytes()
    bomb = zstandard.compress(b" " * (pack._CONTENT_BYTES + 1))
    assert len(bomb) < 10_000
    for raw in (b"", good[:-9], b"no zstd", bomb, zstandard.compress(b"[1, 2"), zstandard.compress(b"[" * 99_999)):
        with_content(found.path, None, raw=raw)
        with pytest.raises(StoreError):
            everything(found.path)
    with_content(found.path, None, raw=good)
    everything(found.path)
    monkeypatch.setattr(pack_columns, "ROWS", 3)
    with pytest.raises(StoreError, match="at most 3 are possible"):
        everything(found.path)
    monkeypatch.undo()
    monkeypatch.setattr(pack_columns, "LINES_BYTES", 1000)
    with pytest.raises(StoreError, match="MiB of lines"):
        everything(found.path)
    monkeypatch.undo()
    # Many empty objects are no rows.
    many = {f"c{number}": {} for number in range(100_000)}
    content = json.loads(zstandard.decompress(good))
    with_content(found.path, content | {"coded": content["coded"] | many})
    everything(found.path)
    (found.path / pack.CONTENT).unlink()
    with pytest.raises(StoreError, match="is missing"):
        everything(found.path)
    (found.path / pack.CONTENT).symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="link"):
        everything(found.path)


def test_streams_of_a_pack_come_from_an_archive_or_from_its_run(run, tmp_path):
    found = packed(run, tmp_path / "pack")
    coding = next(c for c in found.codings() if c.status == "ok")
    (name,) = coding.streams
    with pytest.raises(StoreError, match="a pack has no streams"):
        found.stream(name)
    names = [name for c in run.codings() for name in c.streams]
    orders = {"0.zip": names, "1.zip": names[::-1]}
    made = [archive.write_archive(tmp_path / file, order, run.stream) for file, order in orders.items()]
    assert made[0] == made[1] == (archive.file_sha256(tmp_path / "0.zip"), (tmp_path / "1.zip").stat().st_size)
    for path in (tmp_path / "0.zip", run.path):
        found.streams = archive.open_streams(path)
        assert found.stream(name, coding.stream_bytes) == run.stream(name)
        with pytest.raises(StoreError, match=name[:12]):
            found.stream(name, coding.stream_bytes - 1)
        with pytest.raises(StoreError, match="no stream"):
            found.stream("0" * 64)


def test_archives_of_strangers(tmp_path):
    stream, other = hashlib.sha256(b"stream").hexdigest(), hashlib.sha256(b"other").hexdigest()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(other, b"0" * 10_000_000, zipfile.ZIP_DEFLATED)
        file.writestr(stream, b"strEam")
        file.writestr("../../escaped", b"x")
    opened = archive.open_streams(path)
    with pytest.raises(StoreError, match="compressed"):
        opened.stream(other)
    with pytest.raises(BitstreamError, match="was changed"):
        opened.stream(stream)
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(100):
        data = bytearray(whole[-400:])
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(whole[:-400] + data)
        for name in (stream, other):
            with pytest.raises((StoreError, BitstreamError)):
                archive.open_streams(path).stream(name, 6)
    for data in (b"", b"no zip", whole[:-9]):
        path.write_bytes(data)
        with pytest.raises(StoreError):
            archive.open_streams(path)
    with pytest.raises(StoreError, match="no archive"):
        archive.open_streams(tmp_path / "none.zip")
