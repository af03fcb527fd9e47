"""How alike two meshes look: depth and silhouette of views from random cameras, differentiably (A.2, Eq. 6-8).

nvdiffrast renders on CUDA; the rasteriser of this package renders everywhere else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch.nn.functional import l1_loss

from gcbench.errors import CodecUnavailable
from gcbench.geometry.rasteriser import (
    outline_crossings,
    plane_depths,
    plane_gradients,
    seen_planes,
    unique_edges,
    visible_faces,
)

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray
    from torch import Tensor

    from gcbench.geometry.rasteriser import Floats, Indices, Ints

FIELD_OF_VIEW = np.deg2rad(45.0)  # as in the authors' configuration
# Room around the sphere that holds the mesh, for a surface that is not quite there yet. Chosen here.
_MARGIN = 1.05


class Images(NamedTuple):
    """Views of a mesh.

    Parameters
    ----------
    depth : (E, R, R) floating point
        Distance from the camera along its axis; 0 where nothing is seen.
    silhouette : (E, R, R) floating point
        Covered share of each pixel: 0 or 1 but along the outline.
    covered : (E, R, R) bool
        Whether the mesh covers the centre of the pixel.
    """

    depth: Tensor
    silhouette: Tensor
    covered: Tensor


class Renderer(Protocol):
    """Renders all views of a mesh at once."""

    def __call__(self, clip: Tensor, faces: Tensor) -> Images:
        """The images of vertices (E, V, 4) in clip space, with w the depth, and faces (F, 3); differentiable in clip.

        All vertices are in front of the camera.
        """


class _PlaneDepths(torch.autograd.Function):
    """Depth images (R, R) of planes (n, 3), given which of them each pixel sees."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, at_pixel: Indices) -> Tensor:
        depth = np.zeros(at_pixel.shape)
        plane_depths(planes.detach().numpy(), at_pixel, depth)
        ctx.at_pixel, ctx.count = at_pixel, len(planes)
        ctx.save_for_backward(image := torch.from_numpy(depth))
        return image

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (depth,) = ctx.saved_tensors
        of_planes = np.zeros((ctx.count, 3))
        plane_gradients(depth.numpy(), gradients[0].contiguous().numpy(), ctx.at_pixel, of_planes)
        return torch.from_numpy(of_planes), None


def _depths(planes: Tensor, at_pixel: Indices) -> Tensor:
    image: Tensor = _PlaneDepths.apply(planes, at_pixel)  # type: ignore[no-untyped-call]  # torch has no types for it
    return image


def _planes(clip: Tensor, faces: Tensor) -> Tensor:
    """Planes of triangles (n, 3) with vertices (V, 4) in clip space, so that one over the depth is p · (X, Y, 1)."""
    # The ray of a pixel is w (X, Y, 1) in the coordinates x, y, w of clip space.
    a, b, c = clip[:, [0, 1, 3]][faces].unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)
    planes: Tensor = normal / (normal * a).sum(dim=1, keepdim=True)
    return planes


