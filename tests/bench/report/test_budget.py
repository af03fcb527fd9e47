"""What a mesh will take of the budget is known before it is decoded."""

from __future__ import annotations

import pytest

from gcbench.bench.report.budget import Blobs, NotShown, Sizes
from gcbench.bench.store.records import Record


def record(faces=100, codec="c") -> Record:
    return Record(
        dataset="d", split="all", mesh="a", codec=codec, kind="model", rate="r0", rate_index=0, effort="quick",
        seed=0, timing=False, status="ok", faces=faces,
    )  # fmt: skip


def test_sizes_are_learnt_from_what_was_packed_and_never_from_small_meshes():
    sizes = Sizes()
    assert sizes.expect(10_000) == 10_000  # a byte for each face, which no mesh is below
    sizes.learn(record(), 5, 10, 1)
    assert sizes.expect(10_000) == 10_000
    sizes.learn(record(), 5, 20_000, 60_000)
    assert sizes.expect(10_000) == pytest.approx(0.9 * 30_000)
    sizes.learn(record(), 5, 20_000, 50_000)
    sizes.learn(record(), 5, 20_000, 90_000)
    assert sizes.expect(10_000) == pytest.approx(0.9 * 25_000)


def test_faces_are_at_least_those_seen_of_the_codec_at_the_rate():
    sizes = Sizes()
    assert sizes.faces(record()) == 0  # nothing is known: it is decoded
    sizes.learn(record(100), 50, 0, 0)
    assert sizes.faces(record(20)) == 10  # a codec that halves
    assert sizes.faces(record(1000)) == 50  # or one whose meshes all have 50
    assert sizes.faces(record(1000, codec="other")) == 0


def test_equal_blobs_are_stored_once_and_a_case_is_stored_whole_or_not_at_all():
    kept = Blobs(1000)
    assert kept.size([b"123", b"1234", b"123"]) == 4 + 8 + 2 * 80
    assert kept.keep([b"123"]) == [0]
    assert (kept.texts, kept.left) == (["MTIz"], 1000 - 84)
    assert kept.size([b"123", b"1234"]) == 8 + 80
    assert kept.keep([b"1234", b"123"]) == [1, 0]
    small = Blobs(100)
    with pytest.raises(NotShown, match="over the size limit"):
        small.keep([b"123", b"1234"])
    assert (small.texts, small.left) == ([], 100)
