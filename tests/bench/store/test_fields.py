"""What a field may hold: wrong values are refused with a reason, and the fast pattern accepts no wrong value."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcbench.bench.store.fields import Named, OneOf, Real, Several, Sha256, Text, Value, Whole, read_line
from gcbench.bench.store.records import CODING, MEASUREMENT, CodedMesh, Coding, Cost, Measurement, RanOn

KINDS = (
    *(Text(5), Text(5, 1), Sha256(), Sha256(empty=True), OneOf(("ok", "failed")), Whole(10**6), Whole(2**63 - 1)),
    *(Real(1e9), Value(), Several(Whole(), 3), Several(Sha256(), 2, 1), Named(Value(), 2)),
)
HASH = "0123456789abcdef" * 4
CODED = Coding(
    "k", "s", "d", "all", "c", "1", "model", "r", 0, "quick", 0, (CodedMesh("m", HASH, 3, 1, decoded_sha256=HASH),),
    streams=(HASH,), encode=Cost(0.1, 1e-05, 5, 4, stage_s={"part": 0.5}), decode=Cost(0.1, 0.2, 5, 4, gpu_bytes=7),
    ran_on=RanOn("host"), status="timeout", stage="decode", error="late", limit_s=1.5, shared_bytes=0, timing="here",
)  # fmt: skip
MEASURED = Measurement("k", "s", HASH, 0, "c", "1", HASH, "suite", "1", 0, values={"x": -1.5e-07, "n": 3, "yes": True})

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.sampled_from([0, -0.0, 1e9, 1e22, 2**53, 2**63, 10**6])
)
JSON = st.recursive(
    st.none() | NUMBERS | st.text(max_size=8) | st.sampled_from([HASH, "ok", "a", "\ud800", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), JSON)
def test_the_pattern_of_a_kind_matches_only_what_the_kind_takes(kind, value):
    if re.fullmatch(kind.pattern, json.dumps(value)):
        kind.take(value)


@pytest.mark.parametrize(("kind", "one"), [(CODING, CODED), (MEASUREMENT, MEASURED)])
def test_the_pattern_matches_lines_as_they_are_written_and_they_are_read_back(kind, one):
    text = json.dumps(one.to_json())
    assert re.fullmatch(kind.pattern, text)
    assert kind.take(read_line(text.encode())) == one
    bare = dataclasses.replace(one, **{f.name: f.default for f in dataclasses.fields(one) if f.default is None})
    assert re.fullmatch(kind.pattern, json.dumps(bare.to_json()))


WRONG: tuple[Any, ...] = (
    *(True, 1.5, -1, 2**80, 1e400, float("nan"), "7", "x" * 10_000_000, [], {}, [[]], {"a": 1}, "../../dev/zero"),
)


@pytest.mark.parametrize("name", ["seed", "rate_index", "shared_bytes", "decoder_bytes"])
@pytest.mark.parametrize("value", [v for v in WRONG if v != []])
def test_a_number_is_a_number(name, value):
    with pytest.raises(ValueError, match=name) as info:
        Coding.from_json(CODED.to_json() | {name: value})
    assert len(str(info.value)) < 200


@pytest.mark.parametrize("value", [v for v in WRONG if v not in ([], {})])
def test_streams_and_hashes_are_64_hexadecimal_digits(value):
    for wrong in ({"streams": [value]}, {"meshes": [{"mesh": "m", "decoded_sha256": value}]}):
        with pytest.raises(ValueError, match="SHA-256"):
            Coding.from_json(CODED.to_json() | wrong)
    with pytest.raises(ValueError, match="SHA-256"):
        Measurement.from_json(MEASURED.to_json() | {"stream": value})


@pytest.mark.parametrize("wall_s", [1e10, float("nan"), float("inf"), -1.0, True, "1"])
def test_a_time_is_possible(wall_s):
    cost = {"wall_s": wall_s, "cpu_s": 1, "peak_rss_bytes": 1, "rss_before_bytes": 1}
    with pytest.raises(ValueError, match=r"decode: wall_s: is .*, not a number from 0"):
        Coding.from_json(CODED.to_json() | {"decode": cost})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a": NaN}', "NaN, which is no number"), (b'{"a": -Infinity}', "no number"), (b'{"a": 1, "a": 2}', "twice"),
        (b"\xef\xbb\xbf{}", "no JSON from character 1"), ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"), (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"), (b"", "no JSON"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_json_is_refused_with_the_reason(line, why):
    with pytest.raises(ValueError, match=why):
        read_line(line)


def test_a_value_beyond_all_floats_is_refused():
    with pytest.raises(ValueError, match="not a finite number"):
        Measurement.from_json(MEASURED.to_json() | {"values": read_line(b'{"x": 1e400}')})
