"""Reader of glTF 2.0 files, ``.glb`` and ``.gltf``: all triangles of the default scene as one mesh.

The transforms of nodes are applied. A mesh that two nodes use comes twice. Skins and morph targets are left out, so a
figure has its pose of rest.

Source: Khronos, glTF 2.0 specification; extensions KHR_draco_mesh_compression, EXT_meshopt_compression,
KHR_meshopt_compression, KHR_mesh_quantization.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import BadMesh
from gcbench.geometry.files import gltf_compression
from gcbench.geometry.files.notes import FileMesh, FileNotes, Positions, Triangles

_Json = Mapping[str, Any]

_GLB, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_POINTS_AND_LINES, _TRIANGLES, _STRIP, _FAN = (0, 1, 2, 3), 4, 5, 6
_KNOWN = {
    "KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression", "KHR_mesh_quantization",
}  # fmt: skip
# These change how a surface looks and not where it is, so that a file that requires them can be read.
_LOOKS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "MSFT_texture_", "KHR_lights_", "EXT_lights_", "KHR_xmp")
_DROPPED = {
    "NORMAL": "normals", "TANGENT": "tangents", "TEXCOORD": "texture coordinates", "COLOR": "colours",
    "JOINTS": "skin", "WEIGHTS": "skin",
}  # fmt: skip
_MOST_NODES, _DEEPEST = 100_000, 1000
_MOST_VALUES_PER_BYTE = 4096  # what compressed or sparse accessors may declare


def names_beside(data: bytes) -> list[str]:
    """Names of the files that a glTF file needs, relative to its folder. Raises BadMesh."""
    return _Document(data, {}).names()


def read_gltf(data: bytes, beside: Mapping[str, bytes] | None = None) -> FileMesh:
    """Read a glTF file; leave out normals, colours, texture coordinates, skins, morph targets and animations.

    Parameters
    ----------
    data : bytes
        The file, in text or binary form.
    beside : mapping, optional
        Buffers that lie in files of their own, by the names of :func:`names_beside`.

    Raises
    ------
    BadMesh
        Broken syntax, an extension that is required and unknown here, buffers that are missing or too short, values
        that do not fit together, or no triangles.
    """
    return _Document(data, beside or {}).mesh()


class _Document:
    def __init__(self, data: bytes, beside: Mapping[str, bytes]) -> None:
        text, self._binary = _chunks(data) if data[:4] == b"glTF" else (data, None)
        try:
            self._json = _of(json.loads(text.decode("utf-8-sig")), dict, "the file")
        except (ValueError, RecursionError) as error:
            raise BadMesh(f"the JSON of the glTF file is broken: {error}") from error
        self._beside, self._budget = beside, _MOST_VALUES_PER_BYTE * len(data) + (1 << 20)
        self._buffers: dict[int, bytes] = {}
        self._dropped: set[str] = set()
        version = str(_of(self._json.get("asset", {}), dict, "asset").get("version", "?"))
        if not version.startswith("2."):
            raise BadMesh(f"the file is glTF {version}; only glTF 2 is read")
        for name in _of(self._json.get("extensionsRequired", []), list, "extensionsRequired"):
            if name not in _KNOWN and not str(name).startswith(_LOOKS):
                raise BadMesh(f"the file requires the extension {str(name)[:60]}, which is not read here")
        for key, what in (("animations", "animations"), ("skins", "skin"), ("images", "textures")):
            if self._json.get(key):
                self._dropped.add(what)

    def names(self) -> list[str]:
        """Names of files that buffers lie in."""
        uris = [_of(buffer, dict, "a buffer").get("uri") for buffer in self._list("buffers")]
        return [_file_name(uri) for uri in uris if isinstance(uri, str) and not uri.startswith("data:")]

    def mesh(self) -> FileMesh:
        """All triangles of the scene."""
        vertices: list[Positions] = [np.zeros((0, 3))]
        faces: list[Triangles] = [np.zeros((0, 3), np.int64)]
        read: dict[int, list[tuple[Positions, Triangles]]] = {}
        count = 0
        for number, matrix in self._nodes():
            if number not in read:
                read[number] = list(self._primitives(number))
            for points, triangles in read[number]:
                self._spend(len(points) + len(triangles))
                placed = points @ matrix[:3, :3].T + matrix[:3, 3]
                turned = np.linalg.det(matrix[:3, :3]) < 0  # a mirror turns the front of a triangle to the back
                vertices.append(placed)
                faces.append((triangles[:, ::-1] if turned else triangles) + count)
                count += len(points)
        all_faces = np.concatenate(faces)
        if not len(all_faces):
            raise BadMesh("the scene has no triangles")
        return FileMesh(np.concatenate(vertices), all_faces, FileNotes(dropped=tuple(sorted(self._dropped))))

    def _nodes(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Mesh and transform of every node of the scene that has a mesh."""
        nodes = self._list("nodes")
        scenes = self._list("scenes")
        if scenes:
            scene = self._item("scenes", self._json.get("scene", 0))
            roots = _of(scene.get("nodes", []), list, "the nodes of a scene")
        else:  # the file is a library of nodes: those that are no child of another one
            children = {
                child for node in nodes for child in _of(_of(node, dict, "a node").get("children", []), list, "")
            }
            roots = [number for number in range(len(nodes)) if number not in children]
        waiting = [(number, np.eye(4), 0) for number in reversed(roots)]
        seen = 0
        while waiting:
            number, above, depth = waiting.pop()
            node = self._item("nodes", number)
            if (seen := seen + 1) > _MOST_NODES or depth > _DEEPEST:
                raise BadMesh("the nodes of the scene form a circle, or there are more than 100000 of them")
            if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
                raise BadMesh("a node has instances (EXT_mesh_gpu_instancing), which are not read here")
            matrix = above @ _transform(node)
            if "mesh" in node:
                yield _of(node["mesh"], int, "the mesh of a node"), matrix
            children = _of(node.get("children", []), list, "the children of a node")
            waiting += [(child, matrix, depth + 1) for child in reversed(children)]

    def _primitives(self, number: int) -> Iterator[tuple[Positions, Triangles]]:
        """Positions and triangles of every primitive of a mesh."""
        for one in _of(self._item("meshes", number).get("primitives", []), list, "the primitives of a mesh"):
            primitive = _of(one, dict, "a primitive")
            attributes = _of(primitive.get("attributes", {}), dict, "the attributes of a primitive")
            mode = primitive.get("mode", _TRIANGLES)
            if mode in _POINTS_AND_LINES:
                self._dropped.add("points and lines")
                continue
            if mode not in (_TRIANGLES, _STRIP, _FAN):
                raise BadMesh(f"a primitive has the unknown mode {mode!r}")
            self._dropped |= {what for name in attributes if (what := _DROPPED.get(name.partition("_")[0]))}
            if primitive.get("targets"):
                self._dropped.add("morph targets")
            if "POSITION" not in attributes:
                self._dropped.add("primitives without positions")
                continue
            points, corners = self._geometry(primitive, attributes["POSITION"])
            if corners.size and (corners.min() < 0 or corners.max() >= len(points)):
                raise BadMesh(f"a triangle uses vertex {corners.max()}; its primitive has {len(points)} vertices")
            yield points, _triangles(corners, mode)

    def _geometry(self, primitive: _Json, position: object) -> tuple[Positions, NDArray[np.int64]]:
        """Positions and corners of one primitive."""
        draco = _of(primitive.get("extensions", {}), dict, "extensions").get("KHR_draco_mesh_compression")
        if draco is not None:
            view = self._view(_of(draco, dict, "KHR_draco_mesh_compression").get("bufferView"))
            declared = _of(self._item("accessors", position).get("count"), int, "the count of an accessor")
            identity = _of(draco.get("attributes", {}), dict, "the attributes of Draco").get("POSITION")
            return gltf_compression.from_draco(view, declared, identity)
        points = self._accessor(position)
        if points.shape[1:] != (3,):
            raise BadMesh("the positions of a primitive do not have three coordinates")
        if "indices" not in primitive:
            return points.astype(np.float64), np.arange(len(points))
        corners = self._accessor(primitive["indices"], whole=True)
        if corners.shape[1:] != (1,):
            raise BadMesh("the indices of a primitive are not single numbers")
        return points.astype(np.float64), corners[:, 0].astype(np.int64)

    def _accessor(self, number: object, *, whole: bool = False) -> NDArray[Any]:
        """The (count, width) values of an accessor, sparse ones included."""
        accessor = self._item("accessors", number)
        kind, width = self._kind(accessor), _WIDTHS.get(str(accessor.get("type")), 0)
        count = _of(accessor.get("count"), int, "the count of an accessor")
        if not width or count < 1:
            raise BadMesh(f"an accessor has the type {str(accessor.get('type'))[:20]!r} and the count {count}")
        if whole and kind.kind != "u":
            raise BadMesh("the indices of a primitive are not unsigned integers")
        self._spend(count * width)
        if "bufferView" in accessor:
            values = self._strided(accessor, kind, width, count)
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in accessor:
            values = self._replaced(values, _of(accessor["sparse"], dict, "a sparse accessor"))
        if accessor.get("normalized") and not whole and kind.kind != "f":
            return np.maximum(values.astype(np.float64) / np.iinfo(kind).max, -1)
        return values

    def _strided(self, accessor: _Json, kind: np.dtype[Any], width: int, count: int) -> NDArray[Any]:
        """Values of an accessor in its buffer view, where rows may be further apart than they are long."""
        at = _of(accessor.get("byteOffset", 0), int, "a byteOffset")
        row = width * kind.itemsize
        view = self._view(accessor.get("bufferView"))
        stride = _of(self._item("bufferViews", accessor.get("bufferView")).get("byteStride", row), int, "a byteStride")
        if at < 0 or stride < row or at + (count - 1) * stride + row > len(view):
            raise BadMesh(f"an accessor reads {count} rows of {stride} bytes from byte {at} of a view of {len(view)}")
        rows = np.lib.stride_tricks.as_strided(np.frombuffer(view, np.uint8)[at:], (count, row), (stride, 1))
        return np.ascontiguousarray(rows).view(kind)

    def _replaced(self, values: NDArray[Any], sparse: _Json) -> NDArray[Any]:
        """Values, some of which a sparse accessor replaces."""
        count = _of(sparse.get("count"), int, "the count of a sparse accessor")
        at = _of(sparse.get("indices"), dict, "the indices of a sparse accessor")
        new = _of(sparse.get("values"), dict, "the values of a sparse accessor")
        if not 1 <= count <= len(values):
            raise BadMesh(f"a sparse accessor replaces {count} of {len(values)} values")
        places = self._strided(at, self._kind(at), 1, count)[:, 0]
        if places.dtype.kind != "u" or places.max() >= len(values):
            raise BadMesh("a sparse accessor replaces values that its accessor does not have")
        replaced = values.copy()
        replaced[places.astype(np.int64)] = self._strided(new, values.dtype, values.shape[1], count)
        return replaced

    def _kind(self, accessor: _Json) -> np.dtype[Any]:
        found = _TYPES.get(_of(accessor.get("componentType"), int, "a componentType"))
        if found is None:
            raise BadMesh(f"an accessor has the unknown componentType {accessor['componentType']}")
        return np.dtype(found)

    def _view(self, number: object) -> bytes:
        """The bytes of a buffer view, decompressed."""
        view = self._item("bufferViews", number)
        extensions = _of(view.get("extensions", {}), dict, "extensions")
        for name in ("EXT_meshopt_compression", "KHR_meshopt_compression"):
            if name in extensions:
                compressed = _of(extensions[name], dict, name)
                count = _of(compressed.get("count"), int, f"the count of {name}")
                stride = _of(compressed.get("byteStride"), int, f"the byteStride of {name}")
                self._spend(max(count, 0) * max(stride, 0))
                return gltf_compression.from_meshopt(self._bytes(compressed), count, stride, compressed)
        return self._bytes(view)

    def _bytes(self, view: _Json) -> bytes:
        """A part of a buffer."""
        start = _of(view.get("byteOffset", 0), int, "a byteOffset")
        size = _of(view.get("byteLength"), int, "a byteLength")
        buffer = self._buffer(_of(view.get("buffer"), int, "the buffer of a view"))
        if not 0 <= start <= start + size <= len(buffer):
            raise BadMesh(f"a view has bytes {start} to {start + size} of a buffer of {len(buffer)}")
        return buffer[start : start + size]

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            buffer = self._item("buffers", number)
            data = self._buffer_data(buffer, number)
            if len(data) < _of(buffer.get("byteLength"), int, "a byteLength"):
                raise BadMesh(
                    f"buffer {number} has {len(data)} bytes and should have {buffer['byteLength']}: it is cut off"
                )
            self._buffers[number] = data
            self._budget += _MOST_VALUES_PER_BYTE * len(data)
        return self._buffers[number]

    def _buffer_data(self, buffer: _Json, number: int) -> bytes:
        name = buffer.get("uri")
        if name is None:
            if number or self._binary is None:
                raise BadMesh(f"buffer {number} is neither in the file nor named")
            return self._binary
        name = _of(name, str, "the uri of a buffer")
        if name.startswith("data:"):
            head, _, body = name.partition(",")
            try:
                return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
            except (binascii.Error, ValueError) as error:
                raise BadMesh(f"the data of buffer {number} are no base64: {error}") from error
        name = _file_name(name)
        if name not in self._beside:
            raise BadMesh(f"buffer {number} lies in another file, {name[:80]!r}")
        return self._beside[name]

    def _list(self, key: str) -> list[Any]:
        entries: list[Any] = _of(self._json.get(key, []), list, key)
        return entries

    def _item(self, key: str, number: object) -> dict[str, Any]:
        """One entry of a list of the document."""
        entries = self._list(key)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(entries):
            raise BadMesh(f"the file uses entry {str(number)[:20]} of {key}, of which it has {len(entries)}")
        entry: dict[str, Any] = _of(entries[number], dict, f"entry {number} of {key}")
        return entry

    def _spend(self, values: int) -> None:
        """Refuse a file that declares more values than its size allows, before they are made."""
        self._budget -= values
        if self._budget < 0:
            raise BadMesh("the file declares many more values than it has bytes")


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """JSON and binary chunk of a GLB file."""
    if len(data) < 20:
        raise BadMesh("the file is cut off in its header")
    _, version, length = struct.unpack_from("<3I", data)
    if version != 2:
        raise BadMesh(f"the file is binary glTF {version}; only glTF 2 is read")
    if length > len(data):
        raise BadMesh(f"the header says {length} bytes, the file has {len(data)}: it is cut off")
    chunks: list[tuple[int, bytes]] = []
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<2I", data, at)
        if at + 8 + size > length:
            raise BadMesh(f"a part of {size} bytes begins at byte {at} of {length}: the file is cut off")
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if not chunks or chunks[0][0] != _JSON_CHUNK:
        raise BadMesh("the first part of the file is not JSON")
    binary = next((body for kind, body in chunks[1:2] if kind == _BINARY_CHUNK), None)
    return chunks[0][1], binary


