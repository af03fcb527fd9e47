"""meshoptimizer's simplifier down to a face budget, then its codecs: the fast counterpart of ``draco-qem``."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from gcbench import native
from gcbench.codecs import decimation, meshopt
from gcbench.codecs.arrays import checked_faces
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate
from gcbench.entropy.container import Container
from gcbench.errors import SystemLibraryMissing
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import ArrayLike, NDArray

_LIBRARY = ("meshoptimizer", "libmeshoptimizer2d")  # name, and package of Debian 12
_ANY_ERROR = 3e38  # only the budget ends the collapses


class MeshoptSimplify(ModelCodec):
    """Edge collapse of meshoptimizer down to a face budget, then the codec ``meshopt`` at a number of bits.

    The simplifier keeps vertices where they are, so that a collapse chooses one of two ends. It takes 10 ms for a mesh
    of 20 000 faces, where MeshLab takes 300 ms, and leaves 1.4 times the distance at an equal number of faces (AMA;
    1.5–2 times on CAD models). A mesh within the budget is not simplified. The ladders are those of ``draco-qem``:
    target distances, or fixed pairs of faces and bits.

    The simplifier comes from the system library libmeshoptimizer: the package meshopt does not have it.

    Source: A. Kapoulkine, meshoptimizer, ``meshopt_simplify``.
    """

    name = "meshopt-simplify"
    packages = ("numba", *meshopt.Meshopt.packages)
    container = Container(b"MSS", 1, name)
    decode_budget = container.budget

    def __init__(self, ladder: str = "distance") -> None:
        self._ladder = decimation.as_ladder(ladder)

    def version(self) -> str:
        """Version of the format, of this module, of the packages, and of libmeshoptimizer."""
        try:
            library = library_version()
        except SystemLibraryMissing:
            library = "missing"
        return f"{source_version(self.container.version, __name__, packages=self.packages)}+libmeshoptimizer-{library}"

    def programs(self) -> Mapping[str, str]:
        """The version of the system library."""
        try:
            return {"libmeshoptimizer": library_version()}
        except SystemLibraryMissing:
            return {}

    def availability(self) -> Availability:
        """Whether the packages of ``meshopt`` and the system library are installed."""
        coder = meshopt.Meshopt().availability()
        if not coder.ok:
            return coder
        try:
            _library()
        except SystemLibraryMissing as error:
            reason, _, remedy = str(error).partition("; ")
            return Availability(ok=False, reason=reason, remedy=remedy)
        return Availability(ok=True)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``d1600`` to ``d0012``, target distances in 10⁻⁵; of the ladder of faces ``f00250q08`` to ``f20000q12``."""
        return decimation.rates(self._ladder, effort)

    def prepare(self) -> None:
        """Import the packages and load the library."""
        super().prepare()
        meshopt.Meshopt().prepare()
        if self.availability().ok:  # decoding does not need the library
            _library()

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Simplify and encode one mesh."""
        return decimation.encode(
            mesh,
            rate,
            ctx,
            decimate=lambda budget: (np.asarray(mesh.vertices), simplify(mesh.vertices, mesh.faces, budget)),
            code=lambda arrays, bits: meshopt.encode(self.container, *arrays, bits),
            decode=lambda stream: meshopt.decode(self.container, stream),
        )

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh, as ``meshopt`` does."""
        return meshopt.decode(self.container, stream)


def simplify(vertices: ArrayLike, faces: ArrayLike, face_budget: int) -> NDArray[np.int64]:
    """Collapse edges in the order of their quadric error until at most ``face_budget`` faces are left.

    If nothing is left (many small components, a small budget), the budget is doubled until a face is left.

    Parameters
    ----------
    vertices : (V, 3) float
        Positions; the simplifier sees them as float32.
    faces : (F, 3) int
        Triangles.
    face_budget : int
        Faces to keep. The simplifier stops above the budget if no further collapse keeps the topology.

    Returns
    -------
    (F', 3) int
        Triangles over the same vertices.

    Raises
    ------
    CodecFailed
        A face uses a vertex that does not exist.
    SystemLibraryMissing
        The library is not installed.
    """
    points = np.ascontiguousarray(vertices, np.float32)
    triangles = checked_faces(faces, len(points))
    given = np.ascontiguousarray(triangles, np.uint32)
    kept = np.empty_like(given)
    while len(triangles) > face_budget:
        count = _library().meshopt_simplify(
            kept.ctypes.data, given.ctypes.data, given.size, points.ctypes.data, len(points), 12,
            3 * face_budget, _ANY_ERROR, 0, None,
        )  # fmt: skip
        if count:
            return kept.reshape(-1)[:count].reshape(-1, 3).astype(np.int64)
        face_budget *= 2
    return triangles


def library_version() -> str:
    """Version in the file name of the installed library, such as ``0.18``. Raises SystemLibraryMissing."""
    _, file = native.shared_library(*_LIBRARY)
    return file.partition(".so.")[2] or "unknown"


@cache
def _library() -> ctypes.CDLL:
    library, _ = native.shared_library(*_LIBRARY)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.meshopt_simplify.restype = size
    # destination, indices, their count, positions, their count, stride, target count of indices, error, options, error
    library.meshopt_simplify.argtypes = [
        pointer, pointer, size, pointer, size, size, size, ctypes.c_float, ctypes.c_uint, pointer,
    ]  # fmt: skip
    return library
