"""Over which meshes codecs are compared."""

from __future__ import annotations

import pytest

from gcbench.bench.analysis.coverage import common
from gcbench.bench.analysis.frame import frame
from gcbench.bench.store.records import Record


def record(mesh="a", codec="c", i=0, **more) -> Record:
    values = {
        "dataset": "d", "split": "all", "mesh": mesh, "codec": codec, "kind": "model", "rate": f"r{i}",
        "rate_index": i, "effort": "quick", "seed": 0, "timing": False, "status": "ok",
    }  # fmt: skip
    return Record(**(values | more))


def coded(codec: str, *meshes: str, **more) -> list[Record]:
    """Record the meshes named at each rate: one text for each rate, a letter for each mesh."""
    return [record(mesh, codec, i, **more) for i, names in enumerate(meshes) for mesh in names]


def left(rows):
    return {(codec, rate): "".join(part["mesh"]) for (codec, rate), part in rows.groupby(["codec", "rate"])}


def test_a_complete_run_is_left_as_it_is():
    rows = frame([*coded("one", "abc", "abc"), *coded("two", "abc")])
    found = common(rows)
    assert found.rows.equals(rows)
    assert found.aside.empty
    assert found.notes == ()


def test_a_rate_that_was_not_run_on_all_meshes_stands_aside():
    rows = frame([*coded("one", "abcd", "abcd", "a"), *coded("two", "abcd", "abcd"), *coded("slow", "b", "b")])
    found = common(rows)
    assert set(left(found.rows)) == {("one", "r0"), ("one", "r1"), ("two", "r0"), ("two", "r1")}
    assert left(found.aside) == {("one", "r2"): "a", ("slow", "r0"): "b", ("slow", "r1"): "b"}
    assert found.notes == ("d/all: compared over 4 of 4 meshes; not on all of these: one r2 (1 coded), slow (1 coded)",)


def test_one_mesh_more_of_one_codec_does_not_count():
    found = common(frame([*coded("one", "abc", "abc"), *coded("two", "abcd", "abcd")]))
    assert left(found.rows) == {(c, r): "abc" for c in ("one", "two") for r in ("r0", "r1")}
    assert found.notes == ("d/all: compared over 3 of 4 meshes",)


def test_many_meshes_of_one_codec_do_not_outvote_the_sample_of_all_others():
    every, sample = [f"m{i:03}" for i in range(342)], [f"m{i:03}" for i in range(0, 342, 10)]
    others = [record(mesh, codec) for codec in ("two", "three", "four") for mesh in sample]
    found = common(frame([*(record(mesh, "one") for mesh in every), *others]))
    assert found.rows.groupby("codec", observed=True)["mesh"].nunique().to_dict() == dict.fromkeys(
        ("one", "two", "three", "four"), len(sample)
    )
    assert found.notes == ("d/all: compared over 35 of 342 meshes",)


def test_codecs_that_coded_a_fifth_do_not_take_the_means_of_as_many_that_coded_all():
    every = [f"m{i:02}" for i in range(40)]
    whole = [record(mesh, f"fast {i}") for i in range(8) for mesh in every]
    found = common(frame([*whole, *(record(mesh, f"slow {i}") for i in range(8) for mesh in every[:8])]))
    assert (len(found.rows), len(found.aside)) == (320, 64)


def test_two_codecs_are_compared_where_both_are():
    every = [f"m{i:02}" for i in range(40)]
    found = common(frame([*(record(mesh, "one") for mesh in every), *(record(mesh, "two") for mesh in every[:8])]))
    assert (len(found.rows), len(found.aside)) == (16, 0)


def test_a_codec_that_has_just_begun_stands_aside():
    every = [f"m{i:03}" for i in range(100)]
    found = common(frame([*(record(mesh, "one") for mesh in every), record(every[0], "two")]))
    assert (len(found.rows), len(found.aside)) == (100, 1)


def test_meshes_that_different_codecs_failed_at_are_left_out_together():
    meshes = "abcdefghij"
    failures = [record("a", "one", 0, status="failed"), record("b", "two", 0, status="timeout")]
    rows = frame([*coded("one", meshes[1:]), *coded("two", "a" + meshes[2:]), *coded("three", meshes), *failures])
    found = common(rows)
    assert left(found.rows) == {(codec, "r0"): "cdefghij" for codec in ("one", "two", "three")}
    assert found.aside.empty


def test_a_codec_that_fails_often_does_not_take_the_meshes_of_the_others():
    failures = [record(mesh, "bad", 0, status="failed") for mesh in "bcd"]
    others = [each for codec in ("one", "two", "three") for each in coded(codec, "abcd")]
    found = common(frame([*others, *coded("bad", "a"), *failures]))
    assert set(left(found.rows)) == {("one", "r0"), ("two", "r0"), ("three", "r0")}
    assert left(found.aside) == {("bad", "r0"): "abcd"}


def test_a_long_ladder_does_not_outvote_codecs():
    found = common(
        frame([*coded("long", *["a"] * 9), *coded("one", "abc"), *coded("two", "abc"), *coded("six", "abc")])
    )
    assert set(left(found.rows)) == {("one", "r0"), ("two", "r0"), ("six", "r0")}


def test_all_seeds_of_a_mesh_have_to_be_ok_and_the_timing_pass_follows():
    seeds = [record("a", seed=1), record("b", seed=1, status="failed")]
    times = coded("c", "abz", timing=True)
    found = common(frame([*coded("c", "ab"), *seeds, *times, *coded("other", "ab")]))
    assert left(found.rows) == {("c", "r0"): "aaa", ("other", "r0"): "a"}
    found = common(frame([*coded("c", "ab"), *times]))
    assert found.rows.loc[found.rows["timing"], "mesh"].tolist() == ["a", "b"]


def test_bad_input_is_nobodys_fault_and_stays_in_sight():
    broken = [record("x", codec, 0, status="bad-input") for codec in ("one", "two")]
    rows = frame([*coded("one", "ab"), *coded("two", "ab"), *broken])
    found = common(rows)
    assert found.rows.equals(rows)
    assert found.notes == ()


def test_means_of_a_column_are_over_the_meshes_that_have_it():
    def one(mesh, codec, *, volume=True):
        return record(mesh, codec, metrics={"cd": 1.0, "cd_floor": 0.1} | ({"giou": 0.5} if volume else {}))

    rows = frame([*(one(m, c, volume=(m, c) != ("b", "two")) for m in "abc" for c in ("one", "two")),
                  *(one(m, "points", volume=False) for m in "abc")])  # fmt: skip
    found = common(rows)
    assert found.notes == ()
    assert found.rows["cd"].notna().all()
    have = found.rows[found.rows["giou"].notna()]
    assert left(have) == {("one", "r0"): "ac", ("two", "r0"): "ac"}
    assert rows["giou"].notna().sum() == 5  # the records are as they were


@pytest.mark.parametrize("records", [[], coded("one", "ab", status="failed")])
def test_nothing_in_common(records):
    rows = frame(records)
    found = common(rows)
    assert found.rows.empty
    assert len(found.aside) == len(rows)
