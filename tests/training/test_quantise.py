import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.training.quantise import dequantise, quantise


def test_levels_of_eight_bits():
    assert quantise([-1.0, 0.0, 1.0, 0.25, -2.0, 7.0], 8).tolist() == [0, 128, 256, 160, 0, 256]
    assert dequantise(np.array([0, 128, 256, 160, 1], np.int16), 8).tolist() == [-1.0, 0.0, 1.0, 0.25, -1 + 1 / 128]


def test_halves_go_to_the_even_level():
    half = 1 / 256  # of a step of 1/128
    assert quantise([half, 3 * half, -half, -3 * half], 8).tolist() == [128, 130, 128, 126]


@pytest.mark.parametrize("bits", range(2, 13))
def test_every_level_survives(bits):
    symbols = np.arange(2**bits + 1, dtype=np.int16)
    values = dequantise(symbols, bits)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(quantise(values, bits), symbols)
    np.testing.assert_array_equal(values.astype(np.float64), -1 + symbols * 2.0 ** (1 - bits))  # exact


@given(arrays(np.float32, 64, elements=st.floats(-1.5, 1.5, width=32)), st.integers(2, 12))
def test_as_torch_rounds(values, bits):
    scale = 2.0 / 2**bits
    expected = torch.round((torch.from_numpy(values).clamp(-1, 1) + 1) / scale)
    np.testing.assert_array_equal(quantise(values, bits), expected.numpy())


@given(arrays(np.float32, 64, elements=st.floats(-1, 1, width=32)), st.integers(2, 12))
def test_no_further_than_half_a_step(values, bits):
    error = np.abs(dequantise(quantise(values, bits), bits).astype(np.float64) - values)
    assert error.max() <= 2.0**-bits + 2.0**-24  # the sum 1 + x is rounded to float32


def test_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        quantise([0.0, np.nan], 8)
