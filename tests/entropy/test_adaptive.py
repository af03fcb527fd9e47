"""The range coder: exact, near the ideal length, and bounded on streams that are not its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.entropy import adaptive as rc

TOTAL = 1 << rc.PRECISION


def coded(intervals: list[tuple[int, int]]) -> bytes:
    state, out = rc.start_encoder(), np.zeros(8, np.uint8)
    for low, high in intervals:
        out = rc.roomy(out, state, 1)
        rc.encode(state, out, low, high)
    return rc.finish(state, out).tobytes()


def decoded(stream: bytes, intervals: list[tuple[int, int]]) -> list[int]:
    """What the decoder sees before each interval is taken."""
    data = np.frombuffer(stream, np.uint8).copy()
    state, seen = rc.start_decoder(data), []
    for low, high in intervals:
        seen.append(rc.peek(state))
        rc.consume(state, data, low, high)
    assert not rc.overrun(state, data)
    assert rc.ends_here(state, data)
    return seen


_interval = st.tuples(st.integers(0, TOTAL), st.integers(0, TOTAL)).filter(lambda pair: pair[0] != pair[1])
_extreme = st.sampled_from([(0, 1), (TOTAL - 1, TOTAL), (0, TOTAL - 1), (1, TOTAL), (0, TOTAL), (TOTAL // 2, TOTAL)])


@settings(deadline=None, max_examples=120)
@given(st.lists(_interval.map(sorted).map(tuple) | _extreme, max_size=200))
def test_the_code_stays_in_every_interval(intervals):
    for (low, high), value in zip(intervals, decoded(coded(intervals), intervals), strict=True):
        assert low <= value < high


@settings(deadline=None, max_examples=80)
@given(st.lists(_interval.map(sorted).map(tuple) | _extreme, max_size=100))
def test_the_stream_is_a_number_in_the_range_by_unbounded_integers(intervals):
    start, width, bits = 0, 1 << 40, 40
    for low, high in intervals:
        start, width = start + (width >> 16) * low, (width >> 16) * (high - low)
        while width < 1 << 32:
            start, width, bits = start << 8, width << 8, bits + 8
    stream = coded(intervals)
    assert len(stream) <= bits // 8
    assert start <= int.from_bytes(stream.ljust(bits // 8, b"\0"), "big") < start + width


def test_length_is_that_of_the_probabilities(rng):
    edges = np.array([0, 40, 1000, 30000, 65000, TOTAL])
    symbols = rng.choice(5, size=20000, p=np.diff(edges) / TOTAL)
    intervals = [(int(edges[s]), int(edges[s + 1])) for s in symbols]
    ideal = -np.log2(np.diff(edges)[symbols] / TOTAL).sum() / 8
    assert ideal <= len(coded(intervals)) <= ideal * 1.0001 + 2


@pytest.mark.parametrize(("intervals", "stream"), [([], ""), ([(0, TOTAL)] * 9, ""), ([(TOTAL // 2, TOTAL)], "80")])
def test_shortest_streams(intervals, stream):
    assert coded(intervals).hex() == stream


def test_golden_stream():
    intervals = [(i * 977 % 60000, i * 977 % 60000 + 1 + i * 31 % 5000) for i in range(24)]
    assert coded(intervals).hex() == "000003d1f49a55df65f3dab1145a6a4aafe471dfd03eb057b6"


def test_a_carry_runs_through_many_bytes():
    # The range lies across a carry for a hundred bytes; the last interval decides on which side of it the code ends.
    halves = [(TOTAL // 2 - 1, TOTAL // 2 + 1)] * 50
    for last in [(0, 1), (TOTAL - 1, TOTAL), (0, TOTAL // 2), (TOTAL // 2, TOTAL)]:
        intervals = [*halves, last, (3, 4), (TOTAL - 1, TOTAL)]
        for (low, high), value in zip(intervals, decoded(coded(intervals), intervals), strict=True):
            assert low <= value < high


def test_a_short_stream_is_noticed_and_the_decoder_stays_sound():
    data = np.zeros(0, np.uint8)
    state = rc.start_decoder(data)
    for _ in range(10):
        rc.consume(state, data, 0, 1)
    assert rc.overrun(state, data)
    assert not rc.ends_here(state, data)


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=60), st.lists(st.integers(1, TOTAL), min_size=1, max_size=6))
def test_any_bytes_decode_as_by_unbounded_integers(stream, widths):
    data = np.frombuffer(stream, np.uint8).copy()
    state = rc.start_decoder(data)
    edges = np.unique([0, *np.minimum(np.cumsum(widths), TOTAL), TOTAL])
    start, width, bits = 0, 1 << 40, 40
    for _ in range(100):
        code = int.from_bytes(stream[: bits // 8].ljust(bits // 8, b"\0"), "big")
        value = (code - start) // (width >> 16)
        assert rc.peek(state) == min(value, TOTAL - 1)
        if value >= TOTAL:  # beyond the last interval, where rounding leaves a rest of the range: not a coder's stream
            break
        symbol = np.searchsorted(edges, value, side="right") - 1
        low, high = int(edges[symbol]), int(edges[symbol + 1])
        rc.consume(state, data, low, high)
        start, width = start + (width >> 16) * low, (width >> 16) * (high - low)
        while width < 1 << 32:
            start, width, bits = start << 8, width << 8, bits + 8
