"""Meshes that codecs are tested on, and the two frames of the reference measurements."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gcbench.codecs import Context


@pytest.fixture
def ctx(tmp_path) -> Context:
    return Context(scratch=tmp_path)


def triangle() -> trimesh.Trimesh:
    return trimesh.Trimesh([[-1, -0.5, 0], [1, -0.5, 0], [0, 0.5, 0]], [[0, 1, 2]], process=False)


def fan() -> trimesh.Trimesh:
    """Three faces on one edge."""
    vertices = [[-1, 0, 0], [1, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, -0.5, 0]]
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 1, 3], [0, 1, 4]], process=False)


def bow_tie() -> trimesh.Trimesh:
    """Two faces that share a single vertex."""
    vertices = [[-1, 0, 0], [1, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, -0.5, 0]]
    return trimesh.Trimesh(vertices, [[0, 1, 2], [2, 3, 4]], process=False)


def doubled() -> trimesh.Trimesh:
    """A face, once more, and once the other way round."""
    return trimesh.Trimesh(triangle().vertices, [[0, 1, 2], [0, 1, 2], [2, 1, 0]], process=False)


def open_sphere() -> trimesh.Trimesh:
    """A sphere with a tenth of its faces missing."""
    sphere = trimesh.creation.icosphere(3)
    keep = np.random.default_rng(0).random(len(sphere.faces)) > 0.1
    return trimesh.Trimesh(sphere.vertices, sphere.faces[keep], process=False)


def crumbs() -> trimesh.Trimesh:
    """Two hundred tetrahedra, none of which touches another."""
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 0.05
    centres = np.random.default_rng(1).uniform(-0.9, 0.9, (200, 1, 3))
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    all_faces = faces + 4 * np.arange(200)[:, None, None]
    return trimesh.Trimesh((corner + centres).reshape(-1, 3), all_faces.reshape(-1, 3), process=False)


def with_degenerate_faces() -> trimesh.Trimesh:
    """A sphere, with faces that name a vertex twice or three times and with faces of no area."""
    sphere = trimesh.creation.icosphere(3)
    n = len(sphere.vertices)
    middle = sphere.vertices[[0, 1]].mean(0)
    faces = np.concatenate([sphere.faces, [[0, 0, 1]] * 40, [[5, 5, 5]], [[0, n, 1]] * 3])
    return trimesh.Trimesh(np.concatenate([sphere.vertices, [middle]]), faces, process=False)


DIRTY = {make.__name__: make for make in (triangle, fan, bow_tie, doubled, open_sphere, crumbs, with_degenerate_faces)}


@pytest.fixture(params=list(DIRTY))
def dirty(request) -> trimesh.Trimesh:
    return DIRTY[request.param]()


@pytest.fixture(scope="session")
def reference_frames(real_data, tmp_path_factory) -> dict[str, trimesh.Trimesh]:
    """crane_0000 and samba_0000, normalised as in the reference measurements."""
    from gcbench.datasets.base import MeshSource
    from gcbench.datasets.loading import load

    archive = real_data / "ama_sequences.tar.xz"
    if not archive.exists():
        pytest.skip(f"needs {archive.name} in BENCH_DATA")
    folder = tmp_path_factory.mktemp("frames")
    wanted = {f"ama/{name}/mesh_0000.obj": f"{name}_0000" for name in ("crane", "samba")}
    frames = {}
    with tarfile.open(archive, "r|xz") as members:
        for member in members:
            name = wanted.get(member.name.removeprefix("./"))
            data = members.extractfile(member) if name else None
            if name and data:
                path = Path(folder / f"{name}.obj")
                path.write_bytes(data.read())
                frames[name] = load(MeshSource("ama", name, path)).mesh
            if len(frames) == len(wanted):
                break
    return frames
