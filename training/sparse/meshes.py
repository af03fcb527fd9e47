"""Reads the meshes of a folder to train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gcbench.errors import BadMesh, UsageError
from gcbench.geometry import files

NamedMesh = tuple[str, NDArray[Any], NDArray[Any]]  # name, (V, 3) vertices of any scale, (F, 3) faces


def read_meshes(folder: Path | None) -> Iterator[NamedMesh]:
    """Read every mesh file of a folder; the name of a mesh is its path without the suffix.

    Raises
    ------
    UsageError
        The folder has no mesh files.
    BadMesh
        A file is not a mesh.
    """
    paths = [] if folder is None else sorted(p for p in folder.rglob("*") if p.suffix.lower() in files.SUFFIXES)
    if folder is not None and not paths:
        raise UsageError(f"no mesh files in {folder}")
    for path in paths:
        try:
            read = files.read(path.read_bytes(), path.suffix.lower())
            vertices, faces = read.vertices, read.faces
        except BadMesh as error:
            raise BadMesh(f"{path}: {error}") from error
        yield path.relative_to(folder or Path()).with_suffix("").as_posix(), vertices, faces
