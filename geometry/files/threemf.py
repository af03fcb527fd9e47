"""Reader of 3MF files: all triangles of the objects that the file builds, as one mesh.

A 3MF file is a ZIP archive with an XML model. Components and their transforms are applied. Colours, materials and
textures are left out. Objects that are support structures are part of what is built, so they come too.

Source: 3MF Consortium, 3MF Core Specification 1.3; Production Extension 1.1 (parts in files of their own).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files.notes import FileMesh, FileNotes, Positions, Triangles

_MODEL_TYPE = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_MOST_PER_BYTE, _MOST_COPIES, _DEEPEST = 1000, 100_000, 100
_DROPPED = {
    "basematerials": "materials", "colorgroup": "colours", "texture2d": "textures",
    "texture2dgroup": "texture coordinates", "beamlattice": "beams", "slicestack": "slices",
}  # fmt: skip
_UNREAD = {"beamlattice": "beams", "volumetricstack": "volumes", "implicitfunction": "functions"}


class _Object:
    """One object of a model: triangles of its own, or other objects with their transforms."""

    def __init__(self) -> None:
        self.numbers: list[str] = []
        self.corners: list[str] = []
        self.components: list[tuple[str, str, NDArray[np.float64]]] = []

    def arrays(self) -> tuple[Positions, Triangles]:
        try:
            vertices = np.array(self.numbers, np.float64).reshape(-1, 3)
            faces = np.array(self.corners, np.int64).reshape(-1, 3)
        except (ValueError, OverflowError) as error:
            raise BadMesh(f"a number of the model is none: {str(error)[:80]}") from error
        if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise BadMesh(f"a triangle uses vertex {faces.max()}; its object has {len(vertices)} vertices")
        return vertices, faces


def read_3mf(data: bytes) -> FileMesh:
    """Read a 3MF file.

    Raises
    ------
    BadMesh
        No ZIP archive or a damaged one, no model in it, broken XML, objects that are missing or contain themselves, or
        no triangles.
    """
    archive = _Archive(data)
    dropped: set[str] = set()
    models: dict[str, _Model] = {}

    def model(name: str) -> _Model:
        if name not in models:
            models[name] = _Model(archive.read(name), name)
            dropped.update(models[name].dropped)
        return models[name]

    vertices: list[Positions] = [np.zeros((0, 3))]
    faces: list[Triangles] = [np.zeros((0, 3), np.int64)]
    count, values = 0, 0
    arrays: dict[tuple[str, str], tuple[Positions, Triangles]] = {}
    root = archive.model()
    for place, identity, matrix in _placed(model, root):
        if (place, identity) not in arrays:
            arrays[place, identity] = model(place).objects[identity].arrays()
        points, triangles = arrays[place, identity]
        values += len(points) + len(triangles)
        if values > _MOST_PER_BYTE * len(data):
            raise BadMesh("the file builds many more triangles than it has bytes")
        vertices.append(points @ matrix[:, :3].T + matrix[:, 3])
        mirrored = np.linalg.det(matrix[:, :3]) < 0  # a mirror turns the front of a triangle to the back
        faces.append((triangles[:, ::-1] if mirrored else triangles) + count)
        count += len(points)
    all_faces = np.concatenate(faces)
    if not len(all_faces):
        raise BadMesh("the model builds no triangles")
    return FileMesh(np.concatenate(vertices), all_faces, FileNotes(dropped=tuple(sorted(dropped))))


def _placed(model: Any, root: str) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """File, object and transform of every object with triangles that is built."""
    waiting = [(place or root, identity, matrix, 0) for place, identity, matrix in reversed(model(root).build)]
    seen = 0
    while waiting:
        place, identity, matrix, depth = waiting.pop()
        if (seen := seen + 1) > _MOST_COPIES or depth > _DEEPEST:
            raise BadMesh("the objects of the model contain themselves, or are built more than 100000 times")
        found = model(place).objects.get(identity)
        if found is None:
            raise BadMesh(f"the model uses object {identity[:20]!r}, which it does not have")
        if found.corners:
            yield place, identity, matrix
        for other, child, inner in reversed(found.components):
            turned = np.hstack([matrix[:, :3] @ inner[:, :3], (matrix[:, :3] @ inner[:, 3] + matrix[:, 3])[:, None]])
            waiting.append((other or place, child, turned, depth + 1))


class _Archive:
    """The ZIP archive; what it unpacks to is bounded by its size."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise BadMesh(f"the file is no ZIP archive, which a 3MF file is: {error}") from error
        self._left = _MOST_PER_BYTE * len(data)

    def model(self) -> str:
        """Name of the part that is the model."""
        relations = self.read("_rels/.rels").decode("utf-8", "replace")
        for element in re.findall(r"<Relationship\b[^>]*>", relations):
            target = re.search(r"""\bTarget\s*=\s*["']/?([^"']*)["']""", element)
            if target and _MODEL_TYPE in element:
                return target[1]
        raise BadMesh("the archive names no 3D model")

    def read(self, name: str) -> bytes:
        """Unpack one part."""
        try:
            part = self._zip.getinfo(name.lstrip("/"))
        except KeyError:
            raise BadMesh(f"the archive has no part {name[:60]!r}") from None
        self._left -= part.file_size
        if self._left < 0:
            raise BadMesh(f"the archive unpacks to more than {_MOST_PER_BYTE} times its size")
        try:
            with self._zip.open(part) as file:
                return file.read(part.file_size)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
            raise BadMesh(f"a part of the archive cannot be unpacked: {error}") from error
        except Exception as error:  # zlib and lzma have error classes of their own
            if type(error).__module__ in {"zlib", "_lzma", "lzma"}:
                raise BadMesh(f"a part of the archive cannot be unpacked: {error}") from error
            raise


