"""Marks of rows that cannot be told apart from the best: cases whose answer is known, and SciPy's test."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.analysis.significance import (
    _best_of_size,
    _holm,
    _not_worse,
    _probabilities,
    not_different,
)
from gcbench.bench.metrics import columns
from gcbench.bench.store.records import Cost, Record

P2S, NC, PSNR = (columns()[name] for name in ("cd_p2s", "nc", "sampled_d1_psnr_bbox"))
MANY = 80


def record(codec: str, mesh: int, size: float, p2s: float | None, nc: float = 0.9, rate_index: int = 0, seed: int = 0):
    values = {"nc": nc} if p2s is None else {"nc": nc, "cd_p2s": p2s}
    return Record(
        dataset="d", split="all", mesh=f"m{mesh:03}", codec=codec, kind="model", rate=f"r{rate_index}",
        rate_index=rate_index, effort="quick", seed=seed, timing=False, status="ok", obj_bytes=1000, stream_bytes=size,
        bits_per_vertex=4.0, encode=Cost(0.1, 0.002, 5 << 20, 1), decode=Cost(0.1, 0.001, 4 << 20, 1), metrics=values,
    )  # fmt: skip


def marks(records, shown=(P2S,)):
    rows = frame(records)
    summary = summarise(rows)
    found = not_different(rows, summary, shown)
    assert list(found.columns) == [column.name for column in shown]
    assert found.index.equals(summary.index)
    assert set(found.dtypes) == {np.dtype(bool)}
    return {codec: tuple(map(bool, row)) for codec, row in zip(summary["codec"], found.to_numpy(), strict=True)}


@pytest.mark.parametrize("meshes", [20, MANY])
def test_noise_is_marked_and_a_difference_is_not(meshes):
    rng = np.random.default_rng(0)
    hard = rng.lognormal(0, 1, meshes) * 1e-3  # meshes differ by far more than codecs
    records = [
        record(codec, m, 1000, hard[m] * factor * rng.lognormal(0, 0.02))
        for m in range(meshes)
        for codec, factor in (("best", 1.0), ("same", 1.0005), ("worse", 1.05))
    ]
    assert marks(records)["worse"] == (False,)
    assert sorted([marks(records)["best"], marks(records)["same"]]) == [(False,), (True,)]  # the best is not marked


def test_a_row_is_compared_with_the_best_that_needs_no_more_bytes():
    rng = np.random.default_rng(1)
    sizes_and_errors = {"small": (100, 9.0), "equal": (103, 9.0), "large": (1000, 1.0), "beaten": (1100, 9.0)}
    records = [
        record(codec, m, size, error * rng.lognormal(0, 0.01))
        for m in range(MANY)
        for codec, (size, error) in sizes_and_errors.items()
    ]
    found = marks(records)
    assert found["large"] == found["beaten"] == (False,)
    assert sorted([found["small"], found["equal"]]) == [(False,), (True,)]


def test_equal_values_are_marked_on_the_larger_row_and_columns_are_apart():
    records = [
        record(codec, m, size, p2s, nc)
        for m in range(MANY)
        for codec, size, p2s, nc in (("a", 100, 1e-3, 0.9), ("b", 200, 1e-3, 0.8), ("c", 300, 2e-3, 0.95))
    ]
    assert marks(records, (P2S, NC, PSNR)) == {
        "a": (False, False, False), "b": (True, False, False), "c": (False, False, False)
    }  # fmt: skip


def test_higher_is_better_where_the_column_says_so():
    rng = np.random.default_rng(2)
    records = [
        record(codec, m, 100, 1e-3, nc + rng.normal(0, 0.01))
        for m in range(MANY)
        for codec, nc in (("a", 0.90), ("b", 0.95), ("c", 0.9502))
    ]
    found = marks(records, (NC,))
    assert found["a"] == (False,)
    assert sorted([found["b"], found["c"]]) == [(False,), (True,)]


def test_few_meshes_can_tell_nothing_and_nothing_is_marked():
    two = [record(codec, m, 100, p2s) for m in range(8) for codec, p2s in (("a", 1.0 + m % 2), ("b", 1.001 + m % 2))]
    assert marks(two)["b"] == (False,)  # worse on every mesh, p = 1/256
    assert marks([r for r in two if r.mesh < "m004"])["b"] == (False,)  # p is at least 1/16: untestable
    noise = [record(c, m, 100, p) for m in range(8) for c, p in (("a", 1.0), ("b", 1.001 if m % 2 else 0.9995))]
    assert marks(noise)["b"] == (True,)
    assert marks([r for r in noise if r.mesh < "m004"])["b"] == (False,)


def test_only_shared_meshes_count_and_seeds_are_averaged():
    shared = [record(codec, m, 100, 1.0 + m, seed=seed) for m in range(20) for codec in "ab" for seed in (0, 1)]
    hard = [record("b", m, 100, 500.0) for m in range(20, 22)]
    assert marks([*shared, *hard])["b"] == (True,)
    seeds = [record("b", m, 100, 2.2 + m, seed=2) for m in range(20)]  # the mean of three: worse by 0.4 on each mesh
    assert marks([*shared, *seeds])["b"] == (False,)


def test_a_row_with_few_meshes_is_neither_the_best_nor_marked():
    rng = np.random.default_rng(6)
    whole = [record(codec, m, 100, (1.0 + m) * rng.lognormal(0, 0.01)) for m in range(30) for codec in "ab"]
    easy = [record("easy", m, 90, 1.0 + m) for m in range(12)]
    found = marks([*whole, *easy])
    assert found.pop("easy") == (False,)
    assert found == marks(whole)
    assert sorted(found.values()) == [(False,), (True,)]


def test_rows_without_values_and_other_rows_of_the_block():
    records = [record("a", m, 100, None) for m in range(20)] + [record("b", m, 100, 1.0) for m in range(20)]
    assert marks(records) == {"a": (False,), "b": (False,)}
    rows = frame(records)
    assert not_different(rows.iloc[:0], summarise(rows.iloc[:0]), [P2S]).empty
    as_categories = rows.astype(dict.fromkeys(("dataset", "split", "codec", "rate", "mesh", "status"), "category"))
    pd.testing.assert_frame_equal(
        not_different(as_categories, summarise(rows), [P2S]), not_different(rows, summarise(rows), [P2S])
    )


def test_false_alarms_are_rare_over_the_whole_column():
    """30 equal codecs: in 19 of 20 columns, none of them may be called different from the best."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(40):
        values = rng.normal(size=(30, 60))
        marked = _not_worse(values, values.mean(axis=1), np.full(30, 100.0))
        wrong += (~marked).sum() > 1  # the best is not marked
    assert wrong <= 8  # the best is chosen by the same values, so that alarms are somewhat more frequent than 5 %


