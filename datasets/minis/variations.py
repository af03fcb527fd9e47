"""Random meshes to train networks on: dressed humans, animals, machine parts and other shapes, one by one or in motion.

``python -m gcbench.datasets.minis.variations --count 100 --seed 0 -o FOLDER`` writes a hundred meshes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import typer

from gcbench.datasets.minis.cad import from_solid
from gcbench.datasets.minis.creatures import random_creature
from gcbench.datasets.minis.figures import blended
from gcbench.datasets.minis.sculpt import Faces, Vertices
from gcbench.datasets.minis.skeleton import Pose, rotation_matrix
from gcbench.datasets.minis.varied_animals import random_animal
from gcbench.datasets.minis.varied_cad import random_part
from gcbench.datasets.minis.varied_humans import random_person, random_pose
from gcbench.datasets.minis.varied_shapes import as_solid, random_shape
from gcbench.geometry import shapes

__all__ = ["Subject", "make", "planned", "variations"]

Mesh: TypeAlias = tuple[Vertices, Faces]

FRAMES = 4  # of a sequence

# Kind, share of the meshes, share of these that come in sequences.
_KINDS = (("human", 0.45, 0.5), ("animal", 0.25, 0.2), ("cad", 0.10, 0.0), ("shape", 0.20, 0.0))
_SPECIES = 0.7  # of the animals have the body of a species, the others a free body plan
_TOLERANCE = 0.0007  # of the longest side: a tenth of a cell of a grid of 128³ is 0.0008


@dataclass(frozen=True)
class Subject:
    """What to make: all random choices follow from the seed and the number.

    Parameters
    ----------
    kind : {"human", "animal", "cad", "shape"}
    number : int
        Position in the plan.
    frames : int
        Meshes to make of this body, in motion.
    seed : int
    """

    kind: str
    number: int
    frames: int
    seed: int

    def names(self) -> list[str]:
        """Names of the meshes: ``human-0003``, or ``human-0003-1`` for the second frame of a sequence."""
        name = f"{self.kind}-{self.number:04d}"
        return [name] if self.frames == 1 else [f"{name}-{i}" for i in range(self.frames)]


def planned(count: int, seed: int) -> list[Subject]:
    """Draw subjects that have ``count`` meshes in total."""
    options = [
        (kind, frames, share * part / frames)
        for kind, share, moving in _KINDS
        for frames, part in ((1, 1 - moving), (FRAMES, moving))
    ]
    weights = np.array([weight for *_, weight in options])
    rng = np.random.default_rng((seed, 0x9A27))
    subjects: list[Subject] = []
    missing = count
    while missing:
        kind, frames, _ = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        subjects.append(Subject(kind, len(subjects), min(frames, missing), seed))
        missing -= subjects[-1].frames
    return subjects


def make(subject: Subject) -> list[tuple[str, Vertices, Faces]]:
    """Make the meshes of a subject.

    Returns
    -------
    list of (name, vertices, faces)
        Vertices (V, 3) float64, the longest side of the bounding box spans [-1, 1]; faces (F, 3) int32. Humans, animals
        and machine parts are closed.
    """
    rng = np.random.default_rng((subject.seed, subject.number))
    meshes = {"human": _human, "animal": _animal, "cad": _cad, "shape": _shape}[subject.kind](rng, subject.frames)
    normal = [shapes.normalised(name, *mesh) for name, mesh in zip(subject.names(), meshes, strict=True)]
    return [(shape.name, shape.vertices, shape.faces.astype(np.int32)) for shape in normal]


def variations(count: int, seed: int) -> Iterator[tuple[str, Vertices, Faces]]:
    """Make random meshes, frames of a sequence one after another; equal seeds give equal meshes."""
    for subject in planned(count, seed):
        yield from make(subject)


def _human(rng: np.random.Generator, frames: int) -> list[Mesh]:
    person = random_person(rng)
    poses = _motion(random_pose(rng), random_pose(rng), frames, rng)
    drift = rng.uniform(0.0, 0.5)
    return _turned([person.mesh(pose, drift * i) for i, pose in enumerate(poses)], rng)


def _animal(rng: np.random.Generator, frames: int) -> list[Mesh]:
    animal = random_animal(rng) if rng.random() < _SPECIES else random_creature(rng)
    poses = _motion(animal.random_pose(rng), animal.random_pose(rng), frames, rng)
    return _turned([animal.mesh(pose) for pose in poses], rng)


def _cad(rng: np.random.Generator, frames: int) -> list[Mesh]:
    made = [random_part(rng) for _ in range(frames)]
    # Parts stand along any axis; a cyclic exchange of axes does not turn a part inside out.
    return [(np.roll(vertices * rng.uniform(0.6, 1.0, 3), rng.integers(3), 1), faces) for vertices, faces in made]


def _shape(rng: np.random.Generator, frames: int) -> list[Mesh]:
    return [random_shape(rng) for _ in range(frames)]


def _motion(start: Pose, end: Pose, frames: int, rng: np.random.Generator) -> list[Pose]:
    """Poses on the way from one pose to another: a step is 3 to 12 % of the way."""
    step = rng.uniform(0.03, 0.12)
    return [blended([(start, 1 - step * i), (end, step * i)]) for i in range(frames)]


def _turned(meshes: list[Mesh], rng: np.random.Generator) -> list[Mesh]:
    """All meshes in one random heading, y or z up, in fewer faces and without loose crumbs."""
    heading = float(rng.choice([0.0, 90.0, 180.0, 270.0])) if rng.random() < 0.3 else float(rng.uniform(0, 360))
    turn = rotation_matrix((0.0, heading, 0.0))
    if rng.random() < 0.2:
        turn = rotation_matrix((90.0, 0.0, 0.0)) @ turn
    return [(vertices @ turn.T, faces) for vertices, faces in (_simplified(*mesh) for mesh in meshes)]


def _simplified(vertices: Vertices, faces: Faces) -> Mesh:
    """The largest piece, with the faces that flat regions need."""
    piece = max(as_solid(vertices, faces).decompose(), key=lambda part: part.volume())
    return from_solid(piece.simplify(_TOLERANCE * float(np.ptp(vertices, axis=0).max())))


def write(folder: Path, subject: Subject) -> None:
    """Write the meshes of a subject as binary PLY with float32 vertices, each in one step."""
    for name, vertices, faces in make(subject):
        header = (
            "ply\nformat binary_little_endian 1.0\n"
            f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
            f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
        )
        rows = np.zeros(len(faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
        rows["count"], rows["corners"] = 3, faces
        part = folder / f".{name}.part"
        part.write_bytes(header.encode("ascii") + vertices.astype("<f4").tobytes() + rows.tobytes())
        part.replace(folder / f"{name}.ply")


app = typer.Typer(add_completion=False)


@app.command()
def command(
    *,
    count: Annotated[int, typer.Option(min=1, help="Meshes to make.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the PLY files.")],
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal meshes.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Subjects made at a time.")] = 1,
) -> None:
    """Write random meshes as PLY files, named by kind and number."""
    out.mkdir(parents=True, exist_ok=True)
    work = [(out, subject) for subject in planned(count, seed)]
    with get_context("spawn").Pool(processes) as pool:
        pool.starmap(write, work, chunksize=4)


if __name__ == "__main__":
    app()
