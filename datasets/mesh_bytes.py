"""The bytes of a mesh file, and of the files beside it that a glTF file names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from gcbench.datasets.regular import read_regular
from gcbench.errors import BadMesh
from gcbench.geometry import files
from gcbench.geometry.files import FileMesh, gltf


@dataclass(frozen=True)
class MeshBytes:
    """A mesh as distributed.

    Parameters
    ----------
    suffix : str
        Of the file's name, in lower case: it decides how the bytes are read.
    data : bytes
        The file.
    beside : mapping
        Files that the file names, by name: buffers of glTF.
    """

    suffix: str
    data: bytes
    beside: Mapping[str, bytes]

    @classmethod
    def of(cls, path: Path) -> MeshBytes:
        """Read a file and what it needs.

        Raises
        ------
        BadMesh
            The path is no regular file, or the file names a file that is missing or outside of its folder.
        OSError
            There is no file at the path, or the system refuses it.
        """
        suffix, data = path.suffix.lower(), read_regular(path)
        names = gltf.names_beside(data) if suffix in {".gltf", ".glb"} else []
        return cls(suffix, data, {name: _beside(path, name) for name in names})

    @cached_property
    def sha256(self) -> str:
        """Hash of everything."""
        digest = hashlib.sha256(self.data)
        for name in sorted(self.beside):
            digest.update(self.beside[name])
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return len(self.data) + sum(map(len, self.beside.values()))

    def read(self) -> FileMesh:
        """The mesh. Raises BadMesh."""
        return files.read(self.data, self.suffix, beside=self.beside)


def _beside(path: Path, name: str) -> bytes:
    """A file in the folder of another one, or below: a mesh of a stranger must not name files elsewhere."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name or ":" in place.parts[0]:
        raise BadMesh(f"needs {name[:80]!r}, which is not a file in its folder")
    try:
        return read_regular(path.parent / place)
    except OSError as error:
        raise BadMesh(f"needs the file {name[:80]!r}, which cannot be read: {error.strerror}") from error
