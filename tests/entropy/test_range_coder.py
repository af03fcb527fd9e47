"""Both entropy coders: exact tables, optimal codes, distance from the entropy."""

import heapq
from bisect import bisect_right
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.entropy.coder import zero_order_entropy_bits
from gcbench.entropy.huffman import BitSink, BitSource, HuffmanCoder, HuffmanModel, code_lengths
from gcbench.entropy.range_coder import BellModel, HistogramModel, RangeCoder, categorical
from gcbench.entropy.tables import (
    PRECISION,
    SCALES,
    SHAPES,
    bell_frequencies,
    frequencies,
    histogram_frequencies,
)
from gcbench.errors import BitstreamError

CODERS = {"range": RangeCoder(), "huffman": HuffmanCoder()}


@pytest.fixture(params=CODERS)
def coder(request):
    return CODERS[request.param]


def run(coder, symbols, levels, **options):
    """Bytes of a model and the tensors under it, and what comes back."""
    model = coder.fit(symbols, levels, **options)
    sink = coder.sink()
    model.write(sink)
    for tensor in symbols:
        model.encode(tensor, sink)
    data = coder.finish(sink)
    source = coder.source(data)
    read = coder.read(source, symbols.shape[1:], levels, **options)
    back = np.stack([read.decode(source) for _ in symbols])
    coder.check_exhausted(source)
    return data, back, model


def bell_symbols(rng, size, sigma, shape="gauss", middle=128, levels=257):
    draw = {"gauss": rng.normal, "laplace": rng.laplace}[shape]
    return np.clip(np.rint(draw(middle, sigma, size)), 0, levels - 1).astype(np.int16)


# --- Round trips ---------------------------------------------------------------------------------------------------

DISTRIBUTIONS = ["constant", "extremes", "one-odd", "uniform", "narrow", "ramp"]


def make(name, rng, shape, levels):
    if name == "constant":
        return np.full(shape, rng.integers(levels), np.int16)
    if name == "extremes":
        return (rng.integers(2, size=shape) * (levels - 1)).astype(np.int16)
    if name == "one-odd":
        symbols = np.full(shape, rng.integers(levels), np.int16)
        symbols.reshape(-1)[rng.integers(symbols.size)] = rng.integers(levels)
        return symbols
    if name == "uniform":
        return rng.integers(levels, size=shape).astype(np.int16)
    if name == "narrow":
        return bell_symbols(rng, shape, 0.7, middle=rng.integers(levels), levels=levels)
    return (np.arange(np.prod(shape)).reshape(shape) % levels).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(DISTRIBUTIONS),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5), st.integers(1, 27)),
    bits=st.integers(2, 12),
    which=st.sampled_from(sorted(CODERS)),
    open_set=st.booleans(),
)
def test_round_trip(seed, name, shape, bits, which, open_set):
    levels = 2**bits + 1
    symbols = make(name, np.random.default_rng(seed), shape, levels)
    _, back, _ = run(CODERS[which], symbols, levels, open_set=open_set)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, symbols)


def test_an_open_set_can_code_what_it_has_not_seen(coder):
    seen = np.full((1, 4, 1, 8), 100, np.int16)
    model = coder.fit(seen, 257, open_set=True)
    new = np.arange(257, dtype=np.int16)[:256].reshape(8, 4, 1, 8)
    for tensor in [*new, np.full((4, 1, 8), 256, np.int16)]:
        sink = coder.sink()
        model.encode(tensor, sink)
        np.testing.assert_array_equal(model.decode(coder.source(coder.finish(sink))), tensor)


# --- Distance from the entropy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "sigma"), [("gauss", 1), ("gauss", 10), ("gauss", 43), ("laplace", 1), ("laplace", 7)]
)
def test_range_coding_is_within_a_thousandth_of_the_entropy(shape, sigma):
    symbols = bell_symbols(np.random.default_rng(0), (1, 64, 64, 27), sigma, shape)
    data, _, _ = run(CODERS["range"], symbols, 257)
    entropy = zero_order_entropy_bits(np.bincount(symbols.reshape(-1))) / 8
    assert len(data) < 1.003 * entropy + 40


