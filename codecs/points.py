"""The base of codecs that code voxelised points: it samples a mesh, and reconstructs a surface from decoded points."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gcbench.codecs.arrays import checked_faces, decoded_mesh
from gcbench.codecs.base import Context, ModelCodec, Rate
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError, CodecFailed
from gcbench.geometry.clouds.reconstruction import reconstruct
from gcbench.geometry.clouds.voxels import voxelise

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray

MIN_BITS, MAX_BITS = 4, 12
PACKAGES = ("numba", "scipy")


class PointCodec(ModelCodec):
    """Codes the voxels that a surface touches, on a grid of 2^bits over [-1, 1], and meshes the decoded points.

    The rate's parameter ``bits`` sets the resolution; without it, the grid has 2^10 voxels along a side. The body of a
    stream is one byte for the bits, then the bytes that ``encode_points`` returns. Times are reported in the stages
    ``sampling``, ``coding`` (both directions), ``normals`` and ``surface``.

    NeCGS (Ren et al.), appendix C.2, uses "voxel sampling and SPSR to convert between point cloud and surface". The
    reconstruction here takes the place of SPSR: it is faster and nearer to the original (docs/points.md).
    """

    container: ClassVar[Container]
    packages: ClassVar[tuple[str, ...]] = PACKAGES

    def prepare(self) -> None:
        """Convert one small mesh, which imports the packages and compiles the loops (or loads the compiled ones)."""
        super().prepare()
        tetrahedron = np.array([[-1.0, -1, -1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
        voxels = voxelise(tetrahedron, np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]), MIN_BITS, seed=0)
        reconstruct(voxels.astype(np.float64), Context())

    @abstractmethod
    def encode_points(self, voxels: NDArray[np.int32], bits: int, rate: Rate, ctx: Context) -> bytes:
        """Encode occupied voxels.

        Parameters
        ----------
        voxels : (N, 3) int32
            Distinct, in [0, 2^bits), sorted by x, then y, then z; N ≥ 1.
        bits : int
            The grid has 2^bits voxels along a side.
        """

    @abstractmethod
    def decode_points(self, stream: bytes, bits: int, ctx: Context) -> NDArray[np.float64]:
        """Decode points.

        Returns
        -------
        (N, 3) float64
            Positions in voxels: the centre of voxel (i, j, k) is (i + ½, j + ½, k + ½), and [0, 2^bits] is the cube.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign.
        """

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Voxelise one normalised mesh and encode the voxels."""
        voxels, bits = self.sample(mesh, rate, ctx)
        with ctx.stage("coding"):
            return self.wrap(self.encode_points(voxels, bits, rate, ctx), bits)

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode the points of one mesh and reconstruct a surface.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign, or too few points for a surface are decoded.
        """
        with ctx.stage("coding"):
            points, bits = self.decode_cloud(stream, ctx)
        return self.surface(points, bits, ctx)

    def decode_cloud(self, stream: bytes, ctx: Context) -> tuple[NDArray[np.float64], int]:
        """Decode the points, in voxels, and the bits of their grid, without a surface; point metrics compare points."""
        contents, bits = self.unwrap(stream)
        points = self.decode_points(contents, bits, ctx)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
            raise BitstreamError("the stream holds no points")
        return points, bits

    def sample(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> tuple[NDArray[np.int32], int]:
        """Voxels of a normalised mesh on the rate's grid, and the bits of this grid.

        Raises
        ------
        CodecFailed
            The mesh has no faces, a coordinate is not finite, a face uses a missing vertex, or bits are out of range.
        """
        bits = int(rate.params.get("bits", 10))
        if not MIN_BITS <= bits <= MAX_BITS:
            raise CodecFailed(f"bits={bits} is not in {MIN_BITS}…{MAX_BITS}")
        if not len(mesh.faces):
            raise CodecFailed("the mesh has no faces")
        if not np.isfinite(mesh.vertices).all():
            raise CodecFailed("a coordinate is not finite")
        faces = checked_faces(mesh.faces, len(mesh.vertices))
        with ctx.stage("sampling"):
            voxels = voxelise(mesh.vertices, faces, bits, ctx.seed)
        ctx.check_deadline()
        return voxels, bits

    def surface(self, points: NDArray[np.float64], bits: int, ctx: Context) -> trimesh.Trimesh:
        """Reconstruct a surface from points in voxels and scale the surface to [-1, 1]."""
        ctx.check_deadline()
        vertices, faces = reconstruct(points, ctx)
        return decoded_mesh(vertices / 2.0 ** (bits - 1) - 1, faces)

    def wrap(self, contents: bytes, bits: int) -> bytes:
        """Make a stream of the bytes of :meth:`encode_points`."""
        return self.container.pack(Writer().byte(bits).raw(contents).data())

    def unwrap(self, stream: bytes) -> tuple[bytes, int]:
        """Split a stream into the bytes of :meth:`encode_points` and the bits of the grid.

        Raises
        ------
        BitstreamError
            The stream is too short, damaged, or foreign.
        """
        fields = self.container.open(stream)
        bits = fields.byte("number of bits of the grid", MIN_BITS, MAX_BITS)
        return fields.rest(), bits
