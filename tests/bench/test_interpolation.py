"""Piecewise cubics of many curves against SciPy's, which interpolates one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from gcbench.bench.analysis.interpolation import interpolate

STEPS = st.tuples(st.sampled_from([0.01, 0.5, 1.0, 3.0, 40.0]), st.sampled_from([-2.0, 0.0, 1e-3, 0.5, 0.5, 7.0]))
SCIPY = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}


@pytest.mark.parametrize("method", ["pchip", "akima"])
@given(curves=st.lists(st.lists(STEPS, min_size=3, max_size=9), min_size=1, max_size=4))
def test_integrals_are_those_of_scipy(method, curves):
    longest = max(map(len, curves))
    x, y = np.full((2, len(curves), longest), np.nan)
    for row, steps in enumerate(curves):
        x[row, : len(steps)], y[row, : len(steps)] = np.cumsum(steps, axis=0).T
    cubics = interpolate(x, y, method)
    for row, steps in enumerate(curves):
        known = SCIPY[method](x[row, : len(steps)], y[row, : len(steps)])
        ends = np.quantile(x[row, : len(steps)], [0, 0.1, 0.45, 0.5, 0.8, 1.0])
        for low, high in ((ends[0], ends[-1]), (ends[1], ends[4]), (ends[2], ends[3])):
            found = cubics.integral(np.array([row]), np.array([low]), np.array([high]))[0]
            assert found == pytest.approx(float(known.integrate(low, high)), abs=1e-9)


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_a_line_integrates_exactly(method):
    x = np.array([[0.0, 1, 3, 4], [0, 2, 3, np.nan]])
    areas = interpolate(x, 2 * x + 1, method).integral(np.array([0, 1]), np.array([0.5, 1.0]), np.array([3.5, 3.0]))
    np.testing.assert_allclose(areas, [12 + 3, 8 + 2], rtol=1e-14)
