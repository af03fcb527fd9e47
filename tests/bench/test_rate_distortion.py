"""Bjøntegaard deltas whose value is known, and every reason why there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.bench.analysis.rate_distortion import Refusal, bd_matrix, bd_rate, curve, oriented, unoriented

RATE = np.array([10.0, 20, 40, 80, 160])
DB = np.array([60.0, 64, 67, 69, 70])
PSNR = "sampled_d1_psnr_bbox"


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 3.7])
@pytest.mark.parametrize("metric", [PSNR, "cd_p2s"])
def test_a_curve_at_a_multiple_of_the_rate(factor, metric):
    value = DB if metric == PSNR else 10 ** (-DB / 20)
    delta = bd_rate(curve(RATE, value, metric), curve(factor * RATE, value, metric))
    assert delta.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert delta.akima_percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert (delta.overlap, delta.refusal, delta.dropped) == (1.0, None, ())


def test_lines_in_log_rate_integrate_exactly():
    # log10 r = q/10 against q/10 + 0.1 + (q − 5)/50 over q in [2, 8]: the mean difference is 0.1.
    q = np.array([2.0, 4, 6, 8])
    delta = bd_rate(curve(10 ** (q / 10), q, PSNR), curve(10 ** (q / 10 + 0.1 + (q - 5) / 50), q, PSNR))
    assert delta.percent == pytest.approx(100 * (10**0.1 - 1), abs=1e-9)


def test_only_the_common_range_counts():
    q = np.arange(0.0, 11)
    long, short = curve(10 ** (q / 10), q, PSNR), curve(2 * 10 ** (q[3:9] / 10), q[3:9], PSNR)
    assert bd_rate(long, short).percent == pytest.approx(100, abs=1e-9)
    assert bd_rate(short, long).percent == pytest.approx(-50, abs=1e-9)
    assert bd_rate(long, short).overlap == 0.5


def test_a_short_curve_inside_a_long_one_is_refused():
    q = np.arange(0.0, 11)
    long, short = curve(10 ** (q / 10), q, PSNR), curve(2 * 10 ** (q[3:8] / 10), q[3:8], PSNR)
    for pair in ((long, short), (short, long)):
        assert (bd_rate(*pair).overlap, bd_rate(*pair).refusal) == (0.4, Refusal.SMALL_OVERLAP)


@pytest.mark.parametrize(
    ("rate", "value", "refusal"),
    [
        ([20], [67], Refusal.TOO_FEW_POINTS),
        ([20, 40, 80], [64, 67, 69], Refusal.TOO_FEW_POINTS),
        ([20, 40, 80, 160], [64, 67, 69, np.nan], Refusal.TOO_FEW_POINTS),
        ([20, 40, 80, 160], [64, 67, 69, np.inf], Refusal.TOO_FEW_POINTS),
        ([0, 40, 80, 160], [64, 67, 69, 70], Refusal.TOO_FEW_POINTS),
        ([10, 20, 40, 80], [64, 63, 67, 69], Refusal.NOT_MONOTONE),
        ([10, 20, 40, 80], [70, 69, 67, 64], Refusal.NOT_MONOTONE),
        ([10, 20, 40, 80], [67, 67, 67, 67], Refusal.NOT_MONOTONE),
        ([10, 20, 40, 80], [71, 72, 73, 74], Refusal.NO_OVERLAP),
        ([10, 20, 40, 80], [50, 52, 54, 60], Refusal.NO_OVERLAP),
        ([10, 20, 40, 80], [67, 69, 71, 75], Refusal.SMALL_OVERLAP),
    ],
)
def test_reasons(rate, value, refusal):
    for pair in ((curve(RATE, DB, PSNR), curve(rate, value, PSNR)), (curve(rate, value, PSNR), curve(RATE, DB, PSNR))):
        delta = bd_rate(*pair)
        assert (delta.percent, delta.akima_percent, delta.refusal) == (None, None, refusal)
        assert str(delta) == refusal.value


def test_saturated_points_do_not_count():
    floor = [False, False, True, True, True]
    saturated = curve(RATE, DB, PSNR, at_floor=floor, labels=list("abcde"))
    assert saturated.dropped == ("c: at the noise floor", "d: at the noise floor", "e: at the noise floor")
    assert bd_rate(curve(RATE, DB, PSNR), saturated).refusal is Refusal.SATURATED


def test_what_is_dropped_is_said():
    with_beaten = curve([*RATE, 50, np.nan], [*DB, 66, 50], PSNR)
    assert with_beaten.dropped == ("nan: not finite", "50: beaten")
    np.testing.assert_array_equal(with_beaten.rate, RATE)
    delta = bd_rate(with_beaten, curve(2 * RATE, DB, PSNR))
    assert delta.percent == pytest.approx(100)
    assert delta.dropped == ("anchor nan: not finite", "anchor 50: beaten")


def test_orientation():
    np.testing.assert_allclose(oriented([1e-3, 1e-2, 0, -1], "cd_p2s"), [3, 2, np.nan, np.nan])
    np.testing.assert_array_equal(oriented([0.2, 0.9], "nc"), [0.2, 0.9])
    for name in ("cd_p2s", "nc", PSNR):
        assert unoriented(float(oriented([0.3], name)[0]), name) == pytest.approx(0.3)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=12))
def test_the_front_is_what_nothing_beats(points):
    rate, value = [p[0] for p in points], [p[1] for p in points]
    front = curve(np.array(rate, float), np.array(value, float), PSNR)
    kept = set(zip(front.rate, front.quality, strict=True))
    assert kept == {(r, v) for r, v in points if not any((a <= r and b >= v and (a, b) != (r, v)) for a, b in points)}
    assert (np.diff(front.rate) > 0).all()
    assert (np.diff(front.quality) > 0).all()


def summary(**codecs):
    rows = [
        {"codec": name, "rate": f"r{i}", "kilobytes": kb, "cd": cd, "cd_floor": 1e-3, "cd_p2s": cd}
        for name, points in codecs.items()
        for i, (kb, cd) in enumerate(points)
    ]
    return pd.DataFrame(rows)


LADDER = [(1, 8e-3), (2, 4e-3), (4, 2e-3), (8, 1.2e-3), (16, 1.01e-3)]


def test_the_matrix_reads_row_against_column():
    double = [(2 * kb, cd) for kb, cd in LADDER]
    matrix = bd_matrix(summary(a=LADDER, b=double, c=LADDER[:2]), "cd_p2s")
    assert list(matrix.index) == list(matrix.columns) == ["a", "b", "c"]
    assert matrix.loc["b", "a"].percent == pytest.approx(100)
    assert matrix.loc["a", "b"].percent == pytest.approx(-50)
    assert matrix.loc["a", "a"] is None
    assert matrix.loc["c", "a"].refusal is Refusal.TOO_FEW_POINTS


def test_the_matrix_leaves_out_what_is_at_the_floor():
    matrix = bd_matrix(summary(a=LADDER, b=[(2 * kb, cd) for kb, cd in LADDER]), "cd")
    assert matrix.loc["b", "a"].percent == pytest.approx(100)
    assert "anchor r4: at the noise floor" in matrix.loc["b", "a"].dropped
