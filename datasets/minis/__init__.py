"""The built-in meshes (minis): generated in seconds, always the same, and cached as OBJ files."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from gcbench.datasets.base import MeshSource
from gcbench.datasets.minis import animals, cad, humans
from gcbench.datasets.minis.sculpt import Faces, Vertices
from gcbench.errors import DatasetMissing, UsageError

__all__ = ["FAMILIES", "MINIS_VERSION", "generate", "mini_sources"]

MINIS_VERSION = 1  # part of the cache's path: raise it with every change of a mesh
FAMILIES: Mapping[str, str] = MappingProxyType({"ama": "humans", "dt4d": "animals", "thingi10k": "cad"})
MIXED_PER_FAMILY = 2  # all codecs on these take less than three minutes

_DECIMALS = 6
_MESHES: Mapping[str, Mapping[str, Callable[[], tuple[Vertices, Faces]]]] = {
    "humans": humans.MESHES,
    "animals": animals.MESHES,
    "cad": cad.MESHES,
}


def generate(family: str) -> Iterator[tuple[str, Vertices, Faces]]:
    """Make the meshes of a family, always the same.

    Parameters
    ----------
    family : {"humans", "animals", "cad"}

    Yields
    ------
    mesh : str
        Identifier, e.g. ``human/reach``.
    vertices : (V, 3) float64
        Metres (humans, animals; y is up) or millimetres (CAD), with six decimals, exactly as in the cached file.
    faces : (F, 3) int32

    Raises
    ------
    UsageError
        No such family.
    """
    for mesh in _family(family):
        yield mesh, *_make(family, mesh)


def mini_sources(dataset: str, cache: Path) -> tuple[MeshSource, ...]:
    """The split ``mini`` of a dataset; makes the files that are not in the cache.

    Parameters
    ----------
    dataset : {"ama", "dt4d", "thingi10k", "mixed"}
        ``mixed`` has the first two meshes of each family, with names such as ``ama/human/stand``.
    cache : Path
        Files go to ``minis/v<version>/<family>/`` in the cache. Each file is written in one step, so that several
        processes can fill one cache, and a killed process leaves no incomplete file.

    Raises
    ------
    UsageError
        The dataset has no minis.
    """
    if dataset == "mixed":
        return tuple(
            MeshSource(dataset, f"{name}/{mesh}", path)
            for name, family in FAMILIES.items()
            for mesh, path in _files(family, cache, MIXED_PER_FAMILY).items()
        )
    if dataset not in FAMILIES:
        raise UsageError(f"'{dataset}' has no built-in minis; those that have: {', '.join([*FAMILIES, 'mixed'])}")
    paths = _files(FAMILIES[dataset], cache, None)
    return tuple(MeshSource(dataset, mesh, path) for mesh, path in paths.items())


def _family(family: str) -> Mapping[str, Callable[[], tuple[Vertices, Faces]]]:
    if family not in _MESHES:
        raise UsageError(f"unknown family of minis '{family}'; known: {', '.join(_MESHES)}")
    return _MESHES[family]


def _make(family: str, mesh: str) -> tuple[Vertices, Faces]:
    vertices, faces = _family(family)[mesh]()
    # Adding zero turns −0, which would be written differently, into 0.
    return np.round(vertices, _DECIMALS) + 0.0, faces


def _files(family: str, cache: Path, count: int | None) -> dict[str, Path]:
    """Mesh → file for the first ``count`` meshes of a family, all of which exist on return."""
    folder = cache / "minis" / f"v{MINIS_VERSION}" / family
    paths = {mesh: folder / f"{mesh.partition('/')[2]}.obj" for mesh in list(_family(family))[:count]}
    absent = [mesh for mesh, path in paths.items() if not path.is_file()]
    if absent:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise
            what = f"the built-in meshes cannot be kept in {folder}: {error.strerror}"
            raise DatasetMissing(what, "let GCBENCH_CACHE name a folder that can be written") from error
        try:
            for mesh in absent:
                part = making / paths[mesh].name
                _write_obj(part, *_make(family, mesh))
                part.replace(paths[mesh])
            _sync_folder(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return paths


def _write_obj(path: Path, vertices: Vertices, faces: Faces) -> None:
    lines = [f"v {x:.{_DECIMALS}f} {y:.{_DECIMALS}f} {z:.{_DECIMALS}f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, on systems that can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
