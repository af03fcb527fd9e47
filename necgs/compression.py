"""From meshes to one stream and back: fit, train, write; read, decode, extract; and add to a stream.

Knows meshes, tensors and bytes; files and the command line are the business of ``cli``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import trimesh

from gcbench.errors import BadMesh, UsageError
from gcbench.geometry.deformable_marching_cubes import extract
from gcbench.geometry.grid import Grid
from gcbench.necgs.bitstream import Contents, Reader, append, write
from gcbench.necgs.designs.convolution import Decoder, decode
from gcbench.necgs.placement import into_cube, is_normalised, out_of_cube, placement
from gcbench.necgs.settings import ADDING_STEPS, Architecture, Fitting, Settings, Training
from gcbench.necgs.train import fit_features, train
from gcbench.necgs.volumes import Recipe, fit_all
from gcbench.training.progress import Progress, part, silent
from gcbench.training.quantise import dequantise
from gcbench.training.ranks import Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FITTING_SHARE = 0.3  # of the time to compress, for the progress; measured at K = 64


def compress(
    meshes: Sequence[trimesh.Trimesh],
    settings: Settings,
    *,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    work: Path | None = None,
    anew: bool = False,
    progress: Progress = silent,
) -> bytes:
    """Compress a set of meshes into one stream.

    Started by ``torchrun``, on several GPUs or machines with a common ``work`` folder, the processes share the fitting
    and the training, and all return the same stream.

    Parameters
    ----------
    meshes : sequence of Trimesh
        At least one, of any size and place.
    settings : Settings
        Network, fitting, training and coder.
    seed : int
        All randomness derives from it: with the same number of threads on the same machine, the same bytes.
    threads : int
        For training; as many meshes are fitted side by side.
    device : str
        As torch names devices.
    work : Path or None
        Folder for fitted volumes and checkpoints; with it, stopped work goes on where it was, to the same bytes.
    anew : bool
        Whether a checkpoint there that is torn or of another training is replaced; else it is refused.
    progress : callable
        Takes the fraction done and a message; may raise, to stop.

    Returns
    -------
    bytes
        The stream: header, decoder, features of each mesh.

    Raises
    ------
    BadMesh
        A mesh that cannot be used; the message says which.
    CodecFailed
        Training diverged, or a worker died.
    UsageError
        No meshes, or a checkpoint that is refused.
    """
    if not meshes:
        raise UsageError("no meshes to compress")
    architecture = settings.architecture
    places, volumes = _volumes(
        meshes,
        architecture,
        settings.fitting,
        seed=seed,
        threads=threads,
        device=device,
        work=work,
        progress=part(progress, 0, _FITTING_SHARE),
    )
    trained = train(
        volumes,
        architecture,
        settings.training,
        seed=seed,
        threads=threads,
        device=device,
        checkpoint=work / "training.pt" if work else None,
        anew=anew,
        progress=part(progress, _FITTING_SHARE, 1),
    )
    return write(
        Contents(
            architecture=architecture, parameters=trained.parameters, features=trained.features, placements=places
        ),
        settings.coder,
    )


def decompress(
    stream: bytes, only: Iterable[int] | None = None, *, threads: int = 1, device: str = "cpu"
) -> Iterator[tuple[int, trimesh.Trimesh]]:
    """Decode meshes from the bytes alone, one after the other.

    Parameters
    ----------
    stream : bytes
        From :func:`compress` or :func:`add`.
    only : iterable of int or None
        Which meshes; None is all. The others are not looked at.
    threads, device
        As in :func:`compress`.

    Yields
    ------
    int
        Index of the mesh in the order of compression.
    Trimesh
        In the coordinates of the input. Without faces if the decoded volume is empty.

    Raises
    ------
    BitstreamError
        The stream is short, corrupt or foreign.
    UsageError
        There is no such mesh.
    """
    reader = Reader(stream)
    wanted = list(range(reader.mesh_count)) if only is None else list(only)
    for i in wanted:
        if not 0 <= i < reader.mesh_count:
            raise UsageError(f"there is no mesh {i}: the stream holds {reader.mesh_count}, from 0")
    torch.set_num_threads(threads)
    grid = Grid(reader.architecture.resolution)
    decoder = Decoder.from_symbols(reader.architecture, reader.parameters()).to(device)
    for i in wanted:
        volume = decode(decoder, reader.features(i))
        vertices, faces = extract(torch.from_numpy(volume), grid)
        points = vertices.numpy().astype(np.float64)
        place = reader.placement(i)
        if place is not None:
            points = out_of_cube(points, place)
        yield i, trimesh.Trimesh(points, faces.numpy(), process=False, validate=False)


def add(
    stream: bytes,
    meshes: Sequence[trimesh.Trimesh],
    *,
    fitting: Fitting | None = None,
    training: Training | None = None,
    steps: int | None = None,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    work: Path | None = None,
    progress: Progress = silent,
) -> bytes:
    """Add meshes to a stream: their features are optimised against its decoder, which stays as it is.

    Everything that was in the stream decodes to exactly what it did.

    Parameters
    ----------
    stream : bytes
        From :func:`compress`.
    meshes : sequence of Trimesh
        At least one.
    fitting, training : Fitting, Training or None
        How; None takes the defaults.
    steps : int or None
        Of optimisation for each mesh; None takes the default.
    seed, threads, device, work, progress
        As in :func:`compress`.

    Returns
    -------
    bytes
        The longer stream.
    """
    if not meshes:
        raise UsageError("no meshes to add")
    reader = Reader(stream)
    places, volumes = _volumes(
        meshes,
        reader.architecture,
        fitting or Fitting(),
        seed=seed,
        threads=threads,
        device=device,
        work=work,
        progress=part(progress, 0, _FITTING_SHARE),
    )
    features = fit_features(
        volumes,
        reader.parameters(),
        reader.architecture,
        training or Training(),
        start=_nearest_features(reader, volumes, threads, device),
        steps=steps or ADDING_STEPS,
        seed=seed,
        threads=threads,
        device=device,
        progress=part(progress, _FITTING_SHARE, 1),
    )
    return append(stream, features, places)


def _nearest_features(reader: Reader, volumes: NDArray[np.int16], threads: int, device: str) -> NDArray[np.int16]:
    """For each volume the features of the mesh in the stream whose TSDF is nearest to it: where added ones start.

    A decoder that is fixed knows the poses of its own meshes. Two AMA frames that were added to 40 ended at CD 7.1e-3
    and 5.7e-3 from the nearest, at 11.3e-3 and 18.5e-3 from the mean of all.
    """
    torch.set_num_threads(threads)
    bits = reader.architecture.bits
    decoder = Decoder.from_symbols(reader.architecture, reader.parameters()).to(device)
    nearest = np.zeros((len(volumes), *reader.architecture.feature_shape), np.int16)
    least = np.full(len(volumes), np.inf)
    for i in range(reader.mesh_count):
        features = reader.features(i)
        tsdf = decode(decoder, features)[0]
        for j, volume in enumerate(volumes):
            distance = float(np.abs(dequantise(volume[0], bits) - tsdf).mean())
            if distance < least[j]:
                least[j], nearest[j] = distance, features
    return nearest


def _volumes(
    meshes: Sequence[trimesh.Trimesh],
    architecture: Architecture,
    fitting: Fitting,
    *,
    seed: int,
    threads: int,
    device: str,
    work: Path | None,
    progress: Progress,
) -> tuple[NDArray[np.float32] | None, NDArray[np.int16]]:
    """Placements, None where every mesh is normalised, and volumes."""
    places = []
    for i, mesh in enumerate(meshes):
        try:
            places.append(placement(mesh))
        except BadMesh as error:
            raise BadMesh(f"mesh {i}: {error}") from error
    recipe = Recipe(
        Grid(architecture.resolution), fitting, architecture.deformation, architecture.bits, seed=seed, device=device
    )
    cubes = [into_cube(mesh, place) for mesh, place in zip(meshes, places, strict=True)]
    folder = work / "volumes" if work else None
    ranks = Ranks.join(device)
    if ranks.count > 1:  # each process fits its own, and finds those of the others in the folder
        if folder is None:
            raise UsageError("processes that train together share their volumes through a work folder: name one")
        fit_all([cubes[i] for i in ranks.own(len(cubes))], recipe, workers=threads, folder=folder, progress=progress)
        ranks.wait()
    volumes = fit_all(cubes, recipe, workers=threads, folder=folder, progress=progress)
    return (None if all(map(is_normalised, places)) else np.stack(places)), volumes
