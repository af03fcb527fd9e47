"""One small function for each format that comes from outside: it reads bytes, and raises only for a fault of ours.

The reader's own error for bad bytes is caught here; any other exception is a finding. A crash, a hang or too much
memory is seen by the loop (``loop.py``).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from gcbench.bench.audit.baseline import Baseline, BaselineUnreadable
from gcbench.bench.store.fields import read_line
from gcbench.bench.store.records import Coding, Measurement
from gcbench.bench.use import stream_file
from gcbench.codecs import CODECS, Codec, Context
from gcbench.codecs.base import SetCodec
from gcbench.datasets.unpack import unpacked
from gcbench.entropy.container import resealed
from gcbench.errors import BadMesh, BitstreamError, DownloadFailed
from gcbench.geometry import files
from gcbench.geometry.files.gltf import read_gltf

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS / "fixtures"


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Parameters
    ----------
    read : callable
        Reads bytes; raises AssertionError or anything else for a fault.
    seeds : tuple of Path
        Good files to begin with.
    modules : tuple of str
        Modules whose branches guide the fuzzer.
    """

    read: Callable[[bytes], None]
    seeds: tuple[Path, ...]
    modules: tuple[str, ...]


def mesh_file(suffix: str, data: bytes) -> None:
    """A mesh file is refused with BadMesh, or has faces whose corners are among its positions."""
    with contextlib.suppress(BadMesh):
        _check_mesh(files.read(data, suffix))


def gltf(data: bytes) -> None:
    """The same for glTF without files beside it."""
    with contextlib.suppress(BadMesh):
        _check_mesh(read_gltf(data))


def _check_mesh(mesh: files.FileMesh) -> None:
    assert mesh.vertices.ndim == 2
    assert mesh.vertices.shape[1] == 3
    assert len(mesh.faces)
    assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)


def stream(codec: str, data: bytes) -> None:
    """A stream whose checksum was made right is refused with BitstreamError, or decodes to meshes."""
    loaded = _loaded(codec)
    data = resealed(data) or data
    with contextlib.suppress(BitstreamError), tempfile.TemporaryDirectory() as scratch:
        if isinstance(loaded, SetCodec):
            loaded.layout(data)
        for mesh in loaded.decode(data, Context(scratch=Path(scratch))):
            assert np.isfinite(mesh.vertices).all()
            assert not len(mesh.faces) or 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)


def stream_of_a_file(data: bytes) -> None:
    """A file of `bench encode` is refused with BitstreamError, or packs to the same bytes again."""
    data = resealed(data) or data
    with contextlib.suppress(BitstreamError):
        assert stream_file.unpack(data).pack() == data


def coding(data: bytes) -> None:
    """A line of codings.jsonl is refused with ValueError, or is read to a value that is written and read the same."""
    with contextlib.suppress(ValueError):
        line = Coding.from_json(read_line(data))
        assert Coding.from_json(line.to_json()) == line


def measurement(data: bytes) -> None:
    """The same for a line of measurements.jsonl."""
    with contextlib.suppress(ValueError):
        line = Measurement.from_json(read_line(data))
        assert Measurement.from_json(line.to_json()) == line


def baseline(data: bytes) -> None:
    """A baseline of the gate is refused with BaselineUnreadable, or read."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "baseline.json"
        file.write_bytes(data)
        with contextlib.suppress(BaselineUnreadable):
            Baseline.read(file)


def archive(data: bytes) -> None:
    """An archive is refused with DownloadFailed, or unpacks into its folder, as regular files."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "archive.tar"
        file.write_bytes(data)
        with contextlib.suppress(DownloadFailed), unpacked(file, Path(folder), lambda _: True) as made:
            for path in made.rglob("*"):
                assert not path.is_symlink()
                assert path.is_dir() or path.is_file()
        assert [path.name for path in Path(folder).iterdir()] == ["archive.tar"]


@cache
def _loaded(codec: str) -> Codec:
    made = CODECS.create(codec)
    made.prepare()
    return made


def _folder(*parts: str) -> tuple[Path, ...]:
    return tuple(file for file in sorted(FIXTURES.joinpath(*parts).iterdir()) if file.suffix != ".npz")


def _all() -> dict[str, Target]:
    readers = ("gcbench.geometry.files",)
    lines = ("gcbench.bench.store.fields", "gcbench.bench.store.records")
    targets = {
        **{
            name: Target(partial(mesh_file, f".{name}"), _folder("fuzz", name), readers)
            for name in ("obj", "off", "ply", "stl")
        },
        "gltf": Target(gltf, _folder("fuzz", "gltf"), readers),
        "stream-file": Target(stream_of_a_file, _folder("fuzz", "stream-file"), ("gcbench.bench.use.stream_file",)),
        "coding": Target(coding, _folder("fuzz", "coding"), lines),
        "measurement": Target(measurement, _folder("fuzz", "measurement"), lines),
        "baseline": Target(
            baseline, (TESTS.parent / "results/baselines/minis.json",), ("gcbench.bench.audit.baseline", *lines)
        ),
        "archive": Target(archive, _folder("fuzz", "archive"), ("gcbench.datasets.unpack", "tarfile")),
    }
    for folder in sorted((FIXTURES / "streams").iterdir()):
        name = folder.name
        module = CODECS.builtins[name].partition(":")[0]
        branches = ("gcbench.entropy.container", "gcbench.entropy.varints", "gcbench.entropy.blocks", module)
        targets[name] = Target(partial(stream, name), _folder("streams", name), branches)
    return targets


TARGETS: dict[str, Target] = _all()
