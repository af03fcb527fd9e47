"""Random shapes are in their cube and follow from their seed."""

from __future__ import annotations

import numpy as np
import pytest

from gcbench.geometry import shapes


@pytest.mark.parametrize("make", [shapes.blob, shapes.superquadric, shapes.tube, shapes.solid, shapes.sheet])
def test_shapes_fill_the_cube(make):
    for seed in range(3):
        shape = make(np.random.default_rng(seed))
        assert shape.faces.min() == 0
        assert shape.faces.max() == len(shape.vertices) - 1
        span = np.ptp(shape.vertices, axis=0)
        assert span.max() == pytest.approx(2)
        np.testing.assert_allclose(shape.vertices.max(0), span / 2, atol=1e-12)


def test_shapes_follow_from_their_seed():
    first, again, other = shapes.made_up(5, 1), shapes.made_up(5, 1), shapes.made_up(5, 2)
    assert [s.name for s in first] == [s.name for s in again]
    assert all(np.array_equal(a.vertices, b.vertices) for a, b in zip(first, again, strict=True))
    assert not any(
        a.vertices.shape == b.vertices.shape and np.allclose(a.vertices, b.vertices)
        for a, b in zip(first, other, strict=True)
    )
