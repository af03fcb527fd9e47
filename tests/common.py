"""Checks that every codec passes: ``check_round_trip``, ``check_damage`` and ``check_golden``.

A codec is named by its address, such as ``ni[steps=30]``. Decoders are made from the bare name (``ni``), because the
stream says everything that a decoder needs.

Golden streams lie in ``tests/fixtures/streams/CODEC``: ``NAME.bin`` is the stream, ``NAME.npz`` has the arrays
``vertices0``, ``faces0``, ``vertices1``, ... of the meshes that the stream decodes to. Golden streams are decoded for
ever: a file is never changed. ``python tests/make_golden.py`` makes a new one.
"""

from __future__ import annotations

import resource
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import igl
import numpy as np
import point_cloud_utils as pcu
import pytest
import trimesh

from gcbench.codecs import CODECS, Codec, Context, SetCodec
from gcbench.codecs.base import EFFORTS
from gcbench.entropy import blocks, container
from gcbench.errors import BitstreamError

STREAMS = Path(__file__).parent / "fixtures" / "streams"
# Each of these takes the place of bytes of a stream, whose checksums are then made right again: the least and the
# largest byte, the bounds of an LEB128 of one byte, the largest LEB128 of five bytes, NaN and infinity as float32.
LIMITS = (b"\0", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f")
DECODE_S, DECODE_KIB = 10.0, 1 << 20  # what decoding a small damaged stream takes at most


def rays_hit(mesh: trimesh.Trimesh, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What rays (n, 3) meet first, by Embree: the face, -1 for none, and how many directions away, infinity for none.

    Embree computes in float32.
    """
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)
    rays = (np.ascontiguousarray(each, np.float64).reshape(-1, 3) for each in (origins, directions))
    face, _, away = map(np.atleast_1d, pcu.ray_mesh_intersection(vertices, faces, *rays))
    away = np.where(np.isfinite(away), away, np.inf)
    return np.where(np.isfinite(away), face, -1).astype(np.int64), away


def torus() -> trimesh.Trimesh:
    """A closed mesh of 200 faces, normalised, of genus 1."""
    mesh = trimesh.creation.torus(0.7, 0.3, major_sections=10, minor_sections=10)
    vertices = mesh.vertices / np.abs(mesh.vertices).max()
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def encoded(address: str, meshes: Sequence[trimesh.Trimesh], rate: str | None = None) -> bytes:
    """Encode meshes into one stream, at the first rate of the quick ladder or the one with a label."""
    codec = CODECS.create(address)
    rates = {one.label: one for effort in EFFORTS for one in codec.rates(effort)}
    with _context() as ctx:
        (stream,) = codec.encode(meshes, rates[rate] if rate else next(iter(rates.values())), ctx)
    return stream


def decoded(address: str, stream: bytes) -> list[trimesh.Trimesh]:
    """Decode a stream by a codec that is made from the bare name and has never seen the meshes."""
    with _context() as ctx:
        return CODECS.create(_name(address)).decode(stream, ctx)


def check_round_trip(
    address: str,
    meshes: Sequence[trimesh.Trimesh] | None = None,
    *,
    rate: str | None = None,
    distance: float,
    again: bool = True,
) -> bytes:
    """Meshes come back from their stream within a distance, and the same meshes give the same bytes.

    Parameters
    ----------
    address : str
    meshes : sequence of trimesh.Trimesh, optional
        One for a model codec; by default the torus of 200 faces.
    rate : str, optional
        A label; by default the first of the ladder.
    distance : float
        Mean distance between the two surfaces, in both directions, at most.
    again : bool
        Encode a second time and compare the bytes.

    Returns
    -------
    bytes
        The stream.
    """
    meshes = [torus()] if meshes is None else meshes
    before = [(mesh.vertices.copy(), mesh.faces.copy()) for mesh in meshes]
    stream = encoded(address, meshes, rate)
    assert type(stream) is bytes
    for mesh, (vertices, faces) in zip(meshes, before, strict=True):
        np.testing.assert_array_equal(mesh.vertices, vertices, "the codec changed its input")
        np.testing.assert_array_equal(mesh.faces, faces, "the codec changed its input")
    if again:
        assert encoded(address, meshes, rate) == stream
    back = decoded(address, stream)
    assert len(back) == len(meshes)
    for mesh, other in zip(meshes, back, strict=True):
        _check_mesh(other)
        assert max(_mean_distance(mesh, other), _mean_distance(other, mesh)) <= distance
    codec = CODECS.create(_name(address))
    if isinstance(codec, SetCodec):
        layout = codec.layout(stream)
        assert len(layout.mesh_bytes) == len(meshes)
        assert layout.shared_bytes + sum(layout.mesh_bytes) == len(stream)
        with _context() as ctx:
            for index, other in enumerate(back):
                _check_same(codec.decode_one(stream, index, ctx), other)
            with pytest.raises(BitstreamError):
                codec.decode_one(stream, len(meshes), ctx)
    return stream


def check_damage(address: str, stream: bytes, *, depth: int = 24, open_end: bool = False) -> None:
    """Damaged streams end in BitstreamError, or where checksums are right, in a mesh; never in a crash or a hang.

    The stream is cut at every byte (a long one at a thousand places), gets an extra byte and another version, and is
    replaced by other codecs' streams. Where the stream has a container of :mod:`gcbench.entropy`, its fields get values
    at their limits, behind right checksums.

    Parameters
    ----------
    address : str
    stream : bytes
        A valid one, of a small mesh.
    depth : int
        How many bytes of the body, of the head and of each block get values at limits, from the first.
    open_end : bool
        The codec ignores bytes after the end, as Draco does.
    """
    with _context() as ctx:
        codec = CODECS.create(_name(address))
        for length in range(0, len(stream), max(1, len(stream) // 1000)):
            _check_refused(codec, stream[:length], ctx, f"cut after {length} bytes of {len(stream)}")
        if not open_end:
            for extra in (b"\0", b"\xff"):
                _check_refused(codec, stream + extra, ctx, "an extra byte")
        for name, foreign in (("a byte before", b"\0" + stream), ("reversed", stream[::-1]), *_foreign(stream)):
            _check_refused(codec, foreign, ctx, name)
        if (parts := _parts(stream)) is None:
            return
        magic, version, *bodies = parts
        for other in {0, 255, version - 1, version + 1} - {version, -1, 256}:
            _check_refused(codec, _joined(magic, other, *bodies), ctx, f"version {other}")
        for i, body in enumerate(bodies):
            for at in range(min(depth, len(body))):
                for limit in LIMITS:
                    changed = body[:at] + limit + body[at + len(limit) :]
                    bodies_now = [*bodies[:i], changed, *bodies[i + 1 :]]
                    _check_harmless(codec, _joined(magic, version, *bodies_now), ctx, (i, at, limit))


def golden(codec: str) -> list[Path]:
    """Return the golden streams of a codec."""
    return sorted((STREAMS / codec).glob("*.bin"))


def check_golden(address: str, *, distance: float = 0.0) -> None:
    """Every golden stream of a codec decodes to its meshes.

    Parameters
    ----------
    address : str
    distance : float
        0: vertices agree to 1e-6 and faces are equal. Otherwise, for networks in floating point, which round otherwise
        on every processor: the mean distance between the surfaces in both directions at most, and numbers of faces
        agree to 5 %.
    """
    files = golden(_name(address))
    assert files, f"there is no golden stream of {address}: see tests/make_golden.py"
    for file in files:
        with np.load(file.with_suffix(".npz")) as arrays:
            count = len(arrays.files) // 2
            kept = [(arrays[f"vertices{i}"].astype(float), arrays[f"faces{i}"]) for i in range(count)]
        expected = [trimesh.Trimesh(vertices, faces, process=False) for vertices, faces in kept]
        found = decoded(address, file.read_bytes())
        assert len(found) == count, file
        for mesh, other in zip(expected, found, strict=True):
            if distance:
                assert max(_mean_distance(mesh, other), _mean_distance(other, mesh)) <= distance, file
                assert len(other.faces) == pytest.approx(len(mesh.faces), rel=0.05), file
            else:
                np.testing.assert_array_equal(other.faces, mesh.faces, str(file))
                np.testing.assert_allclose(other.vertices, mesh.vertices, atol=1e-6, rtol=0, err_msg=str(file))


def make_golden(address: str, name: str, meshes: Sequence[trimesh.Trimesh], rate: str | None = None) -> Path:
    """Write a stream and the meshes that it decodes to; a golden stream that is there is never replaced.

    Raises
    ------
    FileExistsError
        There is one of that name.
    """
    file = STREAMS / _name(address) / f"{name}.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = encoded(address, meshes, rate)
    arrays = {}
    for i, mesh in enumerate(decoded(address, stream)):
        _check_mesh(mesh)
        arrays[f"vertices{i}"] = mesh.vertices.astype(np.float32)
        arrays[f"faces{i}"] = mesh.faces.astype(np.uint16 if len(mesh.vertices) < 1 << 16 else np.uint32)
    with file.open("xb") as made:
        made.write(stream)
    np.savez_compressed(file.with_suffix(".npz"), **arrays)
    return file


def _name(address: str) -> str:
    return address.partition("[")[0]


class _context:  # noqa: N801 (a context manager)
    """A context for one codec, with an empty scratch folder."""

    def __enter__(self) -> Context:
        self._folder = tempfile.TemporaryDirectory()
        return Context(scratch=Path(self._folder.name))

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _check_mesh(mesh: trimesh.Trimesh) -> None:
    assert type(mesh) is trimesh.Trimesh
    assert len(mesh.faces)
    assert np.isfinite(mesh.vertices).all()
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)


def _check_same(one: trimesh.Trimesh, other: trimesh.Trimesh) -> None:
    np.testing.assert_array_equal(one.vertices, other.vertices)
    np.testing.assert_array_equal(one.faces, other.faces)


def _mean_distance(one: trimesh.Trimesh, other: trimesh.Trimesh, samples: int = 2000) -> float:
    """Mean exact distance of samples of one surface to the other."""
    points, _ = trimesh.sample.sample_surface(one, samples, seed=0)
    squared, *_ = igl.point_mesh_squared_distance(points, np.asarray(other.vertices), np.asarray(other.faces))
    return float(np.sqrt(np.maximum(squared, 0)).mean())


def _check_refused(codec: Codec, stream: bytes, ctx: Context, why: object) -> None:
    try:
        codec.decode(stream, ctx)
    except BitstreamError:
        return
    pytest.fail(f"{codec.name} decodes a stream that is none: {why}")


def _check_harmless(codec: Codec, stream: bytes, ctx: Context, why: object) -> None:
    """Decode a stream that may be valid, within time and memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        for mesh in codec.decode(stream, ctx):
            if len(mesh.faces):  # a volume may have no surface
                _check_mesh(mesh)
    except BitstreamError:
        pass
    assert time.monotonic() - start < DECODE_S, why
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < DECODE_KIB, why


def _foreign(stream: bytes) -> Iterator[tuple[str, bytes]]:
    """What is no stream of a codec: zeros, text, and golden streams that begin in another way."""
    yield from (("zeros", bytes(1000)), ("text", b"v 0 0 0\n" * 9))
    for folder in sorted(STREAMS.iterdir()):
        for file in golden(folder.name)[:1]:
            if (foreign := file.read_bytes())[:3] != stream[:3]:
                yield f"{folder.name}/{file.name}", foreign


def _parts(stream: bytes) -> tuple[bytes, int, *tuple[bytes, ...]] | None:
    """Magic, version and body of a container; or magic, version, head and the body of each block of a set's stream."""
    magic, version = stream[:3], stream[3]
    if zlib.crc32(stream[8:], zlib.crc32(stream[:4])) == int.from_bytes(stream[4:8], "little"):
        return magic, version, stream[8:]
    try:
        found = blocks.Blocks(_container(magic, version), stream)
        return magic, version, found.head().rest(), *(found.body(i).rest() for i in range(len(found)))
    except (BitstreamError, KeyError):
        return None


def _joined(magic: bytes, version: int, head: bytes, *bodies: bytes) -> bytes:
    made = _container(magic, version)
    return blocks.pack(made, head, bodies) if bodies else made.pack(head)


def _container(magic: bytes, version: int) -> container.Container:
    return container.Container(magic, version, container._NAMES[magic])
