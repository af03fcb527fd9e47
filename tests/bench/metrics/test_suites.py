"""Every built-in suite by itself: what it declares is what it returns, blames and refuses; and all of them together."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gcbench.bench.metrics import SUITES, Cloud, Column, Suite, columns, floors, pairs, ranking, suite_of, views
from gcbench.bench.metrics.base import WORST
from gcbench.bench.metrics.connectivity import connectivity
from gcbench.bench.metrics.solids import VolumeReference
from gcbench.errors import BadMesh, CodecFailed, UsageError
from gcbench.versions import imported

NAMES = list(SUITES.builtins)
OWN_TESTS = ("mpeg-grid", "render")  # of threads, too; here they would take long
ON_PAIRS = ("paper", "surface", "psnr")
ON_MESHES = [name for name in NAMES if SUITES.get(name).takes == "mesh"]


def mesh_of(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(np.asarray(vertices, float), np.asarray(faces, int), process=False, validate=False)


def sphere(radius: float = 1.0, subdivisions: int = 3) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def egg(radius: float = 1.0) -> trimesh.Trimesh:
    """Little surface for its length: few rays of a grid meet it."""
    mesh = sphere(radius)
    return mesh_of(np.asarray(mesh.vertices) * [0.08, 0.1, 1], mesh.faces)


CLOUD = Cloud(np.argwhere(np.ones((4, 4, 4), bool)) * 4 + 0.5, 4)
BROKEN = [
    mesh_of(np.zeros((0, 3)), np.zeros((0, 3))),
    mesh_of(np.eye(3), np.zeros((0, 3))),
    mesh_of(np.diag([1, np.nan, 1]), [[0, 1, 2]]),
    mesh_of(np.eye(3), [[0, 1, 3]]),
]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Fewer samples and views than suites publish: what is tested here depends on no number of them."""
    monkeypatch.setitem(pairs.Original.__init__.__kwdefaults__, "samples", 4000)
    monkeypatch.setitem(VolumeReference.__init__.__kwdefaults__, "uniform", 4000)
    monkeypatch.setitem(VolumeReference.__init__.__kwdefaults__, "samples", 4096)
    monkeypatch.setattr(views, "VIEWS", 2)


def measured(name: str, decoded=None, original=None, seed: int = 0, threads: int = 1):
    suite = SUITES.create(name)
    if decoded is None:
        decoded = CLOUD if suite.takes == "cloud" else egg(0.97)
    return suite.measure(suite.reference(original or egg(), seed=seed, threads=threads), decoded)


# --- declarations


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_is_what_is_measured(name):
    suite, values = SUITES.create(name), measured(name)
    assert set(values) == {c.name for c in suite.columns} | {c.floor for c in suite.columns if c.floor}
    assert json.loads(json.dumps(dict(values), allow_nan=False)) == values, "plain finite numbers"
    assert list(suite.implausible(values)) == []
    for column in suite.columns:
        value = values[column.name]
        assert isinstance(value, {"flag": bool, "count": int}.get(column.unit, float))
        if column.unit in {"fraction", "cosine"}:
            assert 0 <= value <= 1


@pytest.mark.parametrize("name", NAMES)
def test_declarations_can_be_read(name):
    for column in SUITES.get(name).columns:
        assert ("×10⁻³" in column.label) == (column.scale == 1e3)
        assert ("%" in column.label) >= (column.scale == 100)
        assert "\n" not in column.definition
        assert len(column.definition) > 20
        assert (column.better is None) == (column.unit in {"count", "flag"})
        assert column.better is None or column.unit in WORST
        assert column.floor is None or column.floor == f"{column.name}_floor"


def test_no_two_suites_share_a_name():
    """`columns` would raise; here it is counted, floors included."""
    keys = [key for name in NAMES for c in SUITES.get(name).columns for key in (c.name, c.floor) if key]
    assert len(keys) == len(set(keys)) == len(columns().keys() | floors().keys())
    assert all(suite_of(c.name) == name for name in NAMES for c in SUITES.get(name).columns)


