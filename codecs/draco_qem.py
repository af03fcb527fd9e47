"""Quadric decimation, then Draco: the baseline that a learned mesh codec has to beat at low rates.

The streams are those of ``draco``, under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from gcbench import native
from gcbench.codecs import decimation, draco
from gcbench.codecs.arrays import checked_faces
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate
from gcbench.entropy.container import Container
from gcbench.errors import CodecFailed, SystemLibraryMissing
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import ArrayLike, NDArray

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

    **The ladder.** A rate is a target of the mean point-to-surface distance, and the encoder searches for the budget
    and the bits of the smallest stream (:mod:`gcbench.codecs.decimation`). The search is part of the encoding time.
    Measured on 4 AMA frames, 4 animals and 8 models of Thingi10K, over budgets on a grid of 2^(1/4) × 6 to 14 bits, in
    bytes above the smallest at the same distance: 0.1 % on AMA and animals, 2.2 % on Thingi10K.
    ``draco-qem[ladder=faces]`` has fixed pairs of budget and bits, without a search: 7 % on AMA and animals, 62 % on
    Thingi10K, where few faces at many bits are better on simple parts.

    **Rejected alternatives**, mean change at equal budget and bits over these meshes (AMA, animals, Thingi10K):
    planarquadric: bytes −1.8, −2.0, +1.5 %, distance +2.2, +5.8, +2.2 %; preserveboundary: bytes 0, +0.9, +0.3 %,
    distance 0, +1.0, +7.8 %; fast-simplification instead of MeshLab: 4–20× faster, bytes +5, +8, +53 %,
    distance +4.5, +35, ×4.7; fast-simplification misses the budget on meshes with borders.

    Source: M. Garland and P. S. Heckbert, "Surface simplification using quadric error metrics", SIGGRAPH 1997.
    """

    name = "draco-qem"
    packages = ("pymeshlab", "numba", *draco.Draco.packages)
    container = Container(b"DRQ", 1, name, draco.BUDGET)
    decode_budget = draco.BUDGET

    def __init__(self, ladder: str = "distance") -> None:
        self._draco = draco.Draco()
        self._ladder = decimation.as_ladder(ladder)

    def version(self) -> str:
        """Version of the format, of this module, of ``draco``, pymeshlab and DracoPy."""
        return source_version(self.container.version, __name__, packages=self.packages)

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
        """``d1600`` to ``d0012``, target distances in 10⁻⁵; of the ladder of faces ``f00250q08`` to ``f20000q12``."""
        return decimation.rates(self._ladder, effort)

    def prepare(self) -> None:
        """Import pymeshlab and DracoPy."""
        super().prepare()
        self._draco.prepare()
        native.pymeshlab()

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Decimate and encode one mesh."""
        return decimation.encode(
            mesh,
            rate,
            ctx,
            decimate=lambda budget: decimate(mesh.vertices, mesh.faces, budget),
            code=lambda arrays, bits: draco.pack(self.container, draco.encode(*arrays, bits)),
            decode=lambda stream: self.decode_mesh(stream, ctx),
        )

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh, as ``draco`` does."""
        return draco.decode(draco.unpack(self.container, stream))


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
