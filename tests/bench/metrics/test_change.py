"""Changes of columns: closed forms, and the sign of every one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcbench.bench.metrics import columns, floors
from gcbench.bench.metrics.change import worsening


def test_closed_forms():
    assert worsening("bytes", 200, 202) == pytest.approx(0.01)
    assert worsening("cd_p2s", 0.002, 0.001) == pytest.approx(-0.5)
    assert worsening("f1_0005", 0.7, 0.65) == pytest.approx(0.05)  # absolute
    assert worsening("nc_floor", 0.9, 0.95) == pytest.approx(-0.05)
    assert worsening("cd_floor", 0.1, 0.11) == pytest.approx(0.1)
    assert worsening("squared_cd", 4e-5, 9e-5) == pytest.approx(0.5)  # of its root
    assert worsening("squared_cd_floor", 4e-5, 1e-5) == pytest.approx(-0.5)
    assert worsening("giou", 0.9, 0.8) == pytest.approx(0.1)
    assert worsening("render_normal_ssim", 0.9, 0.95) == pytest.approx(-0.05)
    assert worsening("of-no-suite", 0, 0) == 0
    assert worsening("of-no-suite", 2, 3) == pytest.approx(0.5)


def test_facts_have_no_worse_direction():
    assert worsening("out_faces", 200, 202) == worsening("out_faces", 200, 198) == pytest.approx(0.01)
    assert worsening("out_boundary_edges", 0, 3) == 3, "from none: each counts as one"
    assert worsening("out_euler", -2, 0) == 1
    assert worsening("out_watertight", True, False) == worsening("out_watertight", False, True) == 1
    assert worsening("out_watertight", True, True) == 0


@given(st.floats(1e-6, 1), st.floats(1.0, 3.0), st.floats(1e-3, 10))
def test_a_psnr_and_a_square_change_as_the_distance_behind_them(distance, factor, peak):
    """PSNR = 10 log10(3 p²/d²): a distance that is f times as large is worse by f − 1 in all three."""
    before, after = (10 * math.log10(3 * peak**2 / d**2) for d in (distance, distance * factor))
    assert worsening("sampled_d1_psnr_bbox", before, after) == pytest.approx(factor - 1, abs=1e-9)
    assert worsening("cd_p2s", distance, distance * factor) == pytest.approx(factor - 1, abs=1e-6)
    assert worsening("squared_cd", distance**2, (distance * factor) ** 2) == pytest.approx(factor - 1, abs=1e-6)


@given(st.sampled_from([*columns(), *floors()]), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_the_sign_is_that_of_the_column(name, old, new):
    change = worsening(name, old, new)
    column = columns().get(name) or floors()[name]
    if column.better is None:
        assert (change > 0) == (old != new)
    elif column.is_better(new, old):
        assert change <= 0
    elif new != old:
        assert change >= 0
    else:
        assert change == 0


def test_what_is_not_finite():
    assert worsening("cd", 1.0, math.nan) == math.inf
    assert worsening("cd", math.inf, 1.0) == -math.inf
    assert worsening("cd", math.inf, math.inf) == 0
