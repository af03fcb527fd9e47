from __future__ import annotations

import pandas as pd
import pytest

from gcbench.bench.analysis.equal_quality import at_quality, common_quality


def summary(**codecs):
    """Codecs as lists of (kB, p2s, decode ms)."""
    rows = [
        {"codec": c, "rate": f"r{i}", "kilobytes": kb, "cd_p2s": p2s, "decode_ms": ms, "encode_ms": 1.0,
         "encode_added_mib": 8.0, "decode_added_mib": 2.0**i}
        for c, points in codecs.items() for i, (kb, p2s, ms) in enumerate(points)
    ]  # fmt: skip
    return pd.DataFrame(rows)


A = [(1, 1e-2, 10), (4, 1e-3, 20), (16, 1e-4, 80)]


def test_a_measured_point_is_its_own_cost():
    row = at_quality(summary(a=A), "cd_p2s", 1e-3).loc["a"]
    assert dict(row) == pytest.approx(
        {"kilobytes": 4, "encode_ms": 1, "decode_ms": 20, "encode_added_mib": 8, "decode_added_mib": 2, "better": False}
    )


def test_between_points_costs_are_geometric_means():
    row = at_quality(summary(a=A), "cd_p2s", 10**-3.5).loc["a"]
    assert (row["kilobytes"], row["decode_ms"]) == (pytest.approx(8), pytest.approx(40))


def test_nothing_is_extrapolated():
    rows = summary(a=A, b=[(1, 1e-2, 1), (2, 5e-3, 1)], c=[(1, 0.0, 1)])
    assert list(at_quality(rows, "cd_p2s", 1e-3).index) == ["a"]
    found = at_quality(rows, "cd_p2s", 7e-3)
    assert list(found.index) == ["a", "b"]
    assert not found["better"].any()
    assert at_quality(rows, "cd_p2s", 1e-5).empty


def test_a_codec_that_is_better_at_all_of_its_rates_has_the_costs_of_the_smallest():
    found = at_quality(summary(a=A, b=[(5, 1e-3, 3), (9, 1e-4, 4)]), "cd_p2s", 5e-3)
    assert list(found["better"]) == [False, True]
    assert (found.loc["b", "kilobytes"], found.loc["b", "decode_ms"]) == (pytest.approx(5), pytest.approx(3))


def test_a_beaten_point_does_not_bend_the_curve():
    rows = summary(a=[*A[:2], (8, 5e-3, 7), A[2]])
    assert at_quality(rows, "cd_p2s", 10**-3.5).loc["a", "kilobytes"] == pytest.approx(8)


def test_the_common_quality_is_where_most_codecs_are():
    rows = summary(a=A, b=[(1, 1e-3, 1), (2, 1e-5, 1)], c=[(1, 1e-1, 1), (2, 1e-2, 1)])
    assert common_quality(rows, "cd_p2s") == pytest.approx(10**-3.5)  # a and b, from 1e-4 to 1e-3
    assert common_quality(summary(a=A), "cd_p2s") is None
    assert common_quality(summary(a=A[:1], b=A[1:2]), "cd_p2s") is None


def test_fractions_are_not_logarithms():
    rows = pd.concat([summary(a=A), summary(b=A)]).reset_index(drop=True).assign(f1_p2s_0005=[0.2, 0.5, 0.9] * 2)
    assert common_quality(rows, "f1_p2s_0005") == pytest.approx(0.55)
    assert at_quality(rows, "f1_p2s_0005", 0.5).loc["b", "kilobytes"] == pytest.approx(4)
