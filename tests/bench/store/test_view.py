"""The columnar view says the same as the lines, whatever happens to either of them."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcbench.bench.analysis.frame import frame
from gcbench.bench.store import columnar, view
from gcbench.bench.store.records import CodedMesh, Coding, Cost, Measurement, RanOn
from gcbench.bench.store.run import Run
from gcbench.bench.store.safe_files import MARKER
from gcbench.errors import StoreError

EXAMPLES = int(os.environ.get("GCBENCH_EXAMPLES", "5"))  # an example takes half a second
LINES = ("codings.jsonl", "measurements.jsonl")
HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def always_on_disk(monkeypatch):
    monkeypatch.setattr(view, "_SMALL_BYTES", 0)


def read(run: Run) -> pd.DataFrame:
    with view.opened(run) as con:
        return columnar.frame(con)


def same(run: Run) -> pd.DataFrame:
    """Assert that the view has the records of the run, in their order, and return them."""
    rows, expected = read(run), frame(run.records())
    assert set(rows) == set(expected)
    for name in expected:
        got, wanted = ([None if pd.isna(v) else v for v in values[name].astype(object)] for values in (rows, expected))
        if name == "measure_s":  # a sum in another order
            assert got == [None if v is None else pytest.approx(v, rel=1e-12) for v in wanted]
        else:
            assert got == wanted, name
    return rows


def coding(**more) -> Coding:
    cost = Cost(0.1 + 0.2, 0.2, 9000, 2)
    values = {
        "key": "k", "session": "s", "dataset": "d", "split": "all", "codec": "c", "codec_version": "1",
        "kind": "model", "rate": "r0", "rate_index": 0, "effort": "quick", "seed": 0, "shared_bytes": 7,
        "meshes": (CodedMesh("m", HASH, 3, 1, 40, 48, 50, mesh_bytes=5, decoded_sha256=HASH),),
        "streams": (HASH,), "encode": cost, "decode": cost, "ran_on": RanOn("host", "3", 2, "cpu"),
    }  # fmt: skip
    return Coding(**(values | more))


def measurement(**more) -> Measurement:
    values = {
        "key": "k", "session": "s", "stream": HASH, "place": 0, "codec": "c", "decoder_version": "1",
        "input": HASH, "suite": "suite", "suite_version": "1", "seed": 0, "values": {"x": 1.5}, "seconds": 0.1,
    }  # fmt: skip
    return Measurement(**(values | more))


def write(folder: Path, codings=(), measurements=(), mode="w") -> Run:
    folder.mkdir(exist_ok=True)
    (folder / MARKER).write_text("{}")
    for name, values in zip(LINES, (codings, measurements), strict=True):
        with (folder / name).open(mode) as file:
            file.writelines(json.dumps(value.to_json()) + "\n" for value in values)
    return Run(folder)


STATUS = st.sampled_from(["ok", "ok", "ok", "failed", "timeout", "bad-input"])
MESH = st.builds(
    CodedMesh, st.sampled_from("abé"), st.sampled_from([HASH, OTHER, ""]), st.sampled_from([0, 3, 7]), faces=st.just(2),
    problem=st.sampled_from([None, None, None, "no faces"]), mesh_bytes=st.sampled_from([None, 0, 100]),
    polygons=st.sampled_from([None, 3]), dropped=st.sampled_from([None, "skin"]), remarks=st.sampled_from([None, "?"]),
    sequence=st.sampled_from([None, "walk"]), frame=st.sampled_from([None, 0, 7]), fps=st.sampled_from([None, 25, 0.5]),
)  # fmt: skip
COST = st.none() | st.builds(
    Cost, st.floats(0, 9), st.just(0.5), st.sampled_from([5, 9000]), st.just(3), st.integers(1, 5),
    st.sampled_from([None, 7]), st.dictionaries(st.sampled_from(["x", "Y", "it's"]), st.floats(0, 1), max_size=2),
)  # fmt: skip
VALUES = st.dictionaries(
    st.sampled_from(["x", "X", "n", "yes", 'a "b".c']), st.floats(-9, 9) | st.integers(0, 9), max_size=3
)


WRONG = (
    *("NaN", "-Infinity", "1e400", "9" * 30, "-1", "01", "-0", "1.0", "1e3", "true", "null", '""', '"7"', "[]", "{}"),
    *(
        '{"a": 1}',
        "[[1]]",
        '"\\u0000"',
        '"\\ud800"',
        '"' + "x" * 20_000 + '"',
        '"../../dev/zero"',
        "2.5",
        "1e999",
        "1.",
    ),
    *('{"a": 1, "a": 2}', '["' + HASH + '"]', "[" * 2000, '{"x": {"y": 1}}', '"\xff"', "'a'", '"a\tb"', "[null]"),
)


def hostile(draw, text: bytes, damage: int) -> bytes:
    """The line with a wrong value, a name twice, a value that is missing, or in other bytes."""
    values = list(re.finditer(rb'"([^"]+)": ("[^"]*"|[-\d.e]+|true|false|\[[^\[\]]*\]|\{[^{}]*\})', text))
    found = draw(st.sampled_from(values))
    if damage < 5:
        return text[: found.start(2)] + draw(st.sampled_from(WRONG)).encode("latin-1") + text[found.end(2) :]
    if damage == 5:
        return text[: found.end()] + b", " + found[0] + text[found.end() :]
    if damage == 6:
        return text[: found.start()] + text[found.end() :].removeprefix(b", ")
    return draw(
        st.sampled_from(
            [b"\xef\xbb\xbf" + text, text[:-1] + b"\r\n", b" " + text, text.replace(b": ", b":"), text[:-1].ljust(4000)
             + b"\n", text.decode().encode("utf-16")[:-2] + b"\n", text.replace(b'"key"', b'"k\\u0065y"')]
        )
    )  # fmt: skip


@st.composite
def lines(draw) -> list[tuple[int, bytes]]:
    """Lines of the two files in the order in which they were written, unreadable ones among them."""
    found = []
    for key in range(draw(st.integers(0, 40))):
        kind = draw(st.sampled_from(["model", "model", "set"]))
        names = draw(st.lists(MESH, min_size=1, max_size=1 if kind == "model" else 3))
        one: Coding | Measurement
        if draw(st.booleans()):
            one = coding(
                key=f"k{key}", kind=kind, meshes=tuple(names), status=draw(STATUS), error=draw(st.none() | st.text()),
                codec=draw(st.sampled_from(["c", "c[k=1]"])), codec_version=draw(st.sampled_from("12")),
                rate=draw(st.sampled_from(["r0", "r1"])), seed=draw(st.integers(0, 1)), encode=draw(COST),
                timing=draw(st.sampled_from([None, None, "here", "there"])), decode=draw(COST),
                shared_bytes=draw(st.sampled_from([None, 7, 7])), dataset=draw(st.sampled_from("dD")),
            )  # fmt: skip
        else:
            one = measurement(
                key=f"m{key}", place=draw(st.integers(0, 2)), input=draw(st.sampled_from([HASH, OTHER])),
                decoder_version=draw(st.sampled_from("12")), suite=draw(st.sampled_from(["s", "t", "S"])),
                status=draw(STATUS), values=draw(VALUES), error=draw(st.none() | st.text()),
                seconds=draw(st.none() | st.floats(0, 9)), seed=draw(st.integers(0, 1)),
            )  # fmt: skip
        text = json.dumps(one.to_json()).encode() + b"\n"
        damage = draw(st.integers(0, 19))
        if damage == 0:
            text = text[: draw(st.integers(0, len(text) - 2))] + b"\n"
        elif damage < 8:
            text = hostile(draw, text, damage)
        found.append((isinstance(one, Measurement), text))
    return found


@pytest.mark.long
@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines(), st.data())
def test_the_view_has_the_records_of_the_run_at_every_moment(tmp_path_factory, made, data):
    """Lines are appended in steps, in which a line may be half written, and the view is read after every step."""
    folder = tmp_path_factory.mktemp("run")
    (folder / MARKER).write_text("{}")
    logging.disable(logging.WARNING)
    try:
        texts = [b"".join(text for of, text in made if of == which) for which in (0, 1)]
        cuts = [sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=2))) for text in texts]
        for step in range(3):
            for name, text, cut in zip(LINES, texts, cuts, strict=True):
                (folder / name).write_bytes(text[: [*cut, len(text)][step]])
            rows = same(Run(folder))
            path = view.path_of(folder)
            assert path is not None
            assert path.exists()
        assert rows.equals(read(Run(folder)))
    finally:
        logging.disable(logging.NOTSET)


def test_stages_come_in_the_order_of_the_first_coding_that_has_them(tmp_path):
    """They came in any order if each was the first of some coding."""
    costs = [Cost(1, 1, 1, 1, stage_s=dict.fromkeys(names, 0.5)) for names in ("dcba", "a", "b", "c", "abcd")]
    run = write(tmp_path, [coding(key=f"k{i}", rate=f"r{i}", encode=cost) for i, cost in enumerate(costs)])
    for _ in range(20):
        path = view.path_of(tmp_path)
        assert path is not None
        path.unlink(missing_ok=True)
        names = [name for name in read(run) if name.startswith("encode_stage_")]
        assert names == [f"encode_stage_{stage}_s" for stage in "dcba"]


def test_text_with_few_values_is_a_category_and_numbers_without_gaps_keep_their_type(tmp_path):
    run = write(tmp_path, [coding(), coding(rate="r1", status="failed", error="?", streams=(), shared_bytes=None)],
                [measurement(values={"n": 3, "yes": True})])  # fmt: skip
    rows = same(run)
    assert rows["rate"].dtype == "category"
    assert list(rows["rate"].cat.categories) == ["r0", "r1"]
    assert rows["seed"].dtype == np.int64
    assert rows["n"].dtype == np.float64
    assert rows["yes"].tolist() == [True, None]
    assert rows["error"].tolist()[1] == "?"


def test_a_column_that_no_suite_knows_is_kept(tmp_path):
    run = write(tmp_path, [coding()], [measurement(suite="of the future", values={"unheard of": 2.5})])
    assert same(run)["unheard of"].tolist() == [2.5]


def test_half_of_a_surrogate_pair_is_no_text(tmp_path, caplog):
    """No writer of gcbench makes one: names of files that are no text are escaped."""
    odd = CodedMesh("m\udcff", HASH, 3, 1, 40, 48, 50, mesh_bytes=5)
    run = write(tmp_path, [coding(), coding(rate="r1", meshes=(odd,)), coding(rate="r2")])
    assert [*same(run)["mesh"]] == ["m", "m"]
    assert "half of a surrogate pair" in caplog.text


def test_unreadable_lines_are_left_out_and_said(tmp_path, caplog):
    run = write(tmp_path, [coding(), coding(rate="r1"), coding(rate="r2")], [measurement()])
    texts = (tmp_path / LINES[0]).read_text().splitlines()
    lost = json.loads(texts[1])
    del lost["rate"]
    (tmp_path / LINES[0]).write_text("\n".join([texts[0], json.dumps(lost), texts[2], "", "{", "[]", texts[0]]) + "\n")
    assert [*same(run)["rate"]] == ["r0", "r2"]
    caplog.clear()
    view.path_of(tmp_path).unlink()
    read(run)
    said = sorted({record.getMessage().split("line ")[1].split()[0] for record in caplog.records})
    assert said == ["2", "4", "5", "6"]


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5"))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1].rpartition(b"\n")[0] + b"\n")


def replace(path: Path) -> None:
    path.write_text(json.dumps(measurement(values={"y": 0.5}).to_json()) + "\n")


@pytest.mark.parametrize("change", [edit, shorten, replace, Path.unlink])
@pytest.mark.parametrize("same_times", [False, True])
def test_changed_lines_make_the_view_again(tmp_path, caplog, change, same_times):
    values = [measurement(), measurement(key="m2", suite="t", values={"z": 1.5})]
    run = write(tmp_path, [coding()], values)
    before = read(run)
    path, times = tmp_path / LINES[1], (tmp_path / LINES[1]).stat()
    change(path)
    if same_times and path.exists():
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = same(run)
    assert not after.equals(before)
    assert [record.getMessage() for record in caplog.records if "made again" in record.getMessage()]


def test_only_new_lines_are_parsed(tmp_path, monkeypatch):
    run = write(tmp_path, [coding()], [measurement()])
    read(run)
    parsed = []
    for name, reader in view._READERS.items():
        monkeypatch.setitem(view._READERS, name, lambda con, lines, first, where, of=reader: (
            parsed.append((lines.count(b"\n"), first)), of(con, lines, first, where)))  # fmt: skip
    write(tmp_path, [coding(rate="r1"), coding(rate="r2")], [], mode="a")
    assert len(same(run)) == 3
    assert parsed == [(2, 2)]


def test_files_that_have_not_changed_are_not_read(tmp_path, monkeypatch):
    run = write(tmp_path, [coding()], [measurement()])
    for name in LINES:
        os.utime(tmp_path / name, (1e9, 1e9))
    monkeypatch.setattr(view, "_TICK_S", -1.0)
    before = read(run)
    monkeypatch.setattr(view, "_digest", None)
    assert read(run).equals(before)


@pytest.mark.parametrize("damage", ["half", "foreign", "empty", "version", "tables"])
def test_a_damaged_or_foreign_view_is_made_again_with_one_line(tmp_path, caplog, monkeypatch, damage):
    run = write(tmp_path, [coding()], [measurement()])
    before, path = read(run), view.path_of(tmp_path)
    if damage == "version":
        monkeypatch.setattr(view, "_version", lambda: "2")
    elif damage == "tables":
        path.unlink()
        import duckdb

        duckdb.connect(path).execute("CREATE TABLE mine (x INTEGER)")
    else:
        whole = path.read_bytes()
        path.write_bytes({"half": whole[: len(whole) // 2], "foreign": b"mine" * 9999, "empty": b""}[damage])
    caplog.clear()
    assert read(run).equals(before)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    caplog.clear()
    assert read(run).equals(before)
    assert not caplog.records
    assert not list(tmp_path.glob("*.partial*"))


def test_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    run = write(tmp_path / "run", [coding()], [measurement()])
    monkeypatch.setattr(Path, "open", _read_only(Path.open, tmp_path / "run"))
    assert len(same(run)) == 1
    assert not (view.path_of(tmp_path / "run")).exists()


def _read_only(real, folder):
    def open_(path, mode="r", *args, **kwargs):
        if path.parent == folder and mode[0] in "wxa":
            raise PermissionError(30, "Read-only file system")
        return real(path, mode, *args, **kwargs)

    return open_


def test_readers_at_once_do_no_harm(tmp_path):
    """Threads that read, and one that deletes the view again and again."""
    run = write(tmp_path, [coding(rate=f"r{i}") for i in range(20)], [measurement()])
    failed: list[BaseException] = []

    def go() -> None:
        try:
            for _ in range(5):
                assert len(read(run)) == 20
                view.path_of(tmp_path).unlink(missing_ok=True)
        except BaseException as error:  # noqa: BLE001  # shown below
            failed.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(same(run)) == 20


def test_a_copied_run_has_a_right_view(tmp_path):
    run = write(tmp_path / "a", [coding()], [measurement()])
    read(run)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert len(same(Run(tmp_path / "b"))) == 1


def test_a_run_of_a_newer_gcbench_is_refused_and_stays_as_it_is(tmp_path):
    run = write(tmp_path, [coding()], [measurement()])
    (tmp_path / MARKER).write_text('{"gcbench": "9.0", "format": 99}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for use in (lambda: read(run), run.writing):
        with pytest.raises(StoreError, match=r"by gcbench 9.0 in format 99, .* knows format 1: update gcbench") as info:
            use()
        assert "\n" not in str(info.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "lock"} == before


def test_a_run_without_lines_has_an_empty_frame(tmp_path):
    rows = read(write(tmp_path))
    assert rows.empty
    assert {"dataset", "status", "stream_bytes", "encode_s"} <= set(rows)
