"""Readers of OBJ, STL, PLY, OFF, glTF and 3MF files: bytes of one file to positions and triangles, exactly as written.

The readers keep vertices, check every declared count, cut polygons into triangles (`polygons`) and say what they did
(`notes`). No reader returns another mesh than the file says: what a reader does not understand is refused. `ply` also
reads and writes clouds of points.

trimesh, meshio, PyMeshLab and Open3D were tried on the cases of ``tests/geometry/files/test_cases.py``; each returns
other meshes than some files say (a face lost to a backslash, 1.#INF read as 1, a part of an STL): the readers are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gcbench.errors import BadMesh
from gcbench.geometry.files.gltf import read_gltf
from gcbench.geometry.files.notes import FileMesh, FileNotes, Polygons
from gcbench.geometry.files.obj import read_obj
from gcbench.geometry.files.off import read_off
from gcbench.geometry.files.ply import read_ply
from gcbench.geometry.files.recognise import refuse_other_formats, without_mark
from gcbench.geometry.files.stl import is_exact_binary, read_stl
from gcbench.geometry.files.threemf import read_3mf

__all__ = ["SUFFIXES", "FileMesh", "FileNotes", "Polygons", "read"]

_READERS: dict[str, Callable[[bytes, Polygons], FileMesh]] = {
    ".obj": read_obj,
    ".stl": read_stl,
    ".ply": read_ply,
    ".off": read_off,
}
SUFFIXES = (*_READERS, ".gltf", ".glb", ".3mf")


def read(
    data: bytes,
    suffix: str,
    *,
    polygons: Polygons = "triangulate",
    beside: Mapping[str, bytes] | None = None,
) -> FileMesh:
    """Parse the bytes of a mesh file.

    Memory stays proportional to ``len(data)``: the readers first compare every declared count with the data's length.

    Parameters
    ----------
    data : bytes
        The whole file.
    suffix : str
        One of `SUFFIXES`, in any case.
    polygons : {"triangulate", "refuse"}
        What to do with faces of more than three corners.
    beside : mapping, optional
        Files that a glTF file names, by name.

    Returns
    -------
    FileMesh
        Positions as written, triangles, and notes. The three corners of each STL facet are not merged yet; positions
        may be NaN or infinite.

    Raises
    ------
    BadMesh
        Unknown suffix, another format, broken syntax, counts that the file does not hold, or no faces.
    """
    suffix = suffix.lower()
    if suffix not in SUFFIXES:
        raise BadMesh(f"unknown format '{suffix}'; readable: {', '.join(SUFFIXES)}")
    if not data:
        raise BadMesh("the file is empty")
    if not (suffix == ".stl" and is_exact_binary(data)):  # 80 bytes of an STL's header may hold anything
        data = without_mark(data)
        refuse_other_formats(data, suffix)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are refused later, with a sentence
        if suffix in _READERS:
            return _READERS[suffix](data, polygons)
        return read_3mf(data) if suffix == ".3mf" else read_gltf(data, beside)
