"""From meshes to one stream and back: place, train, write; read, decode, place; and add to a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import trimesh

from gcbench.entropy.budget import check_budget
from gcbench.errors import BadMesh, BitstreamError, UsageError
from gcbench.necgs.bitstream import Contents, Reader, append, write
from gcbench.necgs.budget import most_triangles
from gcbench.necgs.designs.base import Trained
from gcbench.necgs.job import Job
from gcbench.necgs.placement import into_cube, is_normalised, out_of_cube, placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gcbench.necgs.designs.base import Plan


def compress(meshes: Sequence[trimesh.Trimesh], plan: Plan[Any], job: Job = Job(), start: bytes | None = None) -> bytes:
    """Compress a set of meshes into one stream.

    Started by ``torchrun``, on several GPUs or machines with a common work folder, the processes share the fitting and
    the training, and all return the same stream.

    Parameters
    ----------
    meshes : sequence of Trimesh
        At least one, of any size and place.
    plan : Plan
        Design, training and coder.
    job : Job
        Seed, threads, device, folder, and who is told.
    start : bytes or None
        A stream of the same meshes in the same order, for example at another price, that training starts from. The
        new stream does not refer to it.

    Returns
    -------
    bytes
        The stream: decoder, and features of each mesh.

    Raises
    ------
    BadMesh
        A mesh that cannot be used; the message says which.
    CodecFailed
        Training diverged, or a worker died.
    UsageError
        No meshes, a checkpoint that is refused, or a start that is of another design or of other meshes.
    BitstreamError
        The start is no stream; or the new stream takes more work than a decoder accepts of so few bytes.
    """
    if not meshes:
        raise UsageError("no meshes to compress")
    if start is not None:
        job = replace(job, start=_start(start, plan, len(meshes)))
    cubes, places = _placed(meshes)
    trained = plan.design.train(cubes, plan.training, job)
    with job.stage("coding"):
        return _decodable(write(Contents(plan.design, trained.parameters, trained.features, places), plan.coder))


def _start(stream: bytes, plan: Plan[Any], meshes: int) -> Trained:
    """What a stream holds, if training by the plan can start from it."""
    if not plan.design.starts:
        raise UsageError(f"design '{plan.design.name}' cannot start from another stream")
    reader = Reader(stream)
    if type(reader.design) is not type(plan.design) or reader.design.tensors() != plan.design.tensors():
        raise UsageError(f"the stream to start from is of another network: {reader.design.describe()}")
    if reader.mesh_count != meshes:
        raise UsageError(
            f"the stream to start from holds {reader.mesh_count} meshes, not {meshes}: name one of the same meshes"
        )
    return Trained(reader.parameters(), np.stack([reader.features(i) for i in range(meshes)]))


def decompress(
    stream: bytes,
    only: Iterable[int] | None = None,
    job: Job = Job(),
) -> Iterator[tuple[int, trimesh.Trimesh]]:
    """Decode meshes from the bytes alone, one after the other.

    Parameters
    ----------
    stream : bytes
        From :func:`compress` or :func:`add`.
    only : iterable of int or None
        Which meshes; None is all. The others are not looked at.
    job : Job
        Threads, device, and who may stop the work.

    Yields
    ------
    int
        Index of the mesh in the order of compression.
    Trimesh
        In the coordinates of the input. Without faces if the decoded volume has no surface.

    Raises
    ------
    BitstreamError
        The stream is short, corrupt or foreign.
    UsageError
        There is no such mesh.
    """
    torch.set_num_threads(job.threads)
    with job.stage("coding"):
        reader = Reader(stream)
        wanted = list(range(reader.mesh_count)) if only is None else list(only)
        for i in wanted:
            if not 0 <= i < reader.mesh_count:
                raise UsageError(f"there is no mesh {i}: the stream holds {reader.mesh_count}, from 0")
        reader.spend(len(wanted))
        decoder = reader.design.decoder(reader.parameters(), job.device)
    triangles = 0
    for i in wanted:
        job.watch()
        with job.stage("coding"):
            features, place = reader.features(i), reader.placement(i)
        vertices, faces = decoder.surface(features, job, reader.work.budget.triangles)
        triangles += len(faces)
        check_budget("triangles of all meshes", triangles, most_triangles(len(stream)))
        if place is not None:
            vertices = out_of_cube(vertices, place)
        if not np.isfinite(vertices).all():
            raise BitstreamError(f"mesh {i} has a position that is not finite")
        yield i, trimesh.Trimesh(vertices, faces, process=False, validate=False)


def add(stream: bytes, meshes: Sequence[trimesh.Trimesh], training: object = None, job: Job = Job()) -> bytes:
    """Add meshes to a stream: their features are optimised against its decoder, which stays as it is.

    Everything that was in the stream decodes to exactly what it did.

    Parameters
    ----------
    stream : bytes
        From :func:`compress`.
    meshes : sequence of Trimesh
        At least one.
    training : object
        How, as the stream's design takes it; None is that of effort ``standard``.
    job : Job
        As in :func:`compress`.

    Returns
    -------
    bytes
        The longer stream.
    """
    if not meshes:
        raise UsageError("no meshes to add")
    reader = Reader(stream)
    design = reader.design
    cubes, places = _placed(meshes)
    present = np.stack([reader.features(i) for i in range(reader.mesh_count)])
    training = training or design.plan("standard")[1]
    return _decodable(append(stream, design.add(reader.parameters(), present, cubes, training, job), places))


def _decodable(stream: bytes) -> bytes:
    """The stream, if a reader decodes so many meshes of so many bytes."""
    reader = Reader(stream)
    reader.spend(reader.mesh_count)
    return stream


def _placed(meshes: Sequence[trimesh.Trimesh]) -> tuple[list[trimesh.Trimesh], NDArray[np.float32] | None]:
    """The meshes in the cube, and their placements: None where every mesh is normalised."""
    places = []
    for i, mesh in enumerate(meshes):
        try:
            places.append(placement(mesh))
        except BadMesh as error:
            raise BadMesh(f"mesh {i}: {error}") from error
    cubes = [into_cube(mesh, place) for mesh, place in zip(meshes, places, strict=True)]
    return cubes, (None if all(map(is_normalised, places)) else np.stack(places))
