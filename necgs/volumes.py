"""The volumes of a whole set: fitted in parallel and kept on disk, so that interrupted work resumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import trimesh

from gcbench.errors import UsageError
from gcbench.geometry.grid import Grid
from gcbench.necgs import kept_arrays
from gcbench.necgs.fit import FIT_VERSION, fit
from gcbench.necgs.processes import spread
from gcbench.necgs.settings import Objective
from gcbench.training.progress import Progress, silent
from gcbench.training.quantise import quantise
from gcbench.training.ranks import Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.necgs.job import Job


@dataclass(frozen=True)
class Recipe:
    """All that a volume depends on besides its mesh."""

    grid: Grid
    objective: Objective
    deformation: bool
    bits: int
    seed: int
    device: str = "cpu"
    steps: int = 0  # of the fit; 0 takes those that suit the objective

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(channels, K, K, K)."""
        side = self.grid.resolution
        return 4 if self.deformation else 1, side, side, side

    def key(self, mesh: trimesh.Trimesh) -> str:
        """Address of the volume of a mesh: equal for equal work."""
        return kept_arrays.key_of(f"{FIT_VERSION} {self}", mesh)


def fit_set(
    meshes: Sequence[trimesh.Trimesh],
    resolution: int,
    objective: Objective,
    job: Job,
    *,
    deformation: bool,
    bits: int,
    steps: int = 0,
) -> NDArray[np.int16]:
    """Fit a volume to each mesh of a set, in the job's threads, and keep the volumes in its folder.

    Started by ``torchrun``, each process fits its own meshes and finds the volumes of others in the folder.

    Parameters
    ----------
    meshes : sequence of Trimesh
        In the cube [-1, 1]³.
    resolution : int
        K.
    objective : {"closest-point", "render", "none"}
        See :func:`gcbench.necgs.fit.fit`.
    job : Job
    deformation : bool
        Four channels, or one.
    bits : int
        N of Eq. 5.
    steps : int
        Steps of each fit; 0 takes those that suit the objective.

    Returns
    -------
    (n, channels, K, K, K) int16
        Symbols of the volumes (Eq. 5).

    Raises
    ------
    BadMesh
        A mesh that has no volume.
    CodecFailed
        A worker was killed.
    UsageError
        There are several processes and no folder.
    """
    recipe = Recipe(Grid(resolution), objective, deformation, bits, seed=job.seed, device=job.device, steps=steps)
    folder = job.work / "volumes" if job.work else None
    with job.stage("volumes"):
        ranks = Ranks.join(job.device)
        if ranks.count > 1:
            if folder is None:
                raise UsageError("processes that train together share their volumes through a work folder: name one")
            own = [meshes[i] for i in ranks.own(len(meshes))]
            fit_all(own, recipe, workers=job.threads, folder=folder, progress=job.progress)
            ranks.wait()
        return fit_all(meshes, recipe, workers=job.threads, folder=folder, progress=job.progress)


def fit_all(
    meshes: Sequence[trimesh.Trimesh],
    recipe: Recipe,
    *,
    workers: int = 1,
    folder: Path | None = None,
    progress: Progress = silent,
) -> NDArray[np.int16]:
    """Fit a volume to each mesh in so many processes of one thread each; on a GPU there is one.

    Volumes are kept in the folder and found again there; None keeps nothing. Parameters and errors otherwise as of
    :func:`fit_set`.
    """
    volumes = np.empty((len(meshes), *recipe.shape), np.int16)
    kept = [folder / f"volume-{recipe.key(mesh)}.npz" if folder else None for mesh in meshes]
    todo = []
    for i, path in enumerate(kept):
        volume = _read(path, recipe.shape) if path else None
        if volume is None:
            todo.append(i)
        else:
            volumes[i] = volume
    found = len(meshes) - len(todo)
    for done, (i, symbols) in enumerate(_fitted(meshes, todo, recipe, workers), start=found + 1):
        path = kept[i]
        if path is not None:
            kept_arrays.write(path, {"symbols": symbols})
        volumes[i] = symbols
        progress(done / len(meshes), f"fitted {done} of {len(meshes)} volumes")
    return volumes


def _fitted(
    meshes: Sequence[trimesh.Trimesh], todo: Sequence[int], recipe: Recipe, workers: int
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Index and symbols of each volume to do, in the order in which they are ready."""
    arguments = {i: (np.asarray(meshes[i].vertices), np.asarray(meshes[i].faces), recipe) for i in todo}
    return spread(_fit, arguments, 1 if recipe.device != "cpu" else workers)


def _fit(vertices: NDArray[np.float64], faces: NDArray[np.int64], recipe: Recipe) -> NDArray[np.int16]:
    mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)
    volume = fit(
        mesh,
        recipe.grid,
        recipe.objective,
        steps=recipe.steps,
        deformation=recipe.deformation,
        bits=recipe.bits,
        seed=recipe.seed,
        threads=1,
        device=recipe.device,
    )
    return quantise(volume, recipe.bits)


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.int16] | None:
    """A kept volume, or None where there is none or a damaged one."""
    symbols = (kept_arrays.read(path) or {}).get("symbols")
    return symbols if symbols is not None and symbols.shape == shape and symbols.dtype == np.int16 else None