def test_best_of_size():
    means, sizes = np.array([5.0, 3, 4, 3, np.nan, 1]), np.array([100.0, 104, 200, 300, 50, np.nan])
    assert _best_of_size(means, sizes).tolist() == [1, 1, 1, 1, -1, -1]
    assert _best_of_size(means, np.array([100.0, 106, 200, 300, 50, 1])).tolist() == [5, 5, 5, 5, -1, 5]


def test_holm():
    # Holm 1979: compare the smallest with α/m, the next with α/(m − 1), and stop at the first that is larger.
    assert _holm(np.array([0.04, 0.01, 0.03, 0.005])).tolist() == [False, True, False, True]
    assert _holm(np.array([0.02, 0.02, 0.02])).tolist() == [False, False, False]
    assert _holm(np.array([0.01, 0.04, 0.024])).tolist() == [True, True, True]


DIFFERENCE = st.sampled_from([-3.0, -1.5, -1.0, -0.5, 0, 0, 0.5, 1, 2.5])


@given(st.lists(st.lists(DIFFERENCE, min_size=60, max_size=60), min_size=1, max_size=4))
def test_probabilities_of_many_meshes_are_those_of_scipy(differences):
    differences = np.array(differences)
    for p, row in zip(_probabilities(differences), differences, strict=True):
        if row.any():
            assert p == pytest.approx(wilcoxon(row, alternative="greater", method="asymptotic").pvalue, abs=1e-12)
        else:
            assert p == 1


@given(st.lists(st.integers(-60, 60).filter(bool), min_size=1, max_size=40, unique_by=abs))
def test_probabilities_of_few_meshes_are_exact(differences):
    row = np.array([[*differences, 0, np.nan]], float)
    assert _probabilities(row)[0] == pytest.approx(
        wilcoxon(differences, alternative="greater", method="exact").pvalue, abs=1e-12
    )


@given(st.lists(DIFFERENCE.filter(bool), min_size=1, max_size=9))
def test_probabilities_of_few_meshes_with_equal_differences_count_all_signs(differences):
    size = np.abs(differences)
    ranks = rankdata(size)
    signs = np.array(list(itertools.product([0, 1], repeat=len(size))))
    expected = (signs @ ranks >= ranks[np.array(differences) > 0].sum() - 1e-9).mean()
    assert _probabilities(np.array([differences]))[0] == pytest.approx(expected)