def test_the_main_table_and_the_ranking():
    assert [(c.name, c.digits) for c in columns().values() if c.headline][:5] == [
        ("cd", 3),
        ("nc", 4),
        ("f1_0005", 4),
        ("f1_001", 4),
        ("cd_p2s", 3),
    ]
    assert ranking(columns()) == "cd_p2s"
    assert ranking(["cd", "nc"]) is None, "what has a floor ranks nothing"
    assert not any(c.ranks for c in floors().values())
    assert {c.name for c in columns().values() if not c.robust} >= {"hausdorff_p2s", "p99_p2s"}


def test_orientation():
    assert columns()["cd"].is_better(1e-3, 2e-3)
    assert not columns()["cd"].is_better(1e-3, 1e-3)
    assert columns()["f1_0005"].is_better(0.9, 0.8)
    assert columns()["giou"].is_better(0.9, 0.8)
    assert not columns()["out_faces"].is_better(1, 2)
    assert not columns()["out_faces"].is_better(2, 1)


def test_every_column_is_documented():
    text = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
    named = {key for name in NAMES if name != "topology" for c in SUITES.get(name).columns for key in (c.name, c.floor)}
    missing = {key for key in named - {None} if f"`{key}`" not in text}
    written_by_others = {key for key in missing if key.startswith(("mpeg_", "render_"))}
    assert missing - written_by_others <= {"f1_0005_floor", "f1_001_floor"}, "these two are written as f1_..._floor"


def test_declarations_are_light():
    """Labels and orientations must not cost a table or a figure the seconds that compiled packages take to import."""
    heavy = "{'numba', 'scipy', 'open3d', 'trimesh', 'pandas', 'torch', 'igl'}"
    code = (
        f"import sys; from gcbench.bench.metrics import columns; columns(); sys.exit(len({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- values


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN_TESTS])
def test_threads_change_nothing_and_neither_mesh_is_changed(name):
    original, decoded = egg(), CLOUD if SUITES.get(name).takes == "cloud" else egg(0.97)
    before = [hash(mesh) for mesh in (original, decoded) if isinstance(mesh, trimesh.Trimesh)]
    one, three = (measured(name, decoded, original, seed=3, threads=threads) for threads in (1, 3))
    assert one == three == measured(name, seed=3)
    assert [hash(mesh) for mesh in (original, decoded) if isinstance(mesh, trimesh.Trimesh)] == before


@pytest.mark.parametrize("name", NAMES)
def test_what_prepares_a_suite_changes_no_value(name):
    before = measured(name)
    SUITES.create(name).prepare()
    assert measured(name) == before


def test_the_three_suites_of_a_pair_are_one_computation():
    decoded = egg(0.97)
    of = pairs.Original(egg(), seed=5)
    pair = pairs.Pair(of, decoded)
    together = pair.paper() | pair.surface() | pair.psnr() | {f"{name}_floor": v for name, v in of.floor.items()}
    alone = [measured(name, decoded, seed=5) for name in ON_PAIRS]
    assert alone[0] | alone[1] | alone[2] == together


def test_topology_counts_both():
    opened = sphere()
    opened = mesh_of(opened.vertices, opened.faces[1:])
    found = measured("topology", opened, sphere())
    assert (found["in_faces"], found["out_faces"]) == (1280, 1279)
    assert (found["in_watertight"], found["out_watertight"]) == (True, False)
    assert (found["in_euler"], found["out_euler"], found["out_boundary_edges"]) == (2, 1, 3)
    assert found == {
        **{f"in_{name}": value for name, value in vars(connectivity(sphere())).items()},
        **{f"out_{name}": value for name, value in vars(connectivity(opened)).items()},
    }


def test_volume_is_that_of_its_reference():
    reference = VolumeReference(sphere(), seed=2)
    expected = vars(reference.compare(sphere(0.97))) | {"squared_cd_floor": reference.floor}
    found = measured("volume", sphere(0.97), sphere(), seed=2)
    assert found == expected
    assert found["giou"] == pytest.approx(0.97**3, abs=4 * math.sqrt(0.97**3 * (1 - 0.97**3) / found["union_points"]))


def test_names_that_are_not_mpegs_say_so():
    for name in ("sampled_d1_psnr_bbox", "sampled_d2_psnr_bbox"):
        assert "not MPEG's" in columns()[name].label
        assert "not comparable with MPEG's" in columns()[name].definition


