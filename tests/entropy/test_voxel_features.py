"""Coding features with their surroundings: lossless, and smaller than by tables where surroundings say something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.entropy.mixing import logits_of
from gcbench.entropy.voxel_features import (
    FIRST,
    LARGEST,
    LAST,
    Level,
    _neighbours,
    _prior,
    decode_features,
    encode_features,
)
from gcbench.errors import BitstreamError

_anything = st.integers(-LARGEST, LARGEST) | st.integers(-3, 3) | st.sampled_from([15, 16, -15, -16, 10, 11])


def tables(channels: int = 2) -> np.ndarray:
    """The same for all channels: falling by half from 0 outwards on both sides."""
    row = np.zeros(LAST - FIRST + 1, np.int64)
    for i in range(-14, 15):
        row[i - FIRST] = (1 << 14) >> abs(i)
    return np.tile(row, (channels, 1))


def coded(features, places) -> bytes:
    return encode_features([features], [Level(places, tables())])


def decoded(stream, places) -> np.ndarray:
    (features,) = decode_features(stream, [Level(places, tables())])
    return features


def table_bytes(features) -> float:
    """What the features take under the tables alone."""
    share = tables()[0] / tables()[0].sum()
    return float(-np.log2(share[features - FIRST]).sum() / 8)


def plane(side: int) -> np.ndarray:
    """Places of a tilted plane, sorted."""
    x, y, z = np.argwhere(np.ones((side,) * 3, bool)).T
    return np.stack([x, y, z], 1)[np.abs(x + 2 * y + z - 2 * side) < 2].astype(np.int32)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(_anything, _anything), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_any_features_come_back(rows, seed):
    rng = np.random.default_rng(seed)
    places = np.unique(rng.integers(0, 1 << rng.integers(2, 20), (len(rows), 3)), axis=0)
    features = np.array(rows[: len(places)])
    stream = coded(features, places)
    back = decoded(stream, places)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, features)


def test_the_input_stays_as_it_is(rng):
    features, places = rng.integers(-3, 4, (len(plane(8)), 2)), plane(8)
    before = features.copy()
    coded(features, places)
    np.testing.assert_array_equal(features, before)


def test_features_without_structure_cost_what_the_tables_say(rng):
    places = plane(24)
    share = tables()[0] / tables()[0].sum()
    features = rng.choice(len(share), (len(places), 2), p=share) + FIRST
    by_tables = table_bytes(features)
    assert by_tables * 0.98 < len(coded(features, places)) < by_tables * 1.08


@pytest.mark.parametrize("what", ["neighbours", "channels", "places"])
def test_features_that_follow_from_something_cost_little(what, rng):
    places = plane(24)
    if what == "neighbours":
        features = np.stack([places[:, 0] // 4 % 5 - 2, places[:, 2] // 6 % 3 - 1], 1)
    elif what == "channels":
        first = rng.integers(-2, 3, len(places))
        features = np.stack([first, 1 - first], 1)
    else:
        occupied = (_neighbours(np.ascontiguousarray((places + 1) @ [1 << 42, 1 << 21, 1])) >= 0).sum(1)
        features = np.stack([occupied % 5 - 2, occupied % 3 - 1], 1)
    by_tables = table_bytes(features)
    assert len(coded(features, places)) < (0.65 if what == "channels" else 0.4) * by_tables


def test_levels_follow_each_other_in_one_stream(rng):
    levels = [Level(plane(side), tables(channels)) for side, channels in ((4, 1), (12, 3), (6, 2))]
    features = [rng.integers(-40, 41, (len(at), len(of))) for at, of in levels]
    stream = encode_features(features, levels)
    for back, expected in zip(decode_features(stream, levels), features, strict=True):
        np.testing.assert_array_equal(back, expected)
    apart = sum(len(encode_features([one], [level])) for one, level in zip(features, levels, strict=True))
    assert apart - 4 <= len(stream) <= apart


@pytest.mark.parametrize("magnitude", [15, 16, 17, 255, 2047, LARGEST])
def test_magnitudes_cost_about_two_bits_for_each_doubling(magnitude):
    """In Elias's gamma code they cost 2 log2(m); learning does away with a part of the lengths."""
    places = plane(16)
    features = np.random.default_rng(0).integers(-magnitude, magnitude + 1, (len(places), 2))
    bits = 8 * len(coded(features, places)) / features.size
    assert np.log2(2 * magnitude + 1) < bits < np.log2(2 * magnitude + 1) + 2.5
    np.testing.assert_array_equal(decoded(coded(features, places), places), features)


def test_neighbours_by_brute_force(rng):
    places = np.unique(rng.integers(0, 5, (60, 3)), axis=0)
    rows = _neighbours(np.ascontiguousarray((places + 1) @ [1 << 42, 1 << 21, 1]))
    index = {tuple(place): row for row, place in enumerate(places.tolist())}
    for row, (x, y, z) in enumerate(places.tolist()):
        expected = [
            index.get((x + dx, y + dy, z + dz), -1) for dx in (-1, 0, 1) for dy in (-1, 0, 1) for dz in (-1, 0, 1)
        ]
        assert rows[row].tolist() == expected


def test_the_prior_is_that_of_the_tables():
    prior = _prior(tables(1))[0] / 256
    shares = tables(1)[0].astype(float)
    zero = shares[-FIRST] / shares.sum()
    assert prior[0] == pytest.approx(np.log(zero / (1 - zero)), abs=0.01)
    assert prior[1] == pytest.approx(0, abs=0.01), "both signs are as likely"
    np.testing.assert_allclose(prior[2:10], 0, atol=0.01)  # each magnitude takes half of what is left


def test_logits_of_fractions():
    shares, totals = np.array([1, 1, 3, 0, 9]), np.array([2, 4, 4, 10**6, 9])
    expected = np.log((shares + 0.5) / (totals - shares + 0.5))
    np.testing.assert_allclose(logits_of(shares, totals) / 256, np.clip(expected, -8, 8), atol=0.3)


def test_golden_stream():
    places = plane(4)
    features = np.stack([places[:, 0] - 1, places[:, 1] * places[:, 2] % 5 - 2], 1)
    features[3] = [-300, 16]
    assert coded(features, places).hex() == "d5ccb219929ef9bc18490651b500d493960c5dd2"


def test_short_and_long_streams_are_refused(rng):
    places = plane(12)
    features = rng.integers(-3, 4, (len(places), 2))
    stream = coded(features, places)
    for length in range(0, len(stream) - 1, 11):
        with pytest.raises(BitstreamError):
            decoded(stream[:length], places)
    with pytest.raises(BitstreamError):
        decoded(stream + bytes(9), places)


def test_any_bytes_decode_to_an_error_or_to_features(rng):
    places = plane(6)
    for _ in range(200):
        try:
            features = decoded(rng.bytes(int(rng.integers(1, 60))), places)
        except BitstreamError:
            continue
        assert np.abs(features).max() <= LARGEST


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="fit"):
        coded(np.zeros((3, 3), int), np.zeros((3, 3), int))
    with pytest.raises(ValueError, match="fit"):
        coded(np.zeros((3, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="within"):
        coded(np.full((1, 2), LARGEST + 1), np.zeros((1, 3), int))
    with pytest.raises(BitstreamError, match="declares 200000 features; the limit is 163840"):
        decoded(b"", np.zeros((100_000, 3), int))