@pytest.mark.parametrize("bits", [8, 12])
def test_a_histogram_that_is_no_bell(bits):
    rng = np.random.default_rng(1)
    levels = 2**bits + 1
    symbols = rng.choice([0, 1, levels // 3, levels - 1], p=[0.1, 0.2, 0.3, 0.4], size=(1, 50, 100, 27)).astype(
        np.int16
    )
    data, back, model = run(CODERS["range"], symbols, levels)
    assert isinstance(model, HistogramModel)
    np.testing.assert_array_equal(back, symbols)
    side = levels / 8  # next to nothing for each level that does not occur
    assert len(data) < 1.001 * zero_order_entropy_bits(np.bincount(symbols.reshape(-1))) / 8 + 40 + side


def test_scales_of_rows_are_found_and_pay():
    rng = np.random.default_rng(2)
    sigma = np.exp2(rng.uniform(0, 4, (128, 1, 1)))
    symbols = np.clip(np.rint(rng.normal(128, sigma, (1, 128, 32, 27))), 0, 256).astype(np.int16)
    data, _, model = run(CODERS["range"], symbols, 257)
    ideal = sum(zero_order_entropy_bits(np.bincount(row.reshape(-1))) for row in symbols[0]) / 8
    whole = zero_order_entropy_bits(np.bincount(symbols.reshape(-1))) / 8
    assert isinstance(model, BellModel)
    assert model.factors[0].any()
    assert not model.factors[2].any()  # taps do not differ: telling them apart would cost
    assert len(data) < 1.02 * ideal < 0.95 * whole


def test_scales_of_all_axes_are_found_and_pay():
    rng = np.random.default_rng(3)
    sigma = np.exp2(rng.uniform(0, 1.5, (64, 1, 1)) + rng.uniform(0, 1.5, (16, 1)) + rng.uniform(0, 1.5, 27))
    symbols = np.clip(np.rint(rng.normal(128, sigma, (1, 64, 16, 27))), 0, 256).astype(np.int16)
    data, _, model = run(CODERS["range"], symbols, 257)
    ideal = np.log2(sigma * np.sqrt(2 * np.pi * np.e)).sum() / 8  # differential entropy of a Gaussian
    assert all(factor.any() for factor in model.factors)
    assert len(data) < 1.01 * ideal + 150


def test_cost_is_what_coding_takes(coder):
    symbols = bell_symbols(np.random.default_rng(4), (3, 16, 1, 64), 20)
    data, _, model = run(coder, symbols, 257, open_set=True)
    bits = coder.model_bits(model) + model.cost_bits(symbols)
    assert bits <= 8 * len(data) + 1 < bits + 66  # two words at most to end a range-coded run


def test_entropy_of_known_histograms():
    assert zero_order_entropy_bits(np.array([8, 0, 8])) == 16
    assert zero_order_entropy_bits(np.array([5])) == 0
    assert zero_order_entropy_bits(np.array([1, 1, 2])) == 6


# --- Tables of the range coder -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**26), min_size=1, max_size=300).filter(any))
def test_frequencies_are_in_proportion(weights):
    table = frequencies(np.array(weights, np.int64))
    assert table.min() >= 1
    assert table.sum() == 2**PRECISION
    exact = np.array(weights) / sum(weights) * (2**PRECISION - len(weights)) + 1
    off = np.abs(table - exact)
    off[np.argmax(weights)] = 0  # takes the rest
    assert off.max() < 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0, 7, 16, 23, 30, 41, 63])
