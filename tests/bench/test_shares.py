"""Shares of the bytes of other codecs at equal quality, on curves whose ratios are known."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from gcbench.bench.analysis.frame import frame
from gcbench.bench.analysis.tables.shares import shares
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Record
from gcbench.bench.tabular import render

P2S = columns()["cd_p2s"]


def ladder(codec: str, *points: tuple[float, float], meshes: str = "a") -> list[Record]:
    """Records of a codec, of (kB, p2s · 10³) at each rate."""
    return [
        Record(
            dataset="d", split="all", mesh=mesh, codec=codec, kind="model", rate=f"r{i}", rate_index=i, effort="quick",
            seed=0, timing=False, status="ok", obj_bytes=10_000, stream_bytes=1000 * kilobytes,
            metrics={"cd_p2s": error / 1000},
        )
        for mesh in meshes for i, (kilobytes, error) in enumerate(points)
    ]  # fmt: skip


ROWS = frame(
    [
        *ladder("one", (1.0, 8.0), (2.0, 4.0), (4.0, 2.0)),
        *ladder("half", (0.25, 16.0), (0.5, 8.0), (1.0, 4.0)),
        *ladder("dear", (40.0, 4.0), (80.0, 1.0)),
    ]
)


def test_the_best_other_codec_at_the_quality_of_each_rate():
    table, _ = shares(ROWS, P2S)
    assert table.heading == ("codec", "rate", "kB/mesh", "p2s ×10⁻³", "fewest of the others", "%")
    assert table.cells == [
        ["dear", "r0", "40", "4.000", "half", "4000"],
        ["dear", "r1", "80", "1.000", "", "–"],  # nobody is as good
        ["half", "r0", "0.25", "16.000", "one", "≥ 25"],  # one is better at its smallest rate
        ["half", "r1", "0.5", "8.000", "one", "50"],
        ["half", "r2", "1", "4.000", "one", "50"],
        ["one", "r0", "1", "8.000", "half", "200"],
        ["one", "r1", "2", "4.000", "half", "200"],
        ["one", "r2", "4", "2.000", "dear", "7"],  # 2 is halfway from 4 to 1, in logarithm: 40 · √2 = 56.6 kB
    ]


def test_codecs_that_are_named():
    table, pairs = shares(ROWS, P2S, ["one", "dear"])
    assert table.heading[4:] == ("% of one", "% of dear")
    assert [row[4:] for row in table.cells if row[0] == "half"] == [["≥ 25", "≥ 1"], ["50", "≥ 1"], ["50", "2"]]
    assert [row[4:] for row in table.cells if row[0] == "one"][1] == ["–", "5"]
    found = {(d["codec"], d["rate"], d["against"]): d for d in json.loads("".join(render([table, pairs], "json")))}
    assert found["half", "r2", "one"]["share"] == pytest.approx(0.5)
    assert found["half", "r2", "one"]["against_kilobytes"] == pytest.approx(2.0)
    assert not found["half", "r2", "one"]["bound"]
    assert found["half", "r0", "one"]["bound"]
    assert not any(against == "half" for _, _, against in found)


def test_only_meshes_in_common_count():
    rows = frame([*ladder("one", (1.0, 8.0), meshes="ab"), *ladder("one", (100.0, 8.0), meshes="c"),
                  *ladder("half", (0.5, 8.0), meshes="ab")])  # fmt: skip
    table, _ = shares(rows, P2S)
    assert [row[2] for row in table.cells] == ["0.5", "1"]
    assert "d/all: compared over 2 of 3 meshes" in table.notes


def test_each_dataset_has_a_table_and_its_own_notes():
    elsewhere = frame([*ladder("one", (1.0, 8.0), meshes="xy"), *ladder("half", (0.5, 8.0), meshes="xy")])
    rows = pd.concat(
        [ROWS, elsewhere.assign(dataset="e"), frame(ladder("one", (9.0, 8.0), meshes="z")).assign(dataset="e")]
    )
    tables = [table for table in shares(rows.reset_index(drop=True), P2S) if table.for_people]
    assert [table.title for table in tables] == [
        f"bytes at equal p2s, {name}, split all, effort quick" for name in "de"
    ]
    assert [
        len([note for note in table.notes if "in common" in note or "compared over" in note]) for table in tables
    ] == [0, 1]


def test_a_metric_that_nobody_has():
    assert shares(ROWS, columns()["mpeg_d1_psnr"]) == []
