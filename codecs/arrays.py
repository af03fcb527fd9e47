"""Check the arrays of a mesh before encoding and after decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcbench.errors import BitstreamError, CodecFailed

if TYPE_CHECKING:  # half a second to import: `bench --help` does not need it
    import numpy as np
    import trimesh
    from numpy.typing import ArrayLike, NDArray


def checked_faces(faces: ArrayLike, vertex_count: int) -> NDArray[np.int64]:
    """Faces to be encoded as (F, 3) int64, with every index in [0, ``vertex_count``).

    Raises
    ------
    CodecFailed
        The faces are not integers, or an index is out of range.
    """
    import numpy as np

    given: NDArray[Any] = np.asarray(faces)
    if not given.size:
        return np.zeros((0, 3), np.int64)
    if given.dtype.kind not in "iu":
        raise CodecFailed(f"the faces are numbers of type {given.dtype}, not vertex indices")
    if given.min() < 0 or given.max() >= vertex_count:  # before the type changes: 2^32 would become 0
        raise CodecFailed(f"a face uses a vertex that is not among the {vertex_count}")
    return given.astype(np.int64, copy=False)


def decoded_mesh(vertices: ArrayLike, faces: ArrayLike) -> trimesh.Trimesh:
    """Make a mesh of decoded arrays; nothing is merged, dropped or reordered.

    Parameters
    ----------
    vertices : (V, 3) float
        Positions.
    faces : (F, 3) int
        Vertex indices.

    Raises
    ------
    BitstreamError
        No faces, a position that is not finite, an index out of range, or arrays of another shape.
    """
    import numpy as np
    import trimesh

    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    for array in (points, triangles):
        if array.ndim != 2 or array.shape[1] != 3:
            raise BitstreamError(f"the decoded arrays have shapes {points.shape} and {triangles.shape}, not (n, 3)")
    if not len(triangles):
        raise BitstreamError("the decoded mesh has no faces")
    if not np.isfinite(points).all():
        raise BitstreamError("a decoded position is not finite")
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise BitstreamError(f"a decoded face uses a vertex that is not among the {len(points)}")
    return trimesh.Trimesh(points, triangles, process=False)
