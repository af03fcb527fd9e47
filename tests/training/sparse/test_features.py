"""Coding of latent features: any integers come back; tables are exact; sizes are those of the distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.errors import BitstreamError
from gcbench.training.sparse.bottleneck import FactorizedBottleneck
from gcbench.training.sparse.features import (
    ESCAPE,
    FIRST,
    LARGEST,
    LAST,
    checked,
    decode_features,
    encode_features,
    frequency_tables,
)


def geometric_tables() -> np.ndarray:
    """Two channels with frequencies that need no floating point: halves from 0 on, and from −1 down."""
    tables = np.zeros((2, ESCAPE + 1), np.uint16)
    for i in range(15):
        tables[0, i - FIRST] = tables[1, -1 - i - FIRST] = 1 << (15 - i)
    tables[:, ESCAPE] = 2
    return checked(tables)


@pytest.fixture(scope="module")
def bottleneck() -> FactorizedBottleneck:
    torch.manual_seed(5)
    model = FactorizedBottleneck(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def test_tables_are_the_distributions_in_units_of_2_16(bottleneck):
    tables = frequency_tables(bottleneck)
    assert tables.shape == (8, 257)
    assert tables.dtype == np.uint16
    np.testing.assert_array_equal(tables.sum(1, dtype=int), 65536)
    assert tables[:, ESCAPE].min() >= 1
    symbols = torch.arange(FIRST, LAST + 1).float()[:, None].expand(-1, 8)
    expected = bottleneck.likelihood(symbols).detach().double().numpy().T * 65536
    # Rounding, float32, and what the escape takes from the likeliest feature.
    off = np.abs(tables[:, :ESCAPE] - expected)
    likeliest = expected.argmax(1)
    assert off[np.arange(8), likeliest].max() < 60
    off[np.arange(8), likeliest] = 0
    assert off.max() < 0.6


def test_a_distribution_that_is_all_in_one_feature_has_a_table():
    model = FactorizedBottleneck(3)
    with torch.no_grad():
        for matrix in model.matrices:
            matrix.add_(12)
    tables = frequency_tables(model)
    checked(tables)
    assert tables.max() >= 65000


@pytest.mark.parametrize(
    "tables",
    [
        np.zeros((2, 257), np.uint16),
        geometric_tables().astype(np.int32),
        geometric_tables()[:, :-1],
        geometric_tables()[0],
        np.where(np.arange(257) == ESCAPE, 0, geometric_tables() + 2 * (np.arange(257) == 128)).astype(np.uint16),
    ],
)
def test_what_is_no_table_is_refused(tables):
    with pytest.raises(ValueError, match=r"tables|add up"):
        checked(tables)


_anything = st.integers(-LARGEST, LARGEST) | st.integers(-3, 3) | st.sampled_from([FIRST, LAST, FIRST - 1, LAST + 1])


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(_anything, _anything), max_size=60))
def test_any_features_come_back(rows):
    features = np.array(rows, np.int32).reshape(-1, 2)
    decoded = decode_features(encode_features(features, geometric_tables()), len(rows), geometric_tables())
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, features)


def test_size_is_what_the_entropy_model_predicts(bottleneck, rng):
    tables = frequency_tables(bottleneck)
    features = np.stack([rng.choice(ESCAPE + 1, 5000, p=row / 65536) + FIRST for row in tables], axis=1)
    features[features > LAST] = 0
    ideal = bottleneck.bits(torch.from_numpy(features).float()).item() / 8
    assert len(encode_features(features, tables)) == pytest.approx(ideal, rel=0.003)


def test_golden_stream():
    features = np.array([[0, -1], [1, -2], [5, -7], [0, -1], [14, 3], [-300, 32767], [2, -1]])
    stream = encode_features(features, geometric_tables())
    assert stream.hex() == "d504405fe9d1beef6dc566fd36e637fb"
    # By hand: −log2 of the shares 2^-(1 + i), 15 bits for an escape (2 of 2^16) and 16 of what was escaped, and 24 bits
    # for 3, which has no share in the second channel. The stream is whole words.
    by_hand = (1 + 1) + (2 + 2) + (6 + 7) + (1 + 1) + (15 + 24) + (31 + 31) + (3 + 1)
    assert len(stream) == 4 * -(-by_hand // 32)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((3, 3), int), "do not fit"),
        (np.zeros(2, int), "do not fit"),
        ([[0, LARGEST + 1]], "within"),
        ([[-LARGEST - 1, 0]], "within"),
    ],
)
def test_features_that_cannot_be_coded(features, message):
    with pytest.raises(ValueError, match=message):
        encode_features(np.asarray(features), geometric_tables())


def test_short_long_and_empty_streams_are_refused(rng):
    tables = geometric_tables()
    features = rng.integers(0, 3, (200, 2)) * [1, -1] - [0, 1]
    stream = encode_features(features, tables)
    for length in range(0, len(stream) - 1, 7):
        with pytest.raises(BitstreamError):
            decode_features(stream[:length], 200, tables)
    with pytest.raises(BitstreamError):
        decode_features(stream + bytes(9), 200, tables)
    with pytest.raises(BitstreamError):
        decode_features(stream, 100, tables)
    with pytest.raises(BitstreamError, match="declares 2199023255552 features"):
        decode_features(stream, 1 << 40, tables)
