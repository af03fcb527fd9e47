from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import trimesh

from gcbench.bench.plan import units
from gcbench.bench.plan.planning import groups_of, make_plan
from gcbench.bench.plan.units import CodingUnit, MeasurementUnit, PlannedMesh, SuiteId, sequences_of
from gcbench.codecs import Context, Rate
from gcbench.datasets import MeshSource, Motion
from gcbench.errors import CodecUnavailable, DatasetMissing, UsageError


def test_every_mesh_codec_and_rate_has_a_coding_ordered_by_mesh(folder):
    made = make_plan(str(folder), ["test-exact", "test-set"], effort="standard")
    model = [c for c in made.codings if c.kind == "model"]
    assert [(c.meshes[0].source.mesh, c.rate.label) for c in model] == [
        (mesh, rate) for mesh in ("broken", "shape0", "shape1", "shape2") for rate in ("d1", "d2", "d3")
    ]
    (whole,) = (c for c in made.codings if c.kind == "set")
    assert made.codings[-1] is whole
    assert len(whole.meshes) == 4
    assert [m.source.mesh for m in made.bad_inputs] == ["broken"]
    assert len({c.key for c in made.codings}) == len(made.codings)


def test_sizes_are_those_of_the_normalised_mesh(folder):
    box = next(m for m in make_plan(str(folder), "test-exact").meshes if m.source.mesh == "shape1")
    assert (box.vertices, box.faces, box.raw_bytes) == (8, 12, 12 * 8 + 12 * 12)
    line = len("v -1.000000 -1.000000 -1.000000\n")
    signs = [sum(x < 0 for x in v) for v in trimesh.creation.box().vertices]
    assert box.obj_bytes == sum(line - 3 + s for s in signs) + 12 * len("f 1 2 3\n")
    assert box.source_bytes == (folder / "shape1.ply").stat().st_size


def test_effort_and_rates_choose_from_the_ladder(folder):
    def labels(**more):
        return sorted({c.rate.label for c in make_plan(str(folder), "test-exact", **more).codings})

    assert labels() == ["d1", "d2", "d3"]  # a folder: standard
    assert labels(effort="quick") == ["d1", "d2"]
    assert labels(rates=["d2"]) == ["d2"]
    with pytest.raises(UsageError, match="no chosen codec has a rate called q99"):
        labels(rates=["d2", "q99"])


def test_the_key_of_a_coding_changes_with_what_decides_the_stream_and_with_nothing_else(folder):
    one = make_plan(str(folder), "test-exact", limit=2).codings[-1]
    assert make_plan(str(folder), "test-exact", limit=2).codings[-1].key == one.key
    (mesh,) = one.meshes
    moved = dataclasses.replace(mesh, source=MeshSource("other", "x", mesh.source.path.parent / "x.ply"))
    other = dataclasses.replace(one, dataset="other", split="mini", meshes=(moved,), rate_index=7)
    assert other.key == one.key, "the same mesh under two names is coded once"
    changes = [
        {"codec": "other"},
        {"codec_version": "2"},
        {"seed": 1},
        {"effort": "paper"},
        {"timing": "a machine"},
        {"device": "cuda"},
        {"meshes": (dataclasses.replace(mesh, sha256="0"),)},
        {"meshes": (mesh, mesh)},
        {"rate": dataclasses.replace(one.rate, params={"digits": 9})},
        {"rate": dataclasses.replace(one.rate, label="d9")},
    ]
    keys = {dataclasses.replace(one, **change).key for change in changes}
    assert len(keys | {one.key}) == len(changes) + 1
    timed = [dataclasses.replace(one, timing=kind).key for kind in ("machine a", "machine b")]
    assert timed[0] != timed[1], "times of two kinds of machine are two results"


def test_a_mesh_that_cannot_be_used_is_a_coding_of_its_own_reason():
    bad = [PlannedMesh(MeshSource("d", "m", Path("m")), problem=why) for why in ("no faces", "no area")]
    one, other = (coding(meshes=(mesh,)) for mesh in bad)
    assert one.key != other.key
    assert one.usable == ()


MESH = PlannedMesh(MeshSource("d", "m", Path("m.obj")), "ab" * 32, 3, 1, 40, 48, 50)


