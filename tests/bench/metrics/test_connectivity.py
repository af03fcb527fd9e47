"""Counts of known meshes, against trimesh and libigl, and against the manifest of the benchmark data."""

from __future__ import annotations

import csv
import dataclasses

import igl
import numpy as np
import pytest
import trimesh

from gcbench.bench.metrics.connectivity import Connectivity, connectivity


def mesh_of(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(np.asarray(vertices, float), np.asarray(faces, int), process=False, validate=False)


TETRAHEDRON = mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def soup(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The same triangles with corners of their own, as in an STL file."""
    return mesh_of(np.asarray(mesh.triangles).reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (TETRAHEDRON, Connectivity(4, 4, 1, 2, 0, 0, True)),
        (soup(TETRAHEDRON), Connectivity(4, 4, 1, 2, 0, 0, True)),
        (mesh_of(TETRAHEDRON.vertices, TETRAHEDRON.faces[1:]), Connectivity(4, 3, 1, 1, 3, 0, False)),
        (trimesh.creation.torus(1, 0.3), Connectivity(1024, 2048, 1, 0, 0, 0, True)),
        (mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]), Connectivity(3, 1, 1, 1, 3, 0, False)),
        # Two triangles at a common vertex: two components, as faces join over edges.
        (
            mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], [[0, 1, 2], [0, 3, 4]]),
            Connectivity(5, 2, 2, 1, 6, 0, False),
        ),
        # Three triangles on one edge.
        (
            mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], [[0, 1, 2], [0, 1, 3], [0, 1, 4]]),
            Connectivity(5, 3, 1, 1, 6, 1, False),
        ),
        # A closed mesh with one face collapsed onto an edge that is already there.
        (
            mesh_of(TETRAHEDRON.vertices, [*TETRAHEDRON.faces, [0, 1, 1]]),
            Connectivity(4, 5, 1, 2, 1, 1, False),
        ),
        (mesh_of(np.zeros((4, 3)), np.zeros((0, 3))), Connectivity(0, 0, 0, 0, 0, 0, False)),
    ],
)
def test_known_meshes(mesh, expected):
    assert connectivity(mesh) == expected


def test_unused_vertices_and_the_sign_of_zero_do_not_count():
    vertices = np.vstack([TETRAHEDRON.vertices, TETRAHEDRON.vertices * [-0.0, 1, 1], [[np.nan] * 3, [7, 7, 7]]])
    faces = TETRAHEDRON.faces.copy()
    faces[0, 0] = 4  # (−0.0, 0, 0) is vertex 0 again
    assert connectivity(mesh_of(vertices, faces)) == connectivity(TETRAHEDRON)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_trimesh_and_libigl(seed):
    rng = np.random.default_rng(seed)
    whole = trimesh.util.concatenate([trimesh.creation.torus(1, 0.3), trimesh.creation.icosphere(subdivisions=3)])
    mesh = mesh_of(whole.vertices, whole.faces[rng.random(len(whole.faces)) < rng.choice([0.3, 0.9, 1.0])])
    found = connectivity(soup(mesh))
    merged = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)
    assert found.euler == merged.euler_number
    assert found.watertight == merged.is_watertight
    assert found.vertices == len(np.unique(mesh.faces))
    assert found.boundary_edges == len(igl.boundary_facets(np.asarray(mesh.faces))[0])
    labels = trimesh.graph.connected_component_labels(merged.face_adjacency, node_count=len(merged.faces))
    assert found.components == labels.max() + 1


@pytest.mark.slow
def test_agrees_with_the_manifest(real_data):
    with (real_data / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows
    different = {}
    for row in rows:
        mesh = trimesh.load_mesh(real_data / row["path"], process=False, maintain_order=True)
        counts = dataclasses.asdict(connectivity(mesh))
        listed = {name: int(row[name]) for name in counts if name != "watertight"}
        listed["watertight"] = row["watertight"] == "yes"
        if counts != listed:
            different[row["path"]] = (counts, listed)
    assert different == {}
