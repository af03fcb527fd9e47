from __future__ import annotations

import dataclasses

import pytest
import trimesh

from gcbench.bench.plan.planning import plan
from gcbench.errors import CodecUnavailable, DatasetMissing, UsageError


def test_every_mesh_codec_and_rate_has_a_cell_ordered_by_mesh(folder):
    made = plan(str(folder), ["test-exact", "test-set"], effort="standard")
    model = [c for c in made.cells if c.kind == "model"]
    assert [(c.meshes[0].source.mesh, c.rate.label) for c in model] == [
        (mesh, rate) for mesh in ("broken", "shape0", "shape1", "shape2") for rate in ("d1", "d2", "d3")
    ]
    (whole,) = (c for c in made.cells if c.kind == "set")
    assert made.cells[-1] is whole
    assert len(whole.meshes) == 4
    assert [m.source.mesh for m in made.bad_inputs] == ["broken"]
    assert len({c.key for c in made.cells}) == len(made.cells)


def test_sizes_are_those_of_the_normalised_mesh(folder):
    box = next(m for m in plan(str(folder), "test-exact").meshes if m.source.mesh == "shape1")
    assert (box.vertices, box.faces, box.raw_bytes) == (8, 12, 12 * 8 + 12 * 12)
    line = len("v -1.000000 -1.000000 -1.000000\n")
    signs = [sum(x < 0 for x in v) for v in trimesh.creation.box().vertices]
    assert box.obj_bytes == sum(line - 3 + s for s in signs) + 12 * len("f 1 2 3\n")
    assert box.source_bytes == (folder / "shape1.ply").stat().st_size


def test_effort_and_rates_choose_from_the_ladder(folder):
    labels = lambda **more: sorted({c.rate.label for c in plan(str(folder), "test-exact", **more).cells})  # noqa: E731
    assert labels() == ["d1", "d2", "d3"]  # a folder: standard
    assert labels(effort="quick") == ["d1", "d2"]
    assert labels(rates=["d2"]) == ["d2"]
    with pytest.raises(UsageError, match="no chosen codec has a rate called q99"):
        labels(rates=["d2", "q99"])


def test_the_key_changes_with_what_decides_the_result_and_with_nothing_else(folder):
    one = plan(str(folder), "test-exact", limit=2).cells[-1]
    assert plan(str(folder), "test-exact", limit=2).cells[-1].key == one.key
    (mesh,) = one.meshes
    moved = dataclasses.replace(mesh, source=dataclasses.replace(mesh.source, path=mesh.source.path.parent / "x.ply"))
    assert dataclasses.replace(one, meshes=(moved,), rate_index=7).key == one.key
    changes = [
        {"codec": "other"},
        {"codec_version": "2"},
        {"seed": 1},
        {"effort": "paper"},
        {"timing": True},
        {"device": "cuda"},
        {"split": "mini"},
        {"meshes": (dataclasses.replace(mesh, sha256="0"),)},
        {"rate": dataclasses.replace(one.rate, params={"digits": 9})},
    ]
    for change in changes:
        assert dataclasses.replace(one, **change).key != one.key, change


def test_keys_are_stable_over_versions_of_gcbench():
    """A golden key: if this changes, every kept result of every user is recomputed; raise KEY_VERSION on purpose."""
    from pathlib import Path

    from gcbench.bench import sweep
    from gcbench.codecs import Rate
    from gcbench.datasets import MeshSource

    mesh = sweep.PlannedMesh(MeshSource("d", "m", Path("m.obj")), "ab" * 32, 3, 1, 40, 48, 50)
    cell = sweep.Cell("d", "all", "c[k=64]", "1", "model", 0, Rate("r", {"q": 8}), 0, "quick", 0, (mesh,), timing=True)
    assert cell.key == "3b3682395310cc940a91e0e8b2bc2fa6c9f55113973c35682bdd64db99b144c8"


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
        plan(datasets, codecs)


def test_folders_of_the_same_name_are_told_apart(folder, tmp_path, monkeypatch):
    other = tmp_path / "other" / "shapes"
    other.mkdir(parents=True)
    trimesh.creation.box().export(other / "x.ply")
    names = {plan(str(path), "test-exact").default_name() for path in (folder, other)}
    assert len(names) == 2
    monkeypatch.chdir(tmp_path)
    assert plan("other/shapes", "test-exact").default_name() == "other_shapes-all-standard"
    with pytest.raises(UsageError, match="two folders are called shapes"):
        plan([str(folder), str(other)], "test-exact")


def test_a_negative_seed_is_refused(folder):
    with pytest.raises(UsageError, match="not negative"):
        plan(str(folder), "test-exact", seed=-1)


def test_wrong_split_or_effort(folder):
    with pytest.raises(UsageError, match="unknown split 'papers'"):
        plan(str(folder), "test-exact", split="papers")
    with pytest.raises(UsageError, match="unknown effort 'slow'"):
        plan(str(folder), "test-exact", effort="slow")
    with pytest.raises(UsageError, match="no split 'paper'"):
        plan(str(folder), "test-exact", split="paper")


def test_all_takes_what_can_run_and_says_what_cannot(folder):
    made = plan(str(folder), "all", limit=1)
    assert {"raw-zstd", "draco", "draco-qem", "test-exact", "test-set", "test-bad"} <= set(made.codecs)
    absent = {u.codec: u for u in made.unavailable}
    assert absent["test-absent"].remedy == "write it"
    assert "fails to import" in absent["test-broken"].reason
    assert absent["test-no-weights"].reason == "FileNotFoundError: [Errno 2] No such file or directory: 'weights.bin'"


def test_addresses_are_canonical_and_unique(folder):
    made = plan(str(folder), ["test-exact", "test-exact[ digits = 4 ]", "test-exact[digits=4]"], limit=1)
    assert made.codecs == ("test-exact", "test-exact[digits=4]")


def test_nothing_there_is_missing_data(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetMissing):
        plan(str(tmp_path / "empty"), "test-exact")
    with pytest.raises(DatasetMissing):
        plan("ama", "test-exact", split="all", data=tmp_path)


def test_limit_names_another_run(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert plan(str(folder), "test-exact", limit=2).default_name() == "shapes-all-standard-first2"
    assert plan("mixed", "test-exact", limit=1).default_name() == "mixed-mini-quick-first1"


def test_names_from_outside_are_narrowed_or_refused():
    from gcbench.codecs.base import EFFORTS, as_effort
    from gcbench.datasets.base import SPLITS, as_split

    assert [as_effort(name) for name in EFFORTS] == list(EFFORTS)
    assert [as_split(name) for name in SPLITS] == list(SPLITS)
    with pytest.raises(UsageError, match="unknown effort 'hard'; known: quick, standard, paper"):
        as_effort("hard")
    with pytest.raises(UsageError, match="unknown split 'half'; known: mini, paper, all"):
        as_split("half")
