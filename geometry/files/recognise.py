"""Files that are not what their name says: compressed, UTF-16, web pages, pointers, another mesh format."""

from __future__ import annotations

from gcbench.errors import BadMesh

_BOM = b"\xef\xbb\xbf"
_BINARY = {
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
    b"PK\x03\x04": "is a ZIP archive; unpack it first, or give it the ending .3mf if it is one",
    b"\xfd7zXZ\0": "is compressed with xz; unpack it first",
    b"BZh": "is compressed with bzip2; unpack it first",
    b"7z\xbc\xaf": "is a 7-Zip archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with Zstandard; unpack it first",
    b"glTF": "is a binary glTF file; give it the ending .glb",
    b"Kaydara FBX": "is an FBX file; convert it to OBJ or PLY",
    b"DRACO": "is a Draco stream; decode it first",
    b"%PDF": "is a PDF document",
    b"\x89PNG": "is a picture (PNG)",
}
_TEXT = {
    b"version https://git-lfs.github.com/": "is a Git LFS pointer and not the mesh; run: git lfs pull",
    b"<!doctype html": "is a web page (HTML) and not a mesh; download the mesh again",
    b"<html": "is a web page (HTML) and not a mesh; download the mesh again",
    b"<?xml": "is an XML document",
    b"{": "is a JSON document; give it the ending .gltf if it is glTF",
}
_OWN = {".glb": b"glTF", ".gltf": b"{", ".3mf": b"PK\x03\x04"}  # formats that begin like others
_MESHES = {b"ply": ".ply", b"OFF": ".off", b"solid": ".stl"}  # first lines, which are no lines of other formats


def without_mark(data: bytes) -> bytes:
    """The file without a UTF-8 byte order mark, which editors on Windows put in front of text."""
    return data.removeprefix(_BOM)


def refuse_other_formats(data: bytes, suffix: str) -> None:
    """Raise BadMesh with the cure if the file is known to be no mesh of the format that its suffix says."""
    if suffix in _OWN and data[:512].lstrip().startswith(_OWN[suffix]):
        return
    for magic, what in _BINARY.items():
        if data.startswith(magic):
            raise BadMesh(f"the file {what}")
    if _is_wide(data[:256]):
        raise BadMesh("the text is in UTF-16 or UTF-32; save it as UTF-8 or ASCII")
    start = data[:512].lstrip().lower()
    for words, what in _TEXT.items():
        if start.startswith(words):
            raise BadMesh(f"the file {what}")
    for word, its in _MESHES.items():
        if its != suffix and data.split(None, 1)[:1] == [word]:
            raise BadMesh(f"the file begins like a {its} file; give it the ending {its}")


def _is_wide(start: bytes) -> bool:
    """Whether a text begins with a mark of UTF-16 or UTF-32, or has a zero byte in most pairs of bytes."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return True
    odd, even = start[1::2], start[::2]
    return len(start) >= 8 and any(
        zeros.count(0) > 0.7 * len(zeros) and not letters.count(0) for zeros, letters in ((odd, even), (even, odd))
    )
