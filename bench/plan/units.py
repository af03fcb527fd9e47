"""Units of work with content-addressed keys: a coding, and the measurement of one decoded mesh.

A key is the SHA-256 of everything that decides the result. A unit whose key is in the store does not run again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gcbench.codecs import Rate
from gcbench.codecs.base import Effort
from gcbench.datasets import MeshSource
from gcbench.datasets.base import Split

KEY_VERSION = 2


@dataclass(frozen=True)
class PlannedMesh:
    """One mesh of the plan: where it is, what it is by content, its sizes; or why it cannot be used.

    Parameters
    ----------
    source : MeshSource
        The file.
    sha256 : str
        Of the normalised mesh; empty if it is bad.
    vertices, faces, obj_bytes, raw_bytes, source_bytes : int
        Sizes, DESIGN section 6.
    problem : str or None
        Why the mesh cannot be used.
    """

    source: MeshSource
    sha256: str = ""
    vertices: int = 0
    faces: int = 0
    obj_bytes: int = 0
    raw_bytes: int = 0
    source_bytes: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class CodingUnit:
    """One codec at one rate on one mesh (model codec) or on one set (set codec).

    Names of datasets and meshes are not part of the key: the same mesh under two names is coded once.

    Parameters
    ----------
    codec : str
        Address, parameters included, e.g. ``necgs[k=64]``.
    rate_index : int
        Position of the rate in the ladder.
    device : str
        ``cpu`` or ``cuda``, for codecs that can use it.
    timing : str or None
        For a timing pass, the kind of machine that it is for (:func:`gcbench.bench.run.machine.kind`): times of two
        kinds of machine are two results. None for a quality pass.
    """

    dataset: str
    split: Split
    codec: str
    codec_version: str
    kind: str
    decoder_bytes: int
    rate: Rate
    rate_index: int
    effort: Effort
    seed: int
    meshes: tuple[PlannedMesh, ...]
    device: str = "cpu"
    timing: str | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 of the codec, its version, the rate, effort, seed, device and the contents of the meshes."""
        return coding_key(
            codec=self.codec,
            codec_version=self.codec_version,
            rate=self.rate,
            effort=self.effort,
            seed=self.seed,
            device=self.device,
            timing=self.timing,
            inputs=[m.sha256 or f"bad input: {m.problem}" for m in self.meshes],
        )

    @property
    def usable(self) -> tuple[PlannedMesh, ...]:
        """The meshes that can be coded, in order: what is in the stream."""
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
) -> str:
    """Key of a coding; ``inputs`` are the content hashes of the meshes, in order, or why one cannot be used."""
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
        }
    )


@dataclass(frozen=True)
class SuiteId:
    """A suite of metrics in one version."""

    name: str
    version: str


@dataclass(frozen=True)
class MeasurementUnit:
    """One decoded mesh to measure, by one or more suites at once; each suite has a key of its own.

    Parameters
    ----------
    codec : str
        Bare name of the codec: what decodes the stream.
    decoder_version : str
        The version of the codec that made and decodes the stream.
    kind : str
        ``model`` or ``set``.
    stream_sha256 : str
        The stream.
    place : int
        Which mesh of the stream; 0 for a model codec.
    mesh : PlannedMesh
        The input that the decoded mesh stands for.
    suites : tuple of SuiteId
        What to measure.
    seed : int
        Of the samples.
    decoded_sha256 : str or None
        Content of the decoded mesh, if it has been decoded before: it may wait in the spool.
    """

    codec: str
    decoder_version: str
    kind: str
    stream_sha256: str
    place: int
    mesh: PlannedMesh
    suites: tuple[SuiteId, ...]
    seed: int
    device: str = "cpu"
    decoded_sha256: str | None = None

    def key(self, suite: SuiteId) -> str:
        """SHA-256 of the stream, the place, the decoder, the input, the suite and the seed."""
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
    """Key of one suite's measurement of one decoded mesh."""
    return _hash(
        {
            "key": KEY_VERSION,
            "stream": stream_sha256,
            "place": place,
            "decoder": [codec, decoder_version],
            "input": input_sha256,
            "suite": [suite.name, suite.version],
            "seed": seed,
        }
    )


Unit = CodingUnit | MeasurementUnit


def _hash(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