def _file_name(uri: str) -> str:
    return unquote_to_bytes(uri).decode("utf-8", "surrogateescape")


def _transform(node: _Json) -> NDArray[np.float64]:
    """The 4 × 4 matrix of a node."""
    if "matrix" in node:
        matrix = _vector(node["matrix"], 16, "matrix").reshape(4, 4).T  # columns come first
        if not np.array_equal(matrix[3], [0, 0, 0, 1]):
            raise BadMesh("the matrix of a node is no affine transform")
        return matrix
    scale = _vector(node.get("scale", [1, 1, 1]), 3, "scale")
    x, y, z, w = _vector(node.get("rotation", [0, 0, 0, 1]), 4, "rotation")
    norm = x * x + y * y + z * z + w * w
    if not norm > 0:
        raise BadMesh("the rotation of a node is 0")
    two = 2 / norm
    matrix = np.eye(4)
    matrix[:3, :3] = scale * [
        [1 - two * (y * y + z * z), two * (x * y - z * w), two * (x * z + y * w)],
        [two * (x * y + z * w), 1 - two * (x * x + z * z), two * (y * z - x * w)],
        [two * (x * z - y * w), two * (y * z + x * w), 1 - two * (x * x + y * y)],
    ]
    matrix[:3, 3] = _vector(node.get("translation", [0, 0, 0]), 3, "translation")
    return matrix


def _vector(values: object, count: int, what: str) -> NDArray[np.float64]:
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300 for v in values)
    ):
        raise BadMesh(f"the {what} of a node is not {count} finite numbers")
    return np.asarray(values, np.float64)


def _triangles(corners: NDArray[np.int64], mode: int) -> Triangles:
    """Corners, strips or fans to triangles, fronts on one side; an incomplete triangle at the end is dropped."""
    if mode == _TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    if len(corners) < 3:
        return np.zeros((0, 3), np.int64)
    if mode == _FAN:
        return np.stack([corners[1:-1], corners[2:], np.full(len(corners) - 2, corners[0])], 1)
    strip = np.stack([corners[:-2], corners[1:-1], corners[2:]], 1)
    strip[1::2, 1:] = strip[1::2, :0:-1]
    return strip


def _of(value: Any, kind: type, what: str) -> Any:
    """A value of a JSON type. Raises BadMesh."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {dict: "an object", list: "a list", int: "a whole number", str: "a text"}
        raise BadMesh(f"{what or 'a value'} is not {names[kind]}")
    return value
