"""From a mesh to its volume: the TSDF, then Adam on it and on the deformation of the grid (Sec. 3.1, Algorithm 1).

An objective measures how far the surface of the volume is from the mesh: ``closest_points`` or ``render``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy import ndimage

from gcbench.errors import BadMesh
from gcbench.geometry.deformable_marching_cubes import positions, topology
from gcbench.geometry.surface import Surface
from gcbench.geometry.tsdf import band_distance, tsdf
from gcbench.geometry.winding import merged_triangles, orient
from gcbench.necgs.closest_points import ClosestPoints
from gcbench.training import straight_through
from gcbench.training.progress import Progress, silent
from gcbench.training.quantise import HIGH, LOW

if TYPE_CHECKING:
    import trimesh
    from numpy.typing import NDArray
    from torch import Tensor

    from gcbench.geometry.grid import Grid
    from gcbench.necgs.settings import Objective as ObjectiveName

log = logging.getLogger(__name__)

FIT_VERSION = "2"
"""Part of the address of every kept volume: any change that can change a volume needs a new version."""


class Objective(Protocol):
    """How far a surface is from the mesh that it is fitted to."""

    def __call__(self, vertices: Tensor, faces: Tensor, step: int) -> Tensor:
        """The loss at a step, a scalar that is differentiable in ``vertices`` (V, 3); ``faces`` is (F, 3) int64."""


@dataclass(frozen=True)
class Schedule:
    """How an objective is best minimised, where the caller leaves that open.

    Parameters
    ----------
    steps : int
        Steps of Adam.
    learning_rate, decay : float
        The first, and the last over the first; it falls off exponentially.
    deformation_l1, tsdf_l1 : float
        Weights of the mean absolute deformation, and change of the TSDF, of the vertices next to the surface.
    """

    steps: int
    learning_rate: float
    decay: float
    deformation_l1: float
    tsdf_l1: float


# Chosen by trials at K = 64 on a human, a horse and a mechanical part with thin walls. A quarter of this learning rate
# leaves 1.3 to 2.4 times the distance. On the first two, a third of the deformation's weight takes a tenth off the
# distance and deforms 1.4 to 1.6 times as many vertices. A schedule of 30 steps has half to three quarters of the gain.
DIRECT = Schedule(steps=150, learning_rate=0.04, decay=0.05, deformation_l1=0.003, tsdf_l1=0.001)
# As published (Sec. 4.1, A.2), but for the weight of the deformation: the authors' 10 is that of the mean over the
# whole volume, which comes to this over the vertices next to the surface of a human at K = 128.
RENDERED = Schedule(steps=500, learning_rate=0.01, decay=0.01, deformation_l1=0.03, tsdf_l1=0.0)
NORMAL_WEIGHT = 0.05
VIEWS, DEPTH_WEIGHT = 4, 10.0  # E, random cameras a step, and λ_rec of Eq. 8; of rendered views
_SHELL_CELLS = 0.75  # half its thickness: every sheet has a vertex of the grid within half a cell along some axis
DENSITY = 1.0  # samples of the mesh per squared cell


def fit(
    mesh: trimesh.Trimesh,
    grid: Grid,
    objective: ObjectiveName = "closest-point",
    *,
    schedule: Schedule | None = None,
    steps: int = 0,
    deformation: bool = True,
    bits: int = 8,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Fit a volume to a mesh.

    Parameters
    ----------
    mesh : trimesh.Trimesh
        Inside [-1, 1]³.
    grid : Grid
        The grid of the volume.
    objective : {"closest-point", "render", "none"}
        Exact closest points, depth and silhouette of rendered views (Eq. 6-8), or the plain TSDF as it is.
    schedule : Schedule or None
        None is what suits the objective.
    steps : int
        Steps in place of those of the schedule; 0 keeps those.
    deformation : bool
        Whether vertices of the grid may be displaced: four channels, or one.
    bits : int
        N of Eq. 5: the quantisation, which the fit takes into account.
    seed : int
        Of all that is random; the same seed and number of threads give the same volume.
    threads : int
        Threads to use.
    device : str
        Where the tensors are; closest points are always found on the CPU.
    progress : callable
        Told now and then.

    Returns
    -------
    (channels, K, K, K) float32
        In [-1, 1], on the 2^N + 1 levels of the quantiser.

    Raises
    ------
    BadMesh
        No faces, no area, coordinates that are not finite or outside [-1, 1]³.

    Source: Algorithm 1 and Eq. 6-8.
    """
    vertices, faces = merged_triangles(mesh)
    surface = Surface(vertices, orient(faces, vertices))
    if surface.area <= 0:
        raise BadMesh("the mesh has no area")
    volume = torch.zeros((4 if deformation else 1, *(grid.resolution,) * 3))
    volume[0] = torch.from_numpy(_start(mesh, vertices[faces], grid, threads))
    if objective == "none":
        return straight_through.nearest(volume, bits).numpy()
    loss, own = _objective(mesh, surface, grid, objective, seed=seed, device=device, threads=threads)
    own = schedule or own
    own = replace(own, steps=steps or own.steps)
    return minimise(loss, volume.to(device), grid, own, bits=bits, progress=progress).cpu().numpy()


