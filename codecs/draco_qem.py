"""Quadric decimation, then Draco: the baseline that a learned mesh codec has to beat at low rates.

The streams are plain Draco streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from gcbench import native
from gcbench.codecs import draco
from gcbench.codecs.arrays import checked_faces
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate
from gcbench.errors import CodecFailed, SystemLibraryMissing
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import ArrayLike, NDArray

# (face budget, quantisation bits), low to high quality. DracoQem explains the choice.
_LADDER = (
    (250, 8),
    (500, 8),
    (1000, 8),
    (1500, 8),
    (2500, 8),
    (2500, 10),
    (5000, 10),
    (5000, 12),
    (10000, 12),
    (20000, 12),
)
_QUICK = frozenset({(250, 8), (1000, 8), (2500, 8), (5000, 10), (10000, 12)})

# Every option is given: for a missing option, MeshLab takes the value of the *previous* call in this process.
# preservenormal refuses collapses that flip a face; with preservenormal, the streams equal those of the reference
# measurements byte for byte. preserveboundary and planarquadric bring no gain: see DracoQem.
_QUADRIC_OPTIONS = {
    "targetperc": 0.0,
    "qualitythr": 0.3,
    "preserveboundary": False,
    "boundaryweight": 1.0,
    "preservenormal": True,
    "preservetopology": False,
    "optimalplacement": True,
    "planarquadric": False,
    "planarweight": 0.001,
    "qualityweight": False,
    "autoclean": True,
    "selected": False,
}


class DracoQem(ModelCodec):
    """Quadric edge collapse (MeshLab) down to a face budget, then Draco at a number of bits.

    A mesh within the budget is not decimated. The caller must merge vertices at equal positions, as the loader does:
    MeshLab collapses edges along shared vertices only.

    **The ladder.** Budgets 250 … 20 000 × bits 7 … 14 were measured on 14 meshes (4 AMA frames, 4 animals, 6 of
    Thingi10K of 1 660 to 36 518 faces; exact point-to-surface distance). The excess of a rate is its bytes over those
    of the Pareto front of the mesh at the same distance. The chosen ladder has steps of at most 2× in bytes, rising
    budget and bits, and includes the reference measurements' 2 500 faces at 8 bits. Its mean excess is 0.5 % on AMA,
    1.6 % on animals and 29 % on Thingi10K; bytes and distance are monotone on all but three meshes. These three are
    simple CAD parts, where few faces at many bits are better (72214: 250 faces at 11 bits) and the excess is 42–66 %.
    One ladder cannot fit both kinds of mesh; the ladder fits organic meshes, which are the majority.
    Crane frame 0000: 461, 752, 1215, 1599, 2324, 3354, 5808, 7962, 14122, 25359 bytes at a distance of
    .0082, .0049, .0030, .0022, .0017, .0011, .00065, .00055, .00026, .00008.

    **Rejected alternatives**, mean change at equal budget and bits over these meshes (AMA, animals, Thingi10K):
    planarquadric: bytes −1.8, −2.0, +1.5 %, distance +2.2, +5.8, +2.2 %; preserveboundary: bytes 0, +0.9, +0.3 %,
    distance 0, +1.0, +7.8 %; fast-simplification instead of MeshLab: 4–20× faster, bytes +5, +8, +53 %,
    distance +4.5, +35, ×4.7; fast-simplification misses the budget on meshes with borders.

    Source: M. Garland and P. S. Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997.
    """

    name = "draco-qem"
    packages = ("pymeshlab", *draco.Draco.packages)

    def __init__(self) -> None:
        self._draco = draco.Draco()

    def version(self) -> str:
        """Version of this module, of ``draco``, pymeshlab and DracoPy."""
        return source_version(1, __name__, packages=self.packages)

    def availability(self) -> Availability:
        """Whether DracoPy, pymeshlab and the system libraries of pymeshlab are installed."""
        coder = self._draco.availability()
        if not coder.ok:
            return coder
        if find_spec("pymeshlab") is None:
            return Availability(
                ok=False, reason="the package pymeshlab is not installed", remedy="pip install pymeshlab"
            )
        try:
            native.pymeshlab()
        except SystemLibraryMissing as error:
            reason, _, remedy = str(error).partition("; ")
            return Availability(ok=False, reason=reason, remedy=remedy)
        except ImportError as error:
            return Availability(ok=False, reason=f"pymeshlab cannot be imported: {error}")
        return Availability(ok=True)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``f00250q08`` (250 faces, 8 bits) to ``f20000q12``; every second one for ``quick``."""
        return [
            Rate(f"f{faces:05d}q{bits:02d}", {"face_budget": faces, "quantization_bits": bits})
            for faces, bits in _LADDER
            if effort != "quick" or (faces, bits) in _QUICK
        ]

    def prepare(self) -> None:
        """Import pymeshlab and DracoPy."""
        super().prepare()
        self._draco.prepare()
        native.pymeshlab()

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Decimate and encode one mesh."""
        vertices, faces = decimate(mesh.vertices, mesh.faces, int(rate.params["face_budget"]))
        return draco.encode(vertices, faces, int(rate.params["quantization_bits"]))

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh, as ``draco`` does."""
        return draco.decode(stream)


def decimate(vertices: ArrayLike, faces: ArrayLike, face_budget: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Collapse edges in the order of their quadric error until at most ``face_budget`` faces are left.

    Deterministic: one thread, no random numbers, no state between calls. If no face with an area is left (for example
    of many small components with a small budget), the budget is doubled until a face with an area is left; if this
    never happens, the mesh is returned without decimation.

    Parameters
    ----------
    vertices : (V, 3) float
        Positions.
    faces : (F, 3) int
        Triangles.
    face_budget : int
        Faces to keep. MeshLab ends a few faces below the budget, or above it if no further collapse is allowed.

    Returns
    -------
    vertices : (V', 3) float
    faces : (F', 3) int

    Raises
    ------
    CodecFailed
        A face uses a vertex that does not exist, or MeshLab fails.
    """
    points = np.asarray(vertices, np.float64)
    triangles = checked_faces(faces, len(points))
    # MeshLab crashes on faces that name a vertex twice. These faces have no area, and Draco drops them too.
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    while len(triangles) > face_budget:
        fewer_points, fewer_triangles = _collapse(points, triangles, face_budget)
        if _has_area(fewer_points, fewer_triangles):
            return fewer_points, fewer_triangles
        face_budget *= 2
    return points, triangles


def _collapse(
    points: NDArray[np.float64], triangles: NDArray[np.int64], face_budget: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    meshlab = native.pymeshlab()
    mesh_set = meshlab.MeshSet()
    try:
        mesh_set.add_mesh(meshlab.Mesh(points, triangles))
        mesh_set.meshing_decimation_quadric_edge_collapse(targetfacenum=face_budget, **_QUADRIC_OPTIONS)
    except meshlab.PyMeshLabException as error:
        raise CodecFailed(f"MeshLab cannot decimate the mesh: {error}") from error
    result = mesh_set.current_mesh()
    return np.array(result.vertex_matrix(), np.float64), np.array(result.face_matrix(), np.int64)


def _has_area(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> bool:
    """Whether all coordinates are finite and at least one face has an area."""
    if not len(triangles) or not np.isfinite(points).all():
        return False
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return bool(np.cross(b - a, c - a).any())
