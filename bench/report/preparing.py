"""Make one decoded mesh and its original ready for the page. Runs in processes of its own: it is most of the work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from gcbench.bench.report.budget import NotShown
from gcbench.bench.report.packing import Floats, Ints, PackedMesh, pack_errors, pack_mesh
from gcbench.bench.run.kept import NotHere, load_unchanged
from gcbench.datasets import MeshSource

if TYPE_CHECKING:
    from gcbench.geometry.nearest import TriangleTree

LARGEST_MESH_FACES = 2_000_000  # a browser cannot show more


@dataclass(frozen=True)
class Prepared:
    """A decoded mesh, its original and their distances, packed."""

    blobs: tuple[bytes, bytes, bytes, bytes]  # original, decoded, error of decoded vertices, error of original vertices
    error_max: float
    missed_max: float
    faces: int  # of the decoded mesh


def prepare(source: MeshSource, sha256: str | None, vertices: Floats, triangles: Ints) -> Prepared:
    """Pack a decoded mesh and its original.

    Parameters
    ----------
    source : MeshSource
        File of the original.
    sha256 : str
        Of the normalised original.
    vertices, triangles : (V, 3) float, (F, 3) int
        The decoded mesh.

    Raises
    ------
    NotShown
        The original or the decoded mesh cannot be shown.
    """
    from gcbench.geometry.nearest import PointTree, TriangleTree, nearest

    if len(triangles) > LARGEST_MESH_FACES:
        raise NotShown("the decoded mesh has too many faces for a browser")
    original = _original(source, sha256)
    if isinstance(original, str):
        raise NotShown(original)
    try:
        packed = pack_mesh(vertices, triangles)
    except ValueError as problem:
        raise NotShown(f"the decoded mesh cannot be shown: {problem}") from None
    error, _ = nearest(PointTree(vertices), original.surface)
    missed, _ = nearest(PointTree(original.vertices), TriangleTree(vertices[triangles]))
    error_data, error_max = pack_errors(error, packed)
    missed_data, missed_max = pack_errors(missed, original.packed)
    blobs = (original.packed.data, packed.data, error_data, missed_data)
    return Prepared(blobs, error_max, missed_max, packed.faces)


@dataclass(frozen=True)
class _Original:
    """An original mesh, packed, with a search tree."""

    vertices: Floats
    packed: PackedMesh
    surface: TriangleTree


@lru_cache(maxsize=16)  # cases of one mesh do not follow each other
def _original(source: MeshSource, sha256: str | None) -> _Original | str:
    from gcbench.geometry.nearest import TriangleTree

    try:
        mesh = load_unchanged(source, sha256)
    except NotHere as reason:
        return str(reason)
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if len(faces) > LARGEST_MESH_FACES:
        return f"the input mesh has {len(faces)} faces, too many for a browser"
    try:
        return _Original(vertices, pack_mesh(vertices, faces), TriangleTree(vertices[faces]))
    except ValueError as error:
        return f"the input mesh cannot be shown: {error}"
