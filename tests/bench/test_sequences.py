"""Bits per frame: in the rate-distortion table, and for each sequence."""

from __future__ import annotations

import pytest

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.tables.rate_distortion import rate_distortion
from gcbench.bench.analysis.tables.sequences import sequences
from gcbench.bench.store.records import Record
from gcbench.bench.tabular import render


def record(mesh: str, size: float, motion: tuple[str, int, float | None] | None = None, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": "c", "kind": "model", "rate": "r", "rate_index": 0,
        "effort": "quick", "seed": 0, "timing": False, "status": "ok", "obj_bytes": 10_000, "stream_bytes": size,
    }  # fmt: skip
    if motion is not None:
        values |= dict(zip(("sequence", "frame", "fps"), motion, strict=True))
    return Record(**(values | more))


def frames(*sizes: float, name: str = "walk", first: int = 0, fps: float | None = 30.0, **more) -> list[Record]:
    return [record(f"{name}/{i}", size, (name, first + i, fps), **more) for i, size in enumerate(sizes)]


def column(tables, label: str) -> list[str]:
    (table,) = tables
    return [row[table.heading.index(label)] for row in table.cells]


def test_bits_per_frame_are_a_column_where_all_meshes_of_a_row_are_frames():
    rows = frame([*frames(1000.0, 3000.0), *frames(500.0, 500.0, codec="d"), record("lone", 1.0, codec="d")])
    summary = summarise(rows)
    assert summary["kilobits_per_frame"].tolist() == [16.0, pytest.approx(float("nan"), nan_ok=True)]
    assert column(rate_distortion(summary, rows=rows), "kbit/frame") == ["16.0", "–"]


def test_without_frames_there_is_no_column():
    summary = summarise(frame([record("a", 1000.0)]))
    assert "kilobits_per_frame" not in summary
    (table,) = rate_distortion(summary)
    assert "kbit/frame" not in table.heading
    assert "sequence" not in "".join(render([table], "csv"))
    assert sequences(frame([record("a", 1000.0)])) == []


def test_a_row_for_each_sequence():
    rows = frame(
        [
            *frames(1000.0, 3000.0, 2000.0, first=7),  # 16 kbit a frame, 30 frames a second
            *frames(250.0, 250.0, name="run", fps=None),
            record("gap/0", 100.0, ("gap", 0, 25.0)),
            record("gap/2", 300.0, ("gap", 2, 25.0)),
            record("lone", 9.0),
            record("walk/9", 5.0, ("walk", 9, 30.0), status="failed"),
            record("walk/0", 5.0, ("walk", 7, 30.0), timing=True),
        ]
    )
    (table,) = sequences(rows)
    assert table.heading == (
        "codec", "rate", "sequence", "frames", "first", "last", "kbit/frame", "fps", "kbit/s",
    )  # fmt: skip
    assert table.cells == [
        ["c", "r", "gap", "2", "0", "2", "1.6", "25", "–"],
        ["c", "r", "run", "2", "0", "1", "2.0", "–", "–"],
        ["c", "r", "walk", "3", "7", "9", "16.0", "30", "480.0"],
    ]