class _Model:
    """Objects and build items of one XML part. Documents with a DOCTYPE are refused: they can expand without bound."""

    def __init__(self, text: bytes, name: str) -> None:
        self.objects: dict[str, _Object] = {}
        self.build: list[tuple[str, str, NDArray[np.float64]]] = []
        self.dropped: set[str] = set()
        self._object = _Object()
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(text, True)
        except expat.ExpatError as error:
            raise BadMesh(f"the XML of {name[:60]!r} is broken: {error}") from error

    def _doctype(self, *_: object) -> None:
        raise BadMesh("the model has a DOCTYPE, which 3MF does not allow")

    def _start(self, element: str, given: dict[str, str]) -> None:
        tag = element.rpartition(" ")[2]
        if tag == "vertex":
            self._object.numbers += (given.get("x", ""), given.get("y", ""), given.get("z", ""))
        elif tag == "triangle":
            self._object.corners += (given.get("v1", ""), given.get("v2", ""), given.get("v3", ""))
        elif tag == "object":
            self._object = self.objects.setdefault(given.get("id", ""), _Object())
        elif tag in ("component", "item"):
            path = next((value for key, value in given.items() if key.endswith(" path")), "").lstrip("/")
            reference = (path, given.get("objectid", ""), _matrix(given.get("transform")))
            (self._object.components if tag == "component" else self.build).append(reference)
        elif tag in _UNREAD:
            self.dropped.add(_UNREAD[tag])
        elif tag in _DROPPED:
            self.dropped.add(_DROPPED[tag])
        elif tag == "model":
            for word in given.get("requiredextensions", "").split():
                if word not in ("p", "m", "t"):  # production, materials, triangle sets: read, or left out
                    self.dropped.add(f"extension {word[:20]}")


def _matrix(text: str | None) -> NDArray[np.float64]:
    """The (3, 4) matrix of a transform, whose twelve numbers are its transpose, row by row."""
    if text is None:
        return np.eye(3, 4)
    try:
        values = np.array(text.split(), np.float64)
    except ValueError:
        values = np.zeros(0)
    if values.shape != (12,) or not np.isfinite(values).all():
        raise BadMesh(f"the transform {text[:40]!r} is not twelve finite numbers")
    return values.reshape(4, 3).T
