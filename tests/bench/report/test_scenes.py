"""What a mesh will take of the budget is known before it is decoded."""

from __future__ import annotations

import pytest

from gcbench.bench.report.scenes import _Sizes


def test_sizes_are_learnt_from_what_was_packed_and_never_from_small_meshes():
    sizes = _Sizes()
    assert sizes.expect(10_000) == 10_000  # a byte for each face, which no mesh is below
    sizes.learn(10, 1)
    assert sizes.expect(10_000) == 10_000
    sizes.learn(20_000, 60_000)
    assert sizes.expect(10_000) == pytest.approx(0.9 * 30_000)
    sizes.learn(20_000, 50_000)
    sizes.learn(20_000, 90_000)
    assert sizes.expect(10_000) == pytest.approx(0.9 * 25_000)