def coding(**more) -> CodingUnit:
    values = {
        "dataset": "d", "split": "all", "codec": "c[k=64]", "codec_version": "1", "kind": "model", "decoder_bytes": 0,
        "rate": Rate("r", {"q": 8}), "rate_index": 0, "effort": "quick", "seed": 0, "meshes": (MESH,),
    }  # fmt: skip
    return CodingUnit(**(values | more))


def measurement(**more) -> MeasurementUnit:
    values = {
        "codec": "c", "decoder_version": "1", "kind": "model", "stream_sha256": "cd" * 32, "place": 0, "mesh": MESH,
        "suites": (), "seed": 0,
    }  # fmt: skip
    return MeasurementUnit(**(values | more))


def test_the_key_of_a_measurement_knows_the_stream_and_not_the_rate_that_made_it():
    suite = SuiteId("s", "1")
    key = measurement().key(suite)
    named = dataclasses.replace(MESH, source=MeshSource("other", "x", Path("x")))
    same = [{"mesh": named}, {"decoded_sha256": "0"}, {"device": "cuda"}, {"kind": "set"}, {"suites": (suite,)}]
    assert {measurement(**change).key(suite) for change in same} == {key}
    changes = [
        {"codec": "d"},
        {"decoder_version": "2"},
        {"stream_sha256": "0"},
        {"place": 1},
        {"seed": 1},
        {"mesh": dataclasses.replace(MESH, sha256="0")},
    ]
    keys = {measurement(**change).key(suite) for change in changes}
    keys |= {measurement().key(other) for other in (SuiteId("s", "2"), SuiteId("t", "1"))}
    assert len(keys | {key}) == len(changes) + 3


def test_keys_are_stable_over_versions_of_gcbench():
    """Golden keys: if these change, every kept result of every user is made again; raise KEY_VERSION on purpose."""
    assert units.KEY_VERSION == 2
    assert coding(timing="a machine").key == "38066a5da8355966e1584ac639a1485a26f8156dc1e378a5a739896322f95b06"
    assert measurement().key(SuiteId("s", "1")) == "8eedacdf208ded1f61d00cf0a24a710b35b5a7cd7196916e419228f4205829f8"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("nonsense", "draco"), UsageError, "nonsense"),
        (("FOLDER", "test-exat"), UsageError, "did you mean test-exact"),
        (("FOLDER", "test-exact[digit=1]"), UsageError, "did you mean digits"),
        (("FOLDER", "test-exact[digits=x]"), UsageError, "not of type int"),
        (("FOLDER", "test-absent"), CodecUnavailable, "nobody has; write it"),
        (("FOLDER", "test-broken"), UsageError, "fails to import"),
        (("FOLDER", []), UsageError, "no codec"),
        (([], "test-exact"), UsageError, "no dataset"),
    ],
)
def test_wrong_names_are_explained(folder, arguments, error, message):
    datasets, codecs = (str(folder) if a == "FOLDER" else a for a in arguments)
    with pytest.raises(error, match=message):
        make_plan(datasets, codecs)


def test_folders_of_the_same_name_are_told_apart(folder, tmp_path, monkeypatch):
    other = tmp_path / "other" / "shapes"
    other.mkdir(parents=True)
    trimesh.creation.box().export(other / "x.ply")
    names = {make_plan(str(path), "test-exact").default_name() for path in (folder, other)}
    assert len(names) == 2
    monkeypatch.chdir(tmp_path)
    assert make_plan("other/shapes", "test-exact").default_name() == "other_shapes-all-standard"
    with pytest.raises(UsageError, match="two datasets have the name shapes"):
        make_plan([str(folder), str(other)], "test-exact")


def test_a_negative_seed_is_refused(folder):
    with pytest.raises(UsageError, match="not negative"):
        make_plan(str(folder), "test-exact", seed=-1)


def test_wrong_split_or_effort(folder):
    with pytest.raises(UsageError, match="unknown split 'papers'"):
        make_plan(str(folder), "test-exact", split="papers")
    with pytest.raises(UsageError, match="unknown effort 'slow'"):
        make_plan(str(folder), "test-exact", effort="slow")
    with pytest.raises(UsageError, match="no split 'paper'"):
        make_plan(str(folder), "test-exact", split="paper")


