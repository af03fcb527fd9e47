from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.table import failures, inside_floor, render
from gcbench.bench.records import Cost, Record

FLOORS = {"cd_floor": 2.7e-3, "nc_floor": 0.98, "f1_0005_floor": 0.93, "f1_001_floor": 1.0}


def record(mesh="a", codec="c", rate_index=0, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{rate_index}",
        "rate_index": rate_index, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
        "obj_bytes": 1000, "stream_bytes": 10.0, "bits_per_vertex": 4.0,
        "encode": Cost(0.002, 0.002, 5 << 20, 1), "decode": Cost(0.001, 0.001, 4 << 20, 1),
        "metrics": {"cd": 5e-3, "nc": 0.9, "f1_0005": 0.5, "f1_001": 0.9, "cd_p2s": 1e-3, **FLOORS},
    }  # fmt: skip
    return Record(**(values | more))


def bad(mesh="b", status="failed", **more) -> Record:
    nothing = {"obj_bytes": None, "stream_bytes": None, "bits_per_vertex": None, "encode": None, "decode": None}
    return record(mesh, status=status, stage="decode", error="boom", metrics={}, **(nothing | more))


def test_ratio_is_the_sum_over_the_set_and_not_a_mean_of_ratios():
    rows = frame([record("a", obj_bytes=1000, stream_bytes=10.0), record("b", obj_bytes=100, stream_bytes=100.0)])
    (row,) = summarise(rows).to_dict("records")
    assert row["ratio"] == 1100 / 110
    assert row["kilobytes"] == 0.055
    assert row["bits_per_vertex"] == 4
    assert row["encode_ms"] == pytest.approx(2)
    assert row["decode_peak_mib"] == 4


def test_failures_are_counted_and_left_out_of_means():
    rows = frame([record("a"), bad("b"), bad("c", "bad-input"), bad("d", "timeout")])
    (row,) = summarise(rows).to_dict("records")
    assert (row["meshes"], row["ok"], row["bad_input"], row["failed"]) == (4, 1, 1, 2)
    assert row["cd"] == 5e-3


def test_a_rate_that_always_fails_has_a_row_without_numbers():
    rows = frame([record("a"), bad("a", rate_index=1)])
    ok, failed = summarise(rows).to_dict("records")
    assert ok["ok"] == 1
    assert failed["ok"] == 0
    assert math.isnan(failed["ratio"])
    assert "–" in render(summarise(rows))


def test_cost_of_a_set_codec_is_shared_out_and_timing_passes_win():
    of_set = {"kind": "set", "set_size": 4}
    timed = Cost(0.008, 0.008, 1 << 20, 1, 5)
    quality = [record(m, **of_set) for m in "abcd"]
    (row,) = summarise(frame(quality)).to_dict("records")
    assert row["encode_ms"] == pytest.approx(0.5)
    assert not row["timed"]
    timing = [record(m, timing=True, metrics={}, encode=timed, **of_set) for m in "abcd"]
    (row,) = summarise(frame(quality + timing)).to_dict("records")
    assert row["encode_ms"] == pytest.approx(2)
    assert row["timed"]
    assert row["ok"] == 4


def test_rates_are_in_ladder_order():
    rows = frame([record(rate_index=i, rate=name) for i, name in ((2, "a"), (0, "c"), (1, "b"))])
    assert list(summarise(rows)["rate"]) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("metric", "value", "inside"),
    [("cd", 2.77e-3, True), ("cd", 2.80e-3, False), ("nc", 0.9797, True), ("nc", 0.97, False), ("cd_p2s", 0.0, False)],
)
def test_inside_the_floor(metric, value, inside):
    rows = pd.DataFrame([{metric: value, **FLOORS}])
    assert bool(inside_floor(rows, metric)[0]) is inside


def test_text_table_to_the_letter():
    rows = frame([record("a"), bad("b"), record("a", "other", metrics={**record().metrics, "cd": 2.7e-3})])
    assert render(summarise(rows), timing=False) == (
        "d, split all, effort quick\n"
        "\n"
        "codec  rate  ratio  kB/mesh  CD ×10⁻³       NC  F1-0.005  F1-0.01  p2s ×10⁻³   ok\n"
        "─────  ────  ─────  ───────  ─────────  ──────  ────────  ───────  ─────────  ───\n"
        "c      r0    100.0     0.01     5.000   0.9000    0.5000   0.9000      1.000  1/2\n"
        "other  r0    100.0     0.01     2.700~  0.9000    0.5000   0.9000      1.000  1/1\n"
        "\n"
        "noise floor: CD ×10⁻³ 2.700, NC 0.9800, F1-0.005 0.9300, F1-0.01 1.0000\n"
        "~ at the noise floor of sampled points: such values do not rank codecs, p2s does\n"
        "failed: 1 of 3 codings (bench table --failures); means are over the rest\n"
    )


def test_formats_hold_the_same_numbers():
    summary = summarise(frame([record("a"), bad("a", rate_index=1)]))
    as_json = json.loads(render(summary, "json"))
    as_csv = render(summary, "csv").splitlines()
    assert as_csv[0].split(",") == list(as_json[0])
    assert as_json[0]["cd_p2s"] == 1e-3
    assert as_json[1]["ratio"] is None
    assert render(summary, "markdown").count("|") > 20
    assert "encode_ms" not in render(summary, "csv", timing=False)


def test_failures_list_joins_equal_ones():
    rows = frame([bad("b", rate_index=i) for i in range(3)] + [bad("c", "bad-input")])
    text = failures(rows)
    assert "r0..r2 (3)" in text
    assert text.count("boom") == 2
    assert failures(frame([record()])) == "no failures\n"


def test_nothing_recorded():
    assert summarise(frame([])).empty
    assert render(summarise(frame([]))) == "no records\n"


def test_figures_are_written_reproducibly_with_the_floor_and_hollow_points(tmp_path):
    from matplotlib import pyplot as plt

    from gcbench.bench.analysis.plot import rate_distortion, save_figures

    near = {**record().metrics, "cd": 2.7e-3}
    rows = [record("a", "x", i, stream_bytes=10.0 + i, metrics=near if i else record().metrics) for i in range(3)]
    summary = summarise(
        frame(
            [
                *rows,
                *(record("a", "y", i, stream_bytes=20.0 + i) for i in range(3)),
                bad("b", codec="y"),
                bad("b", codec="z"),
            ]
        )
    )
    paths = save_figures(summary, tmp_path / "one", "run")
    again = save_figures(summary, tmp_path / "two", "run")
    assert [p.name for p in paths] == ["rd-d-all-quick.png", "rd-d-all-quick.pdf"]
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    figure = rate_distortion(summary, "title")
    cd = figure.axes[0]
    assert [line.get_label() for line in cd.get_lines() if not line.get_label().startswith("_")] == [
        "x",
        "y (1 failed)",
        "z (1 failed)",  # never measured, yet in sight
    ]
    hollow = [line for line in cd.get_lines() if line.get_markerfacecolor() == "white"]
    assert sorted(len(line.get_xdata()) for line in hollow) == [0, 0, 2]
    assert len(cd.patches) == 1  # the band
    assert not figure.axes[3].patches  # p2s has no floor
    plt.close(figure)
