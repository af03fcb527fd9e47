"""Blend shapes: what an engineer would use for an animated mesh, as a codec of sets."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from gcbench.codecs import draco
from gcbench.codecs.arrays import decoded_mesh
from gcbench.codecs.base import Availability, Context, Effort, Rate, SetCodec, StreamLayout, check_index
from gcbench.entropy.budget import Budget
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError, CodecFailed
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

_DISTANCES = (800, 560, 400, 280, 200, 140, 100, 70, 50)  # in units of 10⁻⁵, where the longest side of a mesh is 2
_OF_EFFORT = {"quick": (800, 280), "standard": _DISTANCES, "paper": (*_DISTANCES, 25)}
BUDGET = Budget(memory=4 << 30, voxels=0, multiply_adds=10**12, meshes=1 << 14, triangles=1 << 24)


class BlendShapes(SetCodec):
    """Meshes with the same faces as one control mesh, its principal movements, and a few numbers for each mesh.

    The frames of a tracked or animated sequence have the same faces, and AMA and DeformingThings4D consist of such
    sequences. The codec uses that, which codecs of single meshes and of distance fields cannot. Meshes of a set that
    share their faces with no other are coded by themselves, each as a control mesh.

    **The ladder** is that of ``draco-qem``: a rate is a target of the mean point-to-surface distance in 10⁻⁵, where the
    longest side of a mesh is 2, and the encoder searches for the smallest stream. Six meshes of a group are measured.

    The order of meshes matters: the numbers of a mesh are predicted from those of the meshes around it.

    Source: M. Alexa and W. Müller, "Representing animations by principal components", Eurographics 2000; C. Loop, 1987,
    for the smooth surface; A. Mohr and M. Gleicher, 2003, for the control mesh of several poses.
    """

    name = "blendshapes"
    container = Container(b"BSH", 1, name, BUDGET)
    decode_budget = BUDGET
    deterministic = False
    random_access = True
    packages = ("constriction", "scipy", "numba", *draco.Draco.packages)

    def version(self) -> str:
        """Version of the format, of these modules, of ``draco`` and the packages."""
        return source_version(self.container.version, __name__, packages=self.packages)

    def availability(self) -> Availability:
        """Whether DracoPy is installed."""
        return draco.Draco().availability()

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """``d0800`` to ``d0050``, target distances in 10⁻⁵."""
        return [Rate(f"d{distance:04d}", {"distance": distance * 1e-5}) for distance in _OF_EFFORT[effort]]

    def prepare(self) -> None:
        """Import DracoPy, SciPy and the kernels."""
        super().prepare()
        draco.Draco().prepare()
        for module in ("scipy.sparse.linalg", "scipy.spatial.transform", "gcbench.codecs.blendshapes.encoding"):
            import_module(module)

    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Search for the smallest stream of the rate's distance."""
        from gcbench.codecs.blendshapes.encoding import encoded
        from gcbench.codecs.blendshapes.stream import read, write

        stream = write(encoded(meshes, float(rate.params["distance"]), ctx), self.container)
        try:
            read(stream, self.container)
        except BitstreamError as error:
            raise CodecFailed(f"the set is larger than what a decoder accepts: {error}") from error
        return stream

    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh."""
        from gcbench.codecs.blendshapes.stream import read

        contents = read(stream, self.container)
        meshes = []
        for i in range(len(contents.of_mesh)):
            ctx.check_deadline()
            meshes.append(decoded_mesh(*contents.mesh(i)))
        return meshes

    def decode_one(self, stream: bytes, index: int, ctx: Context) -> trimesh.Trimesh:
        """Decode the numbers of all meshes, which takes milliseconds, and make the surface of one."""
        from gcbench.codecs.blendshapes.stream import read

        contents = read(stream, self.container)
        check_index(index, len(contents.of_mesh))
        return decoded_mesh(*contents.mesh(index))

    def layout(self, stream: bytes) -> StreamLayout:
        """The numbers of a mesh serve it alone, and so does a control mesh of one mesh; others serve all of a group."""
        from gcbench.codecs.blendshapes.stream import read, shares

        own = shares(read(stream, self.container))
        return StreamLayout(len(stream) - sum(own), own)
