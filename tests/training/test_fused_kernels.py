from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.entropy import tensors as weights
from gcbench.training import fused_kernels as kernels
from gcbench.training.fused import Shape, _layout
from gcbench.training.fused_kernels import LANES, PANEL, ROWS


def up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 40), st.sampled_from([0.0, -np.inf]))
@settings(deadline=None, max_examples=40)
def test_product_is_numpys(rows, columns, depth, floor):
    rng = np.random.default_rng(rows * 10007 + columns * 101 + depth)
    tall, wide = up(rows, ROWS), up(columns, LANES)
    panels = up(columns, PANEL) // PANEL
    a = rng.normal(size=(tall, max(depth, 1))).astype(np.float32)
    b = rng.normal(size=(panels, depth, PANEL)).astype(np.float32)
    start = rng.normal(size=wide).astype(np.float32)
    s = np.concatenate([a.ravel(), b.ravel(), start, np.full(tall * wide + LANES, 7, np.float32)])
    at_b, at_start = a.size, a.size + b.size
    at_c = at_start + wide
    a_row, b_panel, least = a.shape[1], depth * PANEL, np.float32(floor)
    kernels._product(
        s, 0, a_row, 1, at_b, PANEL, b_panel, at_start, 0, at_c, wide, rows, columns, depth, least
    )  # fmt: skip
    found = s[at_c : at_c + tall * wide].reshape(tall, wide)
    flat = b.transpose(1, 0, 2).reshape(depth, panels * PANEL)[:, :wide].astype(np.float64)
    expected = np.maximum(start + a[:, :depth].astype(np.float64) @ flat, floor)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (s[at_c + tall * wide :] == 7).all()  # nothing is written beyond whole blocks


def test_a_product_passes_on_what_is_no_number():
    s = np.zeros(ROWS + PANEL + LANES + ROWS * LANES, np.float32)
    s[0] = np.nan
    c = ROWS + PANEL + LANES
    kernels._product(s, 0, 1, 1, ROWS, PANEL, PANEL, ROWS + PANEL, 0, c, LANES, ROWS, LANES, 1, np.float32(0))
    assert np.isnan(s[c : c + LANES]).all()
    assert (s[c + LANES :] == 0).all()


@pytest.mark.parametrize("bits", [4, 9, 12])
def test_weights_are_quantised_as_in_the_stream(bits):
    rng = np.random.default_rng(bits)
    layout = _layout((5, 37, 2), None)
    tensors = [rng.normal(size=shape).astype(np.float32) for shape in ((5, 37), (1, 37), (37, 2), (1, 2))]
    flat = np.concatenate([t.ravel() for t in tensors])
    s = np.zeros(layout.scratch, np.float32)
    kernels._pack(s, layout.table, flat, weights.levels(bits) // 2, True)
    expected = weights.quantised(tensors, "range", bits)
    for row, weight, bias in zip(layout.table, expected[::2], expected[1::2], strict=False):
        fan_in, fan_out = weight.shape
        packed = s[row[kernels.WEIGHTS] :][: fan_in * up(fan_out, PANEL)].reshape(-1, fan_in, PANEL)
        np.testing.assert_allclose(packed.transpose(1, 0, 2).reshape(fan_in, -1)[:, :fan_out], weight, rtol=2e-7)
        turned = s[row[kernels.TRANSPOSED] :][: fan_out * up(fan_in, PANEL)].reshape(-1, fan_out, PANEL)
        np.testing.assert_allclose(turned.transpose(0, 2, 1).reshape(-1, fan_out)[:fan_in], weight, rtol=2e-7)
        np.testing.assert_allclose(s[row[kernels.BIAS] :][:fan_out], bias[0], rtol=2e-7)


def test_places_in_a_scratch_do_not_overlap():
    layout = _layout((7, 20, 50, 33, 2), 2)
    taken = np.zeros(layout.scratch, int)
    for row in layout.table[:-2]:
        fan_in, fan_out = row[kernels.FAN_IN], row[kernels.FAN_OUT]
        for place, count in (
            (kernels.INPUT, kernels.TILE * row[kernels.STRIDE]),
            (kernels.WEIGHTS, fan_in * up(fan_out, PANEL)),
            (kernels.TRANSPOSED, fan_out * up(fan_in, PANEL)),
            (kernels.BIAS, up(fan_out, LANES)),
            (kernels.BY_WEIGHTS, up(fan_in, ROWS) * up(fan_out, LANES)),
            (kernels.BY_BIAS, up(fan_out, LANES)),
        ):
            taken[row[place] : row[place] + count] += 1
    assert taken.max() == 1
    assert layout.parameters == 7 * 20 + 20 + 20 * 50 + 50 + 57 * 33 + 33 + 33 * 2 + 2


def test_a_layer_that_cannot_be_shown_the_input_is_refused():
    for skip in (0, 3, -1):
        with pytest.raises(ValueError, match="shown the input"):
            _layout(Shape((3, 8, 8, 1), skip).widths, skip)
