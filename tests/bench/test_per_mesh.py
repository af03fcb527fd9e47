"""BD-rates of all meshes at once against :func:`bd_rate` of each mesh, which calls the package ``bjontegaard``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench.analysis.per_mesh import PerMesh, per_mesh_all
from gcbench.bench.analysis.rate_distortion import bd_rate, curves

LADDER = [(1, 8e-3), (2, 4e-3), (4, 2e-3), (8, 1.2e-3), (16, 1.01e-3)]


def one_by_one(rows: pd.DataFrame, anchor: str, test: str, metric: str) -> PerMesh:
    """The reference: a curve, and a call of ``bjontegaard``, for each mesh."""
    good = rows[(rows["status"] == "ok") & ~rows["timing"]]
    deltas = []
    for _, of_mesh in good[good["codec"].isin([anchor, test])].groupby("mesh", sort=True):
        pair = curves(of_mesh, metric, "stream_bytes")
        deltas.append(bd_rate(pair[anchor], pair[test]) if len(pair) == 2 else None)
    found = [(d.percent, d.akima_percent) for d in deltas if d is not None and d.percent is not None]
    if not found:
        return PerMesh(None, None, None, 0, len(deltas), None)
    sample, akima = np.array(found).T
    draws = np.random.default_rng(0).integers(len(sample), size=(2000, len(sample)))
    low, high = np.percentile(sample[draws].mean(1), [2.5, 97.5]) if len(sample) > 1 else (None, None)
    wins = (sample < 0).mean()
    return PerMesh(sample.mean(), low, high, len(sample), len(deltas) - len(sample), wins, akima.mean())


def records(factors):
    rows = []
    for mesh, factor in factors.items():
        for codec, scale in (("a", 1), ("b", factor)):
            for i, (kb, cd) in enumerate(LADDER):
                known = {"mesh": mesh, "codec": codec, "rate": f"r{i}", "status": "ok", "timing": False}
                rows.append({**known, "stream_bytes": 1000.0 * kb * scale, "cd_p2s": cd})
    return pd.DataFrame(rows)


def close(found: PerMesh, known: PerMesh, *, interval: bool = True):
    assert (found.meshes, found.refused) == (known.meshes, known.refused)
    assert (found.low is None) == (known.low is None)
    if not known.meshes:
        assert found == known
        return
    for name in ("percent", "akima_percent", "wins", *(("low", "high") if interval else ())):
        assert getattr(found, name) == pytest.approx(getattr(known, name), rel=1e-9, abs=1e-9), name


def test_the_mean_its_interval_and_wins():
    found = per_mesh_all(records({"m0": 0.5, "m1": 0.5, "m2": 2.0}), "cd_p2s")
    assert set(found) == {("a", "b"), ("b", "a")}
    of_b = found["b", "a"]
    assert of_b.percent == pytest.approx(0, abs=1e-9)  # (−50 − 50 + 100) / 3
    assert of_b.akima_percent == pytest.approx(0, abs=1e-9)
    assert (of_b.meshes, of_b.refused) == (3, 0)
    assert of_b.wins == pytest.approx(2 / 3)
    assert (of_b.low, of_b.high) == (pytest.approx(-50), pytest.approx(100))
    assert found["a", "b"].percent == pytest.approx((100 + 100 - 50) / 3)


def test_meshes_without_a_number_are_counted():
    rows = records({"m0": 0.5, "m1": 0.5})
    rows.loc[(rows["mesh"] == "m1") & (rows["codec"] == "b"), "status"] = "failed"
    found = per_mesh_all(rows, "cd_p2s")["b", "a"]
    assert found.percent == pytest.approx(-50)
    assert (found.low, found.high) == (None, None)  # of one mesh there is no interval
    assert (found.meshes, found.refused, found.wins) == (1, 1, 1.0)
    rows.loc[rows["codec"] == "b", "stream_bytes"] = np.nan
    assert per_mesh_all(rows, "cd_p2s")["b", "a"] == PerMesh(None, None, None, 0, 2, None)
    assert per_mesh_all(rows[rows["codec"] == "a"], "cd_p2s") == {}
    assert per_mesh_all(rows.iloc[:0], "cd_p2s") == {}


def test_a_complete_run_has_the_interval_of_the_plain_bootstrap():
    rng = np.random.default_rng(3)
    rows = records({f"m{i:02}": factor for i, factor in enumerate(rng.lognormal(0, 0.4, 40))})
    found = per_mesh_all(rows.sample(frac=1, random_state=1), "cd_p2s")
    for pair in (("a", "b"), ("b", "a")):
        close(found[pair], one_by_one(rows, pair[1], pair[0], "cd_p2s"))


def test_an_interval_is_over_the_meshes_with_a_number():
    """Half of the meshes have none: the interval is about as wide as that of the other half alone."""
    factors = {f"m{i:03}": factor for i, factor in enumerate(np.random.default_rng(4).lognormal(0, 0.3, 200))}
    rows = records(factors)
    alone = one_by_one(rows[rows["mesh"] >= "m100"], "a", "b", "cd_p2s")
    rows.loc[(rows["mesh"] < "m100") & (rows["codec"] == "b"), "cd_p2s"] = np.nan
    found = per_mesh_all(rows, "cd_p2s")["b", "a"]
    assert (found.meshes, found.refused) == (100, 100)
    assert found.percent == pytest.approx(alone.percent)
    assert (found.low, found.high) == (pytest.approx(alone.low, abs=0.7), pytest.approx(alone.high, abs=0.7))


def test_categories_of_pandas_are_names_like_others():
    rows = records({"m0": 0.5, "m1": 0.7, "m2": 2.0})
    as_categories = rows.astype({"codec": "category", "mesh": "category", "status": "category"})
    assert per_mesh_all(as_categories, "cd_p2s") == per_mesh_all(rows, "cd_p2s")


VALUE = st.sampled_from([0.0, 1e-4, 3e-4, 1e-3, 1.01e-3, 2e-3, 4e-3, 4e-3, 9e-3, np.nan, np.inf])
POINT = st.tuples(st.sampled_from([0, 9, 10, 11, 20, 20, 45, 80, 200, 700, 3000]), VALUE, st.integers(0, 20))
LADDERS = st.lists(POINT, max_size=14)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(LADDERS, LADDERS, LADDERS), min_size=1, max_size=3), st.sampled_from(["cd", "cd_p2s", "nc"]))
def test_refusals_and_numbers_are_those_of_one_mesh_at_a_time(meshes, metric):
    rows = [
        {
            "mesh": f"m{m}", "codec": codec, "rate": f"r{i}", "status": "failed" if dice == 0 else "ok",
            "timing": dice == 1, "stream_bytes": float(size), metric: value, "cd_floor": 1e-3, "nc_floor": 0.999,
        }
        for m, ladders in enumerate(meshes)
        for codec, ladder in zip("abc", ladders, strict=True)
        for i, (size, value, dice) in enumerate(ladder)
    ]  # fmt: skip
    if not rows:
        return
    rows = pd.DataFrame(rows)
    good = rows[(rows["status"] == "ok") & ~rows["timing"]]
    found = per_mesh_all(rows, metric)
    there = sorted(set(good["codec"]))
    assert set(found) == {(test, anchor) for test in there for anchor in there if test != anchor}
    for (test, anchor), of_pair in found.items():
        close(of_pair, one_by_one(rows, anchor, test, metric), interval=False)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_numbers_of_curves_that_are_like_those_of_codecs(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for mesh in range(3):
        for codec in "abc":
            n = int(rng.integers(4, 24))
            size = np.sort(rng.lognormal(9, 1, n)) * rng.lognormal(0, 0.3)
            value = 1e-3 * (size / 8000) ** -rng.uniform(0.7, 1.6) * rng.lognormal(0, 0.05, n)
            rows += [
                {"mesh": f"m{mesh}", "codec": codec, "rate": f"r{i}", "status": "ok", "timing": False,
                 "stream_bytes": s, "cd_p2s": v}
                for i, (s, v) in enumerate(zip(size, value, strict=True))
            ]  # fmt: skip
    rows = pd.DataFrame(rows)
    for (test, anchor), of_pair in per_mesh_all(rows, "cd_p2s").items():
        close(of_pair, one_by_one(rows, anchor, test, "cd_p2s"), interval=False)