@pytest.mark.parametrize("location", [0, 3, 1024, 1029, 2048])
def test_bell_tables_follow_the_formula(shape, scale, location):
    levels = 257
    s, beta, mu = 2 ** ((scale - 16) / 4), shape / 4, location / 8
    weights = [exp(-((abs(q - mu) / s) ** beta)) for q in range(-levels, 2 * levels)]
    folded = np.array(weights[levels : 2 * levels])
    folded[0] += sum(weights[:levels])
    folded[-1] += sum(weights[2 * levels :])
    table = bell_frequencies(levels, location, shape, scale)
    assert table.sum() == 2**PRECISION
    if folded.sum() < 1e-9:  # all levels are too many scales from μ: the nearest has everything
        assert table[(location + 4) // 8] == 2**PRECISION - levels + 1
    elif folded.sum() > 0.01:  # otherwise 2^-26, the unit of the weights, is not small
        expected = folded / folded.sum() * (2**PRECISION - levels) + 1
        np.testing.assert_allclose(table, expected, rtol=1e-4, atol=260)


def test_bell_tables_are_sound_at_every_scale():
    for levels in (5, 257, 4097):
        for scale in range(0, SCALES, 3):
            table = bell_frequencies(levels, 8 * (levels - 1) - 4, 3, scale)
            assert table.min() >= 1
            assert table.sum() == 2**PRECISION


def test_tables_that_every_machine_must_make():
    # From integers: ⌊2^26 e^-d⌋ by 28-digit decimals, d = 2 to 7 on the first and last level.
    assert bell_frequencies(5, 16, 4, 16).tolist() == [1656602, 2853583, 7756846, 2853583, 1656602]
    assert histogram_frequencies(np.array([1, 0, 9, 25]), 1, 6).tolist() == [
        1,
        1525201,
        1,
        3050402,
        12201610,
        1,
    ]  # 1 : 2 : 8


def test_symbols_under_tables_of_their_own_take_the_words_of_one_table_each():
    rng = np.random.default_rng(0)
    tables = np.stack([bell_frequencies(31, 8 * 15 + i % 8, 5, 8 + i % 20) for i in range(200)])
    symbols = np.array([rng.choice(31, p=table / table.sum()) for table in tables])
    together, apart = RangeCoder().sink(), RangeCoder().sink()
    together.put_each(symbols, tables)
    for symbol, table in zip(symbols, tables, strict=True):
        apart.put(np.array([symbol]), categorical(table))
    np.testing.assert_array_equal(together.words(), apart.words())
    source = RangeCoder().source(RangeCoder().finish(together))
    np.testing.assert_array_equal(source.get_each(tables), symbols)
    assert source.exhausted()


def test_words_hold_exactly_these_frequencies():
    """A range decoder of our own, with integers alone, reads what constriction wrote."""
    rng = np.random.default_rng(5)
    table = bell_frequencies(257, 1029, 6, 31)
    symbols = rng.choice(257, 3000, p=table / table.sum()).astype(np.int16)
    model = BellModel((1, 1, 3000), 257, 1029, 6, 31, (np.zeros(1, int), np.zeros(1, int), np.zeros(3000, int)))
    coder = CODERS["range"]
    sink = coder.sink()
    model.encode(symbols, sink)
    words = iter(np.frombuffer(coder.finish(sink), "<u4").tolist())

    cumulative = [0, *np.cumsum(table).tolist()]
    lower, width, point = 0, 2**64 - 1, next(words) << 32 | next(words)
    for expected in symbols.tolist():
        unit = width >> PRECISION
        symbol = bisect_right(cumulative, (point - lower) % 2**64 // unit) - 1
        assert symbol == expected
        lower = (lower + unit * cumulative[symbol]) % 2**64
        width = unit * (cumulative[symbol + 1] - cumulative[symbol])
        if width < 2**32:
            lower, width = (lower << 32) % 2**64, width << 32
            point = (point << 32) % 2**64 | next(words, 0)


# --- Huffman codes -------------------------------------------------------------------------------------------------


def huffman_cost(weights):
    """Total bits of an optimal prefix code, from the textbook: the sum of all merged weights."""
    heap = [w for w in weights if w > 0]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200).filter(any))
def test_code_lengths_are_optimal(weights):
    lengths = code_lengths(np.array(weights))
    assert int(lengths @ np.array(weights)) == huffman_cost(weights)
    present = lengths[np.array(weights) > 0]
    if len(present) > 1:
        assert sum(2.0**-length for length in present.tolist()) == 1.0
    assert not lengths[np.array(weights) == 0].any()


def test_code_lengths_of_huffmans_example():
    # Huffman 1952, Table I: probabilities in hundredths, average length 3.42.
    weights = np.array([20, 18, 10, 10, 10, 6, 6, 4, 4, 4, 4, 3, 1])
    assert int(code_lengths(weights) @ weights) == 342


def test_codes_end_at_32_bits():
    fibonacci = [1, 1]
    while len(fibonacci) < 60:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = code_lengths(np.array(fibonacci))
    assert lengths.max() <= 32
    assert sum(2.0**-length for length in lengths.tolist()) == 1.0


