from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gcbench.codecs.implicit.perceptron_codec import CODINGS
from gcbench.entropy import tensors as weights
from gcbench.entropy.container import Writer
from gcbench.entropy.range_coder import RangeCoder, RangeSink
from gcbench.errors import BitstreamError

MATRIX = arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)),
                elements=st.floats(-8, 8, width=32, allow_subnormal=False))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(MATRIX, min_size=1, max_size=4), st.sampled_from(CODINGS), st.integers(2, 12))
def test_the_decoder_has_what_the_quantiser_gave(tensors, coding, bits):
    data = weights.encode(tensors, coding, bits)
    decoded = weights.decode(data, [t.shape for t in tensors], coding, bits)
    for got, expected, tensor in zip(decoded, weights.quantised(tensors, coding, bits), tensors, strict=True):
        np.testing.assert_array_equal(got, expected)
        if coding in {"range", "sparse"}:
            assert np.abs(got - tensor).max() <= np.abs(tensor).max() / (weights.levels(bits) // 2) / 2 * 1.001 + 1e-30
            assert (got[tensor == 0] == 0).all()


def test_pruning_saves_bytes():
    rng = np.random.default_rng(0)
    tensor = rng.normal(size=(64, 64)).astype(np.float32)
    sizes = []
    for sparsity in (0, 0.3, 0.5, 0.7, 0.9):
        kept = np.where(np.abs(tensor) >= np.quantile(np.abs(tensor), sparsity), tensor, 0)
        sizes.append(len(weights.encode([kept], "sparse", 8)))
    assert sizes == sorted(sizes, reverse=True)
    # 10 % of 4096 values of about 6.5 bits, and gaps of about 4.7 bits.
    assert sizes[-1] < 0.22 * sizes[0]


def test_a_long_run_of_zeros():
    tensor = np.zeros((40, 100), np.float32)
    tensor[39, 99] = -2
    tensor[0, 0] = 1
    decoded = weights.decode(weights.encode([tensor], "sparse", 8), [tensor.shape], "sparse", 8)[0]
    np.testing.assert_allclose(decoded, tensor, atol=2 / 254)
    assert np.count_nonzero(decoded) == 2


def test_the_range_coder_is_near_the_entropy():
    tensor = np.random.default_rng(1).normal(size=(128, 128)).astype(np.float32)
    size = len(weights.encode([tensor], "range", 8))
    symbols = np.rint(tensor / (np.abs(tensor).max() / 127)).astype(int)
    _, counts = np.unique(symbols, return_counts=True)
    p = counts / counts.sum()
    assert size * 8 < 1.02 * -(counts * np.log2(p)).sum()


@pytest.mark.parametrize("coding", CODINGS)
def test_damaged_weights_are_refused_or_other_weights(coding):
    tensor = np.random.default_rng(2).normal(size=(9, 11)).astype(np.float32)
    data = weights.encode([tensor], coding, 8)
    rng = np.random.default_rng(3)
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            weights.decode(data[:length], [tensor.shape], coding, 8)
    for _ in range(300):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            (decoded,) = weights.decode(bytes(changed), [tensor.shape], coding, 8)
        except BitstreamError:
            continue
        assert decoded.shape == tensor.shape
        assert np.isfinite(decoded).all()


def test_gaps_that_no_value_follows_are_refused():
    """Their encoder writes none: where there is no value, there are no gaps."""
    coder, sink = RangeCoder(), RangeSink()
    gaps = np.full((1, 1, 2, 1), 255)
    model = coder.fit(gaps, 256)
    model.write(sink)
    model.encode(gaps[0], sink)
    sink.put_bytes(0, 0, 0, 0, 16)  # a bell for no values
    data = Writer().floats([1.0]).number(2, 0).raw(coder.finish(sink)).data()
    with pytest.raises(BitstreamError, match="counts of sparse weights contradict"):
        weights.decode(data, [(40, 100)], "sparse", 8)