def test_all_takes_what_can_run_and_says_what_cannot(folder):
    made = make_plan(str(folder), "all", limit=1)
    assert {"raw-zstd", "draco", "draco-qem", "test-exact", "test-set", "test-bad"} <= set(made.codecs)
    absent = {u.codec: u for u in made.unavailable}
    assert absent["test-absent"].remedy == "write it"
    assert "fails to import" in absent["test-broken"].reason
    assert absent["test-no-weights"].reason == "FileNotFoundError: [Errno 2] No such file or directory: 'weights.bin'"


def test_addresses_are_canonical_and_unique(folder):
    made = make_plan(str(folder), ["test-exact", "test-exact[ digits = 4 ]", "test-exact[digits=4]"], limit=1)
    assert made.codecs == ("test-exact", "test-exact[digits=4]")


def test_nothing_there_is_missing_data(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetMissing):
        make_plan(str(tmp_path / "empty"), "test-exact")
    with pytest.raises(DatasetMissing):
        make_plan("ama", "test-exact", split="all", data=tmp_path)


def test_limit_names_another_run(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert make_plan(str(folder), "test-exact", limit=2).default_name() == "shapes-all-standard-first2"
    made = make_plan(str(folder), "test-exact", limit=1)
    mini = dataclasses.replace(made, datasets=(("mixed", "mini"),), slugs=("mixed",), effort="quick", limit=None)
    assert mini.default_name() == "mixed-mini-quick"


def test_names_from_outside_are_narrowed_or_refused():
    from gcbench.codecs.base import EFFORTS, as_effort
    from gcbench.datasets.base import SPLITS, as_split

    assert [as_effort(name) for name in EFFORTS] == list(EFFORTS)
    assert [as_split(name) for name in SPLITS] == list(SPLITS)
    with pytest.raises(UsageError, match="unknown effort 'hard'; known: quick, standard, paper"):
        as_effort("hard")
    with pytest.raises(UsageError, match="unknown split 'half'; known: mini, paper, all"):
        as_split("half")


class _Set:
    """What `groups_of` asks of a codec."""

    kind = "set"
    uses_sequences = True


def _planned(name: str, motion: Motion | None = None, problem: str | None = None) -> PlannedMesh:
    return PlannedMesh(MeshSource("d", name, Path(name), motion=motion), sha256=name, problem=problem)


def test_frames_of_a_motion_follow_each_other_where_a_codec_uses_them():
    meshes = [
        _planned("lone"),
        _planned("run-7", Motion("run", 7)),
        _planned("walk-10", Motion("walk", 10)),
        _planned("other"),
        _planned("walk-9", Motion("walk", 9)),
        _planned("walk-8", Motion("walk", 8), problem="broken"),
        _planned("run-2", Motion("run", 2)),
        _planned("single", Motion("single", 1)),
    ]
    ((group, sequences),) = groups_of(meshes, _Set())
    assert [mesh.source.mesh for mesh in group] == [
        "lone", "run-2", "run-7", "walk-8", "walk-9", "walk-10", "other", "single",
    ]  # fmt: skip
    assert sequences == (range(1, 3), range(3, 5))  # in the stream, where the broken mesh is not

    plain = _Set()
    plain.uses_sequences = False
    assert groups_of(meshes, plain) == [(tuple(meshes), ())]
    plain.kind = "model"
    assert groups_of(meshes, plain) == [((mesh,), ()) for mesh in meshes]


@pytest.mark.parametrize(("names", "ranges"), [
    ([], ()),
    ([None], ()),
    (["a"], ()),
    (["a", "a"], (range(2),)),
    (["a", "b", "b", None, None, "a", "a", "a"], (range(1, 3), range(5, 8))),
])  # fmt: skip
def test_places_of_sequences(names, ranges):
    assert sequences_of(names) == ranges
    groups = Context(sequences=ranges).groups(len(names))
    assert [place for group in groups for place in group] == list(range(len(names)))
    assert [group for group in groups if len(group) > 1] == list(ranges)


def test_the_key_has_the_sequences_that_the_codec_uses():
    meshes = tuple(_planned(name) for name in "abc")
    unit = CodingUnit("d", "all", "c", "1", "set", 0, Rate("r", {}), 0, "quick", 0, meshes)
    keys = [dataclasses.replace(unit, sequences=s).key for s in ((), (range(2),), (range(3),), (range(1, 3),))]
    assert keys[0] == unit.key
    assert len(set(keys)) == 4