class CpuRenderer:
    """Renders on the CPU: a z-buffer finds what is seen, tensors compute what it looks like.

    Depth is where the ray of a pixel meets the plane of the triangle. Along the outline, the silhouette is the share of
    the way from the last covered pixel to the first uncovered one at which the outline is crossed, and so depends on
    the edge that is crossed.

    Parameters
    ----------
    resolution : int
        R, pixels along each side of an image.
    threads : int
        Views that are rasterised at the same time.

    Source: the silhouette after the antialiasing of Laine et al., Modular Primitives for High-Performance
    Differentiable Rendering, 2020, Sec. 3.5; there, only the edges of the triangle that is seen count.
    """

    def __init__(self, resolution: int, threads: int = 1) -> None:
        self.resolution = resolution
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, clip: Tensor, faces: Tensor) -> Images:
        """As in :class:`Renderer`, in float64."""
        R = self.resolution
        places = (clip[..., :2] / clip[..., 3:] + 1) * (R / 2)  # in pixels
        points = torch.cat([places, 1 / clip[..., 3:]], dim=-1).detach().numpy()
        triangles = faces.numpy()
        edges, edge_of_side = unique_edges(triangles, clip.shape[1])

        def rasterise(view: Floats) -> tuple[Ints, Indices, Ints, Ints]:
            visible = visible_faces(view, triangles, R)
            pair, crossed = outline_crossings(view, triangles, edges, edge_of_side, visible)
            return *seen_planes(visible, len(triangles)), pair, crossed

        seen, at_pixel, pairs, crossed = zip(*self._pool.map(rasterise, points), strict=True)
        depth = torch.stack(
            [
                _depths(_planes(points_of_view, faces[torch.from_numpy(seen_in_view)]), plane_of_pixel)
                for points_of_view, seen_in_view, plane_of_pixel in zip(clip, seen, at_pixel, strict=True)
            ]
        )
        covered = torch.from_numpy(np.stack(at_pixel)) >= 0
        view = np.repeat(np.arange(len(clip)), [len(of_view) for of_view in pairs])
        pair, ends = np.concatenate(pairs), edges[np.concatenate(crossed)]
        silhouette = self._silhouette(places, covered, *map(torch.from_numpy, (view, pair, ends)))
        return Images(depth, silhouette, covered)

    def _silhouette(self, places: Tensor, covered: Tensor, view: Tensor, pair: Tensor, ends: Tensor) -> Tensor:
        """Coverage of the pixels, (E, R, R)."""
        R = self.resolution
        is_column = pair >= R * R
        first = pair % (R * R)
        step = torch.where(is_column, R, 1)
        row, column = (first // R).to(places.dtype) + 0.5, (first % R).to(places.dtype) + 0.5
        edge = places[view[:, None], ends]
        # Along the pair, and across it.
        along, across = torch.where(is_column[:, None, None], edge.flip(-1), edge).unbind(dim=-1)
        start, line = torch.where(is_column, row, column), torch.where(is_column, column, row)
        share = (line - across[:, 0]) / (across[:, 1] - across[:, 0])
        crossing = along[:, 0] + share * (along[:, 1] - along[:, 0]) - start  # 0 at the first pixel, 1 at the second

        hard = covered.reshape(-1)
        first = first + view * (R * R)
        forward = hard[first]  # the first is the covered one
        excess = torch.where(forward, crossing, 1 - crossing) - 0.5
        changed = torch.where(forward == (excess > 0), first + step, first)
        return hard.to(places.dtype).index_add(0, changed, excess).reshape(covered.shape)


class CudaRenderer:
    """Renders with nvdiffrast, on a GPU. Exercised by the tests only where there is one.

    Parameters
    ----------
    resolution : int
        R, pixels along each side of an image.
    device : str
        The GPU.

    Raises
    ------
    CodecUnavailable
        CUDA or nvdiffrast is missing.
    """

    def __init__(self, resolution: int, device: str) -> None:
        if not torch.cuda.is_available():
            raise CodecUnavailable("no CUDA device was found", "render on the CPU, or install a torch with CUDA")
        try:
            nvdiffrast = import_module("nvdiffrast.torch")
        except ImportError as error:
            raise CodecUnavailable(
                "rendering on CUDA needs nvdiffrast",
                "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast, "
                "or fit with the closest-point objective",
            ) from error
        self.resolution = resolution
        self._nvdiffrast = nvdiffrast
        self._context = nvdiffrast.RasterizeCudaContext(device=device)

    def __call__(self, clip: Tensor, faces: Tensor) -> Images:
        """As in :class:`Renderer`."""
        clip, triangles = clip.float().contiguous(), faces.int().contiguous()
        size = (self.resolution, self.resolution)
        seen, _ = self._nvdiffrast.rasterize(self._context, clip, triangles, size, grad_db=False)
        depth, _ = self._nvdiffrast.interpolate(clip[..., 3:].contiguous(), seen, triangles)
        covered = seen[..., 3:] > 0  # the triangle, counted from 1
        silhouette = self._nvdiffrast.antialias(covered.float().contiguous(), seen, clip, triangles)
        return Images(depth[..., 0], silhouette[..., 0], covered[..., 0])


def random_cameras(count: int, radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Matrices from space to clip space of cameras around the origin, looking at it, (count, 4, 4).

    Directions and roll are uniform; the sphere of the given radius just fits the image.
    """
    cotangent = 1 / np.tan(FIELD_OF_VIEW / 2)
    distance = _MARGIN * radius / np.sin(FIELD_OF_VIEW / 2)
    near, far = distance - 1.5 * radius, distance + 1.5 * radius
    projection = np.zeros((4, 4))
    projection[0, 0] = projection[1, 1] = cotangent
    projection[2, 2:] = -(far + near) / (far - near), -2 * far * near / (far - near)
    projection[3, 2] = -1.0
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3] = Rotation.from_quat(rng.normal(size=(count, 4))).as_matrix()
    pose[:, 2, 3] = -distance
    return projection @ pose


class RenderObjective:
    """How far a surface looks from a mesh: the loss of the paper.

    Every step has new random cameras, the same for both meshes; they depend on seed and step only. Images are compared
    by their mean absolute difference over views and pixels: the silhouettes everywhere, the depths where both meshes
    are seen, because where one of them is not, only the silhouette can tell it where to go.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        The target.
    views : int
        E, cameras a step.
    depth_weight : float
        λ_rec of Eq. 8.
    seed : int
        Of the cameras.
    device : str
        Where the vertices will be; on "cuda", nvdiffrast renders.
    threads : int
        Threads to use.
    resolution : int
        Pixels along each side of an image.

    Raises
    ------
    CodecUnavailable
        The device is a GPU, and it or nvdiffrast is missing.

    Source: Eq. 6-8, with means for sums.
    """

    def __init__(
        self,
        mesh: trimesh.Trimesh,
        *,
        views: int,
        depth_weight: float,
        seed: int,
        device: str,
        threads: int,
        resolution: int = 512,
    ) -> None:
        self.views = views
        self.depth_weight = depth_weight
        self.seed = seed
        self.renderer: Renderer
        if torch.device(device).type == "cuda":
            self.renderer, dtype = CudaRenderer(resolution, device), torch.float32
        else:
            # Planes of triangles that are seen edge-on need the digits.
            self.renderer, dtype = CpuRenderer(resolution, threads), torch.float64
        self._vertices = torch.as_tensor(np.array(mesh.vertices), dtype=dtype, device=device)
        self._faces = torch.as_tensor(np.array(mesh.faces, dtype=np.int64), device=device)
        self._radius = float(self._vertices.norm(dim=1).max())

    def __call__(self, vertices: Tensor, faces: Tensor, step: int) -> Tensor:
        """The loss at a step, a scalar that is differentiable in ``vertices`` (V, 3); ``faces`` is (F, 3) int64."""
        cameras = random_cameras(self.views, self._radius, np.random.default_rng([self.seed, step]))
        to_clip = torch.as_tensor(cameras).to(self._vertices)
        with torch.no_grad():
            target = self.renderer(_project(self._vertices, to_clip), self._faces)
        image = self.renderer(_project(vertices.to(self._vertices), to_clip), faces)
        silhouette = l1_loss(image.silhouette, target.silhouette)
        # Where not both are seen, the difference to itself: no loss, and no gradient.
        depth = l1_loss(image.depth, torch.where(image.covered & target.covered, target.depth, image.depth.detach()))
        return (silhouette + self.depth_weight * depth).to(vertices.dtype)


def _project(points: Tensor, to_clip: Tensor) -> Tensor:
    """Points (V, 3) in the clip spaces of cameras (E, 4, 4), (E, V, 4)."""
    return points @ to_clip[:, :, :3].transpose(1, 2) + to_clip[:, None, :, 3]