def _start(mesh: trimesh.Trimesh, corners: NDArray[np.float64], grid: Grid, threads: int) -> NDArray[np.float32]:
    """The TSDF; of a mesh that encloses no vertex of the grid, an open sheet or a thin plate, a shell around it."""
    signed = tsdf(mesh, grid, threads)
    if (signed < 0).any():
        return signed
    return (band_distance(corners, grid, threads) - np.float32(_SHELL_CELLS * grid.spacing)) / np.float32(
        grid.truncation
    )


def _objective(
    mesh: trimesh.Trimesh, surface: Surface, grid: Grid, name: ObjectiveName, *, seed: int, device: str, threads: int
) -> tuple[Objective, Schedule]:
    """The objective that is asked for, and how to minimise it."""
    if name == "closest-point":
        closest = ClosestPoints(
            surface, scale=grid.spacing, density=DENSITY, normal_weight=NORMAL_WEIGHT, seed=seed, threads=threads
        )
        return closest, DIRECT
    from gcbench.necgs.render import RenderObjective  # may want a renderer that is not installed

    rendered = RenderObjective(mesh, views=VIEWS, depth_weight=DEPTH_WEIGHT, seed=seed, device=device, threads=threads)
    return rendered, RENDERED


def minimise(
    objective: Objective,
    volume: Tensor,
    grid: Grid,
    schedule: Schedule,
    *,
    bits: int = 8,
    progress: Progress = silent,
) -> Tensor:
    """Change a volume so that its surface, after quantisation, has the least loss.

    Only vertices near the initial surface change: no other moves it.

    Parameters
    ----------
    objective : Objective
        The loss of a surface.
    volume : (channels, K, K, K) float32
        Where to start.
    grid : Grid
        Its grid.
    schedule : Schedule
        Of Adam.
    bits : int
        N of Eq. 5.
    progress : callable
        Told every ten steps.

    Returns
    -------
    (channels, K, K, K) float32
        On the levels of the quantiser.
    """
    K, device = grid.resolution, volume.device
    # A vertex within the truncation of the surface may become one that decides it; around those, values stay as they
    # are, but the surface may come to lie between the two.
    movable = (volume[0].abs() < 1).cpu().numpy()
    gathered = ndimage.binary_dilation(movable, np.ones((3, 3, 3)))
    index = torch.from_numpy(np.flatnonzero(gathered)).to(device)
    free = torch.from_numpy(movable[gathered]).to(device)
    place = torch.zeros(K**3, dtype=torch.int64, device=device)
    place[index] = torch.arange(len(index), device=device)

    flat = straight_through.nearest(volume, bits).reshape(len(volume), -1)
    start = volume.reshape(len(volume), -1)[:, index]
    values = start.clone().requires_grad_()
    weights = torch.full((len(volume), 1), schedule.deformation_l1, device=device)
    weights[0] = schedule.tsdf_l1
    active = len(torch.unique(topology(volume[0]).ends))
    adam = torch.optim.Adam([values], lr=schedule.learning_rate)
    falling = torch.optim.lr_scheduler.ExponentialLR(adam, schedule.decay ** (1 / max(1, schedule.steps)))
    for step in range(schedule.steps):
        quantised = straight_through.quantise(values, bits)
        flat[0, index] = quantised[0].detach()
        ends, faces = topology(flat[0].reshape(K, K, K))
        if not len(faces):
            log.warning("the fit on the %d³ grid lost the surface, and is left out", K)
            return straight_through.nearest(volume, bits)
        at_ends = place[ends].reshape(1, -1).expand(len(volume), -1)
        points = positions(quantised.gather(1, at_ends).reshape(len(volume), 2, -1), ends, grid)
        loss = objective(points, faces, step) + (weights * (values - start).abs()).sum() / active
        (values.grad,) = torch.autograd.grad(loss, [values])
        values.grad.mul_(free)
        adam.step()
        falling.step()
        with torch.no_grad():
            values.clamp_(LOW, HIGH)
        if step % 10 == 9:
            progress((step + 1) / schedule.steps, f"step {step + 1}, loss {loss.item():.5f}")
    flat[:, index] = straight_through.nearest(values.detach(), bits)
    return flat.reshape(volume.shape)