@pytest.mark.parametrize("name", ON_MESHES)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_mesh_without_a_surface_is_a_failure_of_whoever_made_it(name, broken):
    with pytest.raises(CodecFailed, match=r"^the decoded mesh "):
        measured(name, broken)
    with pytest.raises(BadMesh, match=r"^the reference mesh "):
        measured(name, original=broken)


def test_an_original_without_an_inside_is_nobodys_fault():
    flat = mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    with pytest.raises(BadMesh, match="has no inside"):
        measured("volume", original=flat)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("paper", {"f1_0005": 0.9, "f1_001": 0.8}, "f1_0005 0.9 is larger than f1_001 0.8"),
        ("paper", {"f1_0005_floor": 0.9, "f1_001_floor": 0.8}, "f1_0005_floor 0.9 is larger than f1_001_floor 0.8"),
        ("surface", {"p99_p2s": 0.2, "hausdorff_p2s": 0.1}, "p99_p2s 0.2 is larger than hausdorff_p2s 0.1"),
        ("surface", {"f1_p2s_0005": 0.9, "f1_p2s_001": 0.8}, "f1_p2s_0005 0.9 is larger than f1_p2s_001 0.8"),
        ("volume", {"union_points": 0}, "union_points 0 is not positive"),
        ("points", {"points_out": 0}, "points_out 0 is not positive"),
    ],
)
def test_what_cannot_be_is_named(name, wrong, said):
    assert list(SUITES.create(name).implausible({**measured(name), **wrong})) == [said]


# --- versions


@pytest.mark.parametrize("name", [*ON_PAIRS, "topology", "volume", "points"])
def test_a_version_is_that_of_what_computes_and_not_of_labels(name, monkeypatch):
    """Whoever rewords the definition of a column does not make values stale."""
    asked: list[str] = []
    suite = SUITES.create(name)
    monkeypatch.setattr(
        sys.modules[type(suite).__module__], "source_version", lambda _, *modules, packages=(): asked.extend(modules)
    )
    suite.version()
    assert asked
    assert type(suite).__module__ not in imported(tuple(asked))


@pytest.mark.parametrize("name", NAMES)
def test_a_version_is_short_and_the_same_again(name):
    version = SUITES.create(name).version()
    assert version == SUITES.create(name).version()
    assert version.startswith("1+")
    assert len(version) < 80


# --- the registry


class Spikes(Suite[int]):
    """A suite of a third party."""

    name = "spikes"
    columns = (Column("spikes_lost", "spikes lost", "vertices of the original that are gone", "count", digits=0),)

    def version(self) -> str:
        return "1"

    def reference(self, mesh, *, seed, threads):
        return len(mesh.vertices)

    def measure(self, reference, decoded):
        return {"spikes_lost": max(reference - len(decoded.vertices), 0)}


@pytest.fixture
def registered(monkeypatch):
    """Register a class as a suite."""

    def register(cls: type[Suite]) -> None:
        monkeypatch.setitem(sys.modules, "third_party", types.SimpleNamespace(Suite=cls))
        monkeypatch.setattr(SUITES, "builtins", {**SUITES.builtins, cls.name: "third_party:Suite"})
        columns.cache_clear()

    yield register
    monkeypatch.undo()
    columns.cache_clear()


def test_a_suite_of_a_third_party_has_its_columns_last(registered):
    before = list(columns())
    registered(Spikes)
    assert list(columns()) == [*before, "spikes_lost"]
    assert suite_of("spikes_lost") == "spikes"
    assert measured("spikes", sphere(1, 2), sphere()) == {"spikes_lost": 642 - 162}
    assert ranking(columns()) == "cd_p2s"


@pytest.mark.parametrize("taken", ["cd", "cd_floor"])
def test_a_column_or_floor_that_is_taken_is_refused(registered, taken):
    registered(type("Other", (Spikes,), {"name": "other", "columns": (Column(taken, "CD", "another", "length"),)}))
    with pytest.raises(UsageError, match=f"'paper' and 'other' both have a column '{taken}'"):
        columns()