def test_huffman_takes_the_optimum_and_its_table():
    symbols = bell_symbols(np.random.default_rng(6), (1, 64, 64, 27), 5)
    data, _, model = run(CODERS["huffman"], symbols, 257)
    optimum = huffman_cost(np.bincount(symbols.reshape(-1)).tolist()) / 8
    assert optimum <= len(data) <= optimum + 4 + 3 * (model.last - model.first + 1) / 8 + 8


def test_canonical_codewords():
    lengths = np.array([0, 2, 1, 3, 0, 3])
    sink = BitSink()
    HuffmanModel((1, 1, 4), 1, 5, lengths).encode(np.array([2, 1, 3, 5]), sink)
    assert sink.data() == bytes([0b0_10_110_11, 0b1_0000000])


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)), min_size=1, max_size=50))
def test_bits_come_back(numbers):
    sink = BitSink()
    for value, bits in numbers:
        sink.put_value(value % 2**bits, bits)
    source = BitSource(sink.data())
    assert [source.get_value(bits) for _, bits in numbers] == [value % 2**bits for value, bits in numbers]
    assert source.left < 8


def test_long_runs_of_symbols_cross_chunks():
    rng = np.random.default_rng(7)
    symbols = rng.integers(4097, size=(1, 1, 1, 300_000)).astype(np.int16)  # 12 bits each: seven chunks
    _, back, _ = run(CODERS["huffman"], symbols, 4097)
    np.testing.assert_array_equal(back, symbols)


# --- Data that cannot be -------------------------------------------------------------------------------------------


def test_data_that_is_too_long_or_too_short_is_refused(coder):
    symbols = bell_symbols(np.random.default_rng(8), (1, 16, 16, 27), 5)
    model = coder.fit(symbols, 257)
    sink = coder.sink()
    model.encode(symbols[0], sink)
    data = coder.finish(sink)
    for wrong in (data + bytes(4), data + b"\xff" * 8, data[:-4], data[: len(data) // 8 * 4], b""):
        source = coder.source(wrong)
        with pytest.raises(BitstreamError):  # noqa: PT012 - either may notice
            model.decode(source)
            coder.check_exhausted(source)


def test_a_code_that_is_not_complete_is_refused():
    sink = BitSink()
    HuffmanModel((1, 1, 1), 0, 2, np.array([2, 2, 2])).write(sink)
    with pytest.raises(BitstreamError, match="complete"):
        CODERS["huffman"].read(BitSource(sink.data()), (1, 1, 1), 5)


def test_a_code_with_gaps_is_none_for_an_open_set():
    sink = BitSink()
    HuffmanModel((1, 1, 1), 0, 1, np.array([1, 1, 0, 0, 0])).write(sink)
    CODERS["huffman"].read(BitSource(sink.data()), (1, 1, 1), 5)
    with pytest.raises(BitstreamError, match="lacks"):
        CODERS["huffman"].read(BitSource(sink.data()), (1, 1, 1), 5, open_set=True)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ((16, 0, 0, 0, 0), "kind"),
        ((3, 0, 0, 0, 0), "kind"),
        ((0, 1, 8, 0, 0), "range"),
        ((0, 0, 0, len(SHAPES), 0), "range"),
        ((0, 0, 0, 0, SCALES), "range"),
        ((2, 0, 0, 0, 0, SCALES), "scale"),
        ((1, 2, 0, 1, 0), "level"),
        ((1, 0, 0, 1, 1), "level"),
    ],
)
def test_range_models_out_of_bounds_are_refused(description, words):
    coder = CODERS["range"]
    sink = coder.sink()
    sink.put_bytes(*description)
    with pytest.raises(BitstreamError, match=words):
        coder.read(coder.source(coder.finish(sink)), (2, 1, 1), 257)


def test_a_source_gives_no_more_symbols_than_its_bytes_justify():
    """A symbol whose chance is almost 1 takes 2^-15 bits: a few bytes would hold a thousand million."""
    likely = categorical(frequencies(np.array([1, 0])))
    source = RangeCoder().source(bytes(8))
    most = (1 << 22) + 8 * 1024
    with pytest.raises(BitstreamError, match=f"declares {most + 1} symbols; the limit is {most}"):
        source.get(most + 1, likely)
    source = RangeCoder().source(bytes(8))
    assert not source.get(most - 1, likely).any()
    source.get_each(np.ones((1, 2), np.int64) << 23)
    with pytest.raises(BitstreamError, match="symbols; the limit"):
        source.get_each(np.ones((1, 2), np.int64) << 23)
