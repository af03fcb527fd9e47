"""glTF and 3MF files of a folder: buffers beside the file count, and a file names nothing outside of its folder."""

from __future__ import annotations

import pytest
from gltf_files import plain

from gcbench.datasets.base import MeshSource
from gcbench.datasets.loading import load
from gcbench.errors import BadMesh


def test_a_gltf_file_with_its_buffer(tmp_path):
    file = plain()
    (tmp_path / "x.gltf").write_bytes(file.text("parts/x.bin"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "x.bin").write_bytes(file.binary)
    source = MeshSource("d", "x", tmp_path / "x.gltf")
    found = load(source, tmp_path / "cache")
    assert (len(found.mesh.vertices), len(found.mesh.faces)) == (42, 80)
    assert found.source_bytes == len(file.text("parts/x.bin")) + len(file.binary)
    (tmp_path / "x.glb").write_bytes(file.glb())
    assert load(MeshSource("d", "x", tmp_path / "x.glb")).sha256 == found.sha256

    other = plain()
    vertices, faces = other.binary[: 42 * 12], other.binary[42 * 12 :]
    (tmp_path / "parts" / "x.bin").write_bytes(vertices[:12] * 3 + vertices[36:] + faces)
    assert load(source, tmp_path / "cache").sha256 != found.sha256  # the cache follows the buffer


@pytest.mark.parametrize(
    "name", ["../x.bin", "/etc/hostname", "http://example.org/x.bin", "C:/x.bin", "a%5Cb", "a/../../b"]
)
def test_names_outside_of_the_folder_are_refused(tmp_path, name):
    (tmp_path / "inside").mkdir()
    (tmp_path / "x.bin").write_bytes(plain().binary)
    (tmp_path / "inside" / "x.gltf").write_bytes(plain().text(name))
    with pytest.raises(BadMesh, match="not a file in its folder"):
        load(MeshSource("d", "x", tmp_path / "inside" / "x.gltf"))


def test_a_buffer_that_is_missing(tmp_path):
    (tmp_path / "x.gltf").write_bytes(plain().text("gone.bin"))
    with pytest.raises(BadMesh, match=r"needs the file 'gone\.bin', which cannot be read"):
        load(MeshSource("d", "x", tmp_path / "x.gltf"))


def test_what_is_left_out_is_in_the_notes(tmp_path):
    file = plain()
    colours = {"COLOR_0": 0}
    surface = file.json["meshes"][0]["primitives"][0]
    surface["attributes"] |= colours
    (tmp_path / "x.glb").write_bytes(file.glb())
    for _ in range(2):  # from the cache too
        found = load(MeshSource("d", "x", tmp_path / "x.glb"), tmp_path / "cache")
        assert found.notes.dropped == ("colours",)
