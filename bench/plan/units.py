"""The two units of work, a coding and a measurement, and their keys.

- A *coding* applies one codec at one rate to one mesh (or to one set of meshes, for a set codec): encode, then decode.
  Example: ``draco`` at ``q10`` on ``mixed/humans/000``.
- A *measurement* compares one decoded mesh with its original, by one or more suites of metrics.

A key is the SHA-256 of everything that decides the result. A unit whose key is in the store does not run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from gcbench.codecs import Rate
from gcbench.codecs.base import Effort
from gcbench.datasets import MeshSource
from gcbench.datasets.base import Split

KEY_VERSION = 2


@dataclass(frozen=True)
class PlannedMesh:
    """One mesh of the plan: its file, hash and sizes, or why the mesh cannot be used."""

    source: MeshSource
    sha256: str = ""  # of the normalised mesh; empty if the mesh cannot be used
    vertices: int = 0
    faces: int = 0
    obj_bytes: int = 0  # the normalised mesh as OBJ with six decimals
    raw_bytes: int = 0  # 12 V + 12 F
    source_bytes: int = 0  # the file as distributed
    problem: str | None = None  # why the mesh cannot be used
    polygons: int | None = None  # faces of the file that were cut into triangles; None if there were none
    dropped: str | None = None  # what the reader left out, such as "colours, normals"; its bytes are in source_bytes
    remarks: str | None = None  # what else the reader did to the file's content


@dataclass(frozen=True)
class CodingUnit:
    """One codec at one rate on one mesh (model codec) or on one set of meshes (set codec).

    The key has no names of datasets and meshes: a mesh that two datasets contain is coded once.
    """

    dataset: str
    split: Split
    codec: str  # address with parameters, such as "necgs[k=64]"
    codec_version: str
    kind: str  # "model" or "set"
    decoder_bytes: int
    rate: Rate
    rate_index: int  # position of the rate in the ladder
    effort: Effort
    seed: int
    meshes: tuple[PlannedMesh, ...]
    device: str = "cpu"  # or "cuda", for codecs that can use it
    timing: str | None = None  # kind of machine of a timing pass (`run.machine.kind`); None for a quality pass
    sequences: tuple[range, ...] = ()  # places, in the stream, of the frames of each motion; for codecs that use them

    @cached_property
    def key(self) -> str:
        """See :func:`coding_key`."""
        return coding_key(
            codec=self.codec,
            codec_version=self.codec_version,
            rate=self.rate,
            effort=self.effort,
            seed=self.seed,
            device=self.device,
            timing=self.timing,
            inputs=[m.sha256 or f"bad input: {m.problem}" for m in self.meshes],
            sequences=self.sequences,
        )

    @property
    def usable(self) -> tuple[PlannedMesh, ...]:
        """The meshes that can be coded, in the order in which they are in the stream."""
        return tuple(m for m in self.meshes if m.problem is None)

    def __str__(self) -> str:
        where = self.meshes[0].source.mesh if self.kind == "model" else f"{len(self.meshes)} meshes"
        return f"{self.codec} {self.rate.label} on {self.dataset}/{where}"


def coding_key(
    *,
    codec: str,
    codec_version: str,
    rate: Rate,
    effort: str,
    seed: int,
    device: str,
    timing: str | None,
    inputs: list[str],
    sequences: tuple[range, ...] = (),
) -> str:
    """Key of a coding; ``inputs`` has the hash of each mesh, in order, or the reason why a mesh cannot be used."""
    of_motion = {"sequences": [[frames.start, frames.stop] for frames in sequences]} if sequences else {}
    return _hash(
        {
            "key": KEY_VERSION,
            "codec": codec,
            "codec_version": codec_version,
            "rate": [rate.label, dict(rate.params)],
            "effort": effort,
            "seed": seed,
            "device": device,
            "timing": timing,
            "inputs": inputs,
            **of_motion,
        }
    )


def frames_together(meshes: Iterable[PlannedMesh]) -> tuple[PlannedMesh, ...]:
    """Meshes of a set so that the frames of each sequence follow each other, in the order of the motion.

    A sequence comes where its first mesh is; the other meshes stay in their order.
    """
    groups: dict[object, list[PlannedMesh]] = {}
    for place, mesh in enumerate(meshes):
        motion = mesh.source.motion
        groups.setdefault(place if motion is None else motion.sequence, []).append(mesh)
    return tuple(mesh for of in groups.values() for mesh in sorted(of, key=_frame))


def _frame(mesh: PlannedMesh) -> int:
    return mesh.source.motion.frame if mesh.source.motion is not None else 0


def sequences_of(names: Sequence[str | None]) -> tuple[range, ...]:
    """Places of the frames of each motion, for :attr:`gcbench.codecs.Context.sequences`.

    Parameters
    ----------
    names : sequence of str or None
        The sequence of each mesh in a stream, in order; None for a mesh that is no frame.
    """
    ranges, start = [], 0
    for place in range(1, len(names) + 1):
        if place == len(names) or names[place] != names[start]:
            if names[start] is not None and place - start > 1:
                ranges.append(range(start, place))
            start = place
    return tuple(ranges)


@dataclass(frozen=True)
class SuiteId:
    """A metric suite in one version."""

    name: str
    version: str


@dataclass(frozen=True)
class MeasurementUnit:
    """One decoded mesh to measure by one or more suites; each suite has a key of its own."""

    codec: str  # name without parameters: what decodes the stream
    decoder_version: str  # version of the codec that made and decodes the stream
    kind: str  # "model" or "set"
    stream_sha256: str
    place: int  # position of the mesh in the stream; 0 for a model codec
    mesh: PlannedMesh  # the original
    suites: tuple[SuiteId, ...]
    seed: int  # of the samples
    device: str = "cpu"
    decoded_sha256: str | None = None  # of the decoded mesh, if known: the mesh may still be in the spool

    def key(self, suite: SuiteId) -> str:
        """See :func:`measurement_key`."""
        return measurement_key(
            stream_sha256=self.stream_sha256,
            place=self.place,
            codec=self.codec,
            decoder_version=self.decoder_version,
            input_sha256=self.mesh.sha256,
            suite=suite,
            seed=self.seed,
        )

    def __str__(self) -> str:
        names = ", ".join(suite.name for suite in self.suites)
        return f"measuring {names} of {self.codec} on {self.mesh.source.dataset}/{self.mesh.source.mesh}"


def measurement_key(
    *, stream_sha256: str, place: int, codec: str, decoder_version: str, input_sha256: str, suite: SuiteId, seed: int
) -> str:
    """Key of one suite's measurement of one decoded mesh: like :func:`coding_key`, of the fields in sorted order.

    The JSON is put together here, since a large run has millions of keys and `json.dumps` takes most of their time.
    """
    decoder, of_suite = _pair(codec, decoder_version), _pair(suite.name, suite.version)
    return hashlib.sha256(
        f'{{"decoder": {decoder}, "input": {_quoted(input_sha256)}, "key": {KEY_VERSION}, "place": {place}, '
        f'"seed": {seed}, "stream": {_quoted(stream_sha256)}, "suite": {of_suite}}}'.encode()
    ).hexdigest()


@lru_cache(maxsize=1024)
def _pair(a: str, b: str) -> str:
    return json.dumps([a, b])


Unit = CodingUnit | MeasurementUnit


def _hash(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
