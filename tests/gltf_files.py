"""Makes glTF files, a feature at a time; every file says what a reader must find in it."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import meshopt
import numpy as np
import trimesh

_COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Gltf:
    """A glTF file under construction: accessors are added, the rest is plain JSON."""

    def __init__(self) -> None:
        self.binary = b""
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": []}

    def view(self, data: bytes, **more: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **more}
        self.json["bufferViews"].append(view)
        self.binary += data
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: Any, **more: Any) -> int:
        values = np.asarray(values)
        rows = values.reshape(len(values), -1)
        found = {
            "bufferView": self.view(np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes()),
            "componentType": _COMPONENTS[rows.dtype.str[1:]],
            "count": len(rows),
            "type": _TYPES[rows.shape[1]],
            **more,
        }
        self.json["accessors"].append({key: value for key, value in found.items() if value is not None})
        return len(self.json["accessors"]) - 1

    def mesh(self, *primitives: dict[str, Any], **more: Any) -> int:
        self.json.setdefault("meshes", []).append({"primitives": list(primitives), **more})
        return len(self.json["meshes"]) - 1

    def nodes(self, *nodes: dict[str, Any], roots: list[int] | None = None) -> Gltf:
        self.json["nodes"] = list(nodes)
        self.json["scenes"] = [{"nodes": list(range(len(nodes))) if roots is None else roots}]
        self.json["scene"] = 0
        return self

    def glb(self) -> bytes:
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        document = self.json | {"buffers": [{"byteLength": len(self.binary)}]}
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        parts = struct.pack("<2I", len(text), 0x4E4F534A) + text
        parts += struct.pack("<2I", len(binary), 0x004E4942) + binary
        return struct.pack("<3I", 0x46546C67, 2, 12 + len(parts)) + parts

    def text(self, uri: str | None = None) -> bytes:
        uri = uri or "data:application/octet-stream;base64," + base64.b64encode(self.binary).decode()
        return json.dumps(self.json | {"buffers": [{"byteLength": len(self.binary), "uri": uri}]}).encode()


def sphere() -> tuple[np.ndarray, np.ndarray]:
    """42 vertices and 80 faces, in float32 and uint16."""
    mesh = trimesh.creation.icosphere(subdivisions=1)
    return mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint16)


def primitive(file: Gltf, vertices: np.ndarray, faces: np.ndarray, **more: Any) -> dict[str, Any]:
    attributes = {"POSITION": file.accessor(vertices)} | more.pop("attributes", {})
    return {"attributes": attributes, "indices": file.accessor(np.asarray(faces).reshape(-1)), **more}


def plain() -> Gltf:
    file = Gltf()
    return file.nodes({"mesh": file.mesh(primitive(file, *sphere()))})


def rich() -> Gltf:
    """A file with rows that lie apart, a sparse accessor, a compressed view, transforms and children."""
    vertices, faces = sphere()
    file = Gltf()
    surface = primitive(file, vertices, faces)
    accessor = file.json["accessors"][surface["attributes"]["POSITION"]]
    accessor["bufferView"] = file.view(np.hstack([vertices, vertices]).tobytes(), byteStride=24)
    accessor["byteOffset"] = 12
    accessor["sparse"] = {
        "count": 2,
        "indices": {"bufferView": file.view(b"\0\1"), "byteOffset": 0, "componentType": 5121},
        "values": {"bufferView": file.view(vertices[:2].tobytes()), "byteOffset": 0},
    }
    coded = meshopt.encode_gltf_buffer(faces.reshape(-1).astype(np.uint32), "INDICES")
    part = file.json["bufferViews"][file.view(coded)]
    compressed = part | {"byteStride": 2, "count": 240, "mode": "INDICES", "filter": "NONE"}
    file.json["accessors"][surface["indices"]]["bufferView"] = file.view(
        b"", extensions={"KHR_meshopt_compression": compressed}
    )
    mesh = file.mesh(surface | {"mode": 4})
    move = {"translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]}
    return file.nodes(move | {"children": [1]}, {"mesh": mesh, "matrix": np.eye(4).ravel().tolist()}, roots=[0])
