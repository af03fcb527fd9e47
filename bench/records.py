"""The result schema: one record is one mesh in one cell. Knows nothing of how results are made or kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Status = Literal["ok", "bad-input", "failed", "timeout", "out-of-memory", "crashed"]
Stage = Literal["load", "encode", "decode", "measure"]
Pass = Literal["quality", "timing"]

_PAGE_BYTES = 4096  # in which the system counts resident memory


@dataclass(frozen=True)
class Cost:
    """What one call of a codec took, measured inside its worker process.

    Parameters
    ----------
    wall_s, cpu_s : float
        Seconds by the clock, and of all cores of the worker and the programs it ran. The median over ``repeats``.
    peak_rss_bytes : int
        Highest resident memory of the worker during the call: interpreter, libraries and loaded weights included.
    rss_before_bytes : int
        The same just before the call, so that the difference is what the call itself needed.
    repeats : int
        How many timed calls; 1 in a quality pass, which is neither pinned nor warmed up.
    stage_s : mapping
        Wall seconds of the parts that the codec told apart (:meth:`gcbench.codecs.Context.stage`), medians like
        ``wall_s``; empty for a codec that tells nothing apart.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    rss_before_bytes: int
    repeats: int = 1
    stage_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def added_bytes(self) -> int:
        """Memory that the call added at its peak to what the process held before; less than a page is not seen."""
        return max(_PAGE_BYTES, self.peak_rss_bytes - self.rss_before_bytes)


@dataclass(frozen=True)
class Record:
    """One mesh in one cell. Fields that could not be had, for a failure for example, are None."""

    # Which cell and mesh.
    dataset: str
    split: str  # "mini", "paper", "all": results on generated meshes are always told apart
    mesh: str
    codec: str  # address, parameters included: "necgs[k=64]"
    kind: str  # "model" or "set"
    rate: str  # label of the rung
    rate_index: int  # position of the rung in the ladder, low to high quality
    effort: str
    seed: int
    timing: bool  # a timing pass: repeated, pinned, alone; has no metrics

    # How it went.
    status: Status
    stage: Stage | None = None  # where it failed
    error: str | None = None  # one line

    # Sizes, in bytes.
    obj_bytes: int | None = None  # normalised mesh as OBJ with six decimals
    raw_bytes: int | None = None  # 12 V + 12 F
    source_bytes: int | None = None  # the file as distributed
    mesh_bytes: int | None = None  # of the stream, for this mesh alone
    shared_bytes: int | None = None  # of the stream, for the whole set (0 for model codecs)
    set_size: int = 1  # meshes in the stream
    stream_bytes: float | None = None  # mesh_bytes + shared_bytes / set_size: sums over a set to the true total
    bits_per_vertex: float | None = None  # 8 · stream_bytes / vertices of the input
    decoder_bytes: int = 0  # weights that ship with the codec and are not in the stream
    stream_sha256: str | None = None
    input_sha256: str | None = None  # of the normalised mesh

    # What it took, and where; a set codec's cost is that of the set, in every one of its records.
    device: str = "cpu"  # or "cuda"
    encode: Cost | None = None
    decode: Cost | None = None
    measure_s: float | None = None

    # gcbench.bench.metrics.METRICS by name, and mesh facts as in_* and out_*.
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, int | bool] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """One row of a table: nested values become columns ``encode_s``, ``decode_peak_rss_bytes``, ``cd``, ...

        Stages that a codec told apart are ``encode_stage_coding_s``, ``decode_stage_poisson_s``, ...
        """
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NESTED}
        for name in ("encode", "decode"):
            cost: Cost | None = getattr(self, name)
            row[f"{name}_s"] = cost and cost.wall_s
            row[f"{name}_cpu_s"] = cost and cost.cpu_s
            row[f"{name}_peak_rss_bytes"] = cost and cost.peak_rss_bytes
            row[f"{name}_rss_before_bytes"] = cost and cost.rss_before_bytes
            row[f"{name}_added_bytes"] = cost and cost.added_bytes
            row[f"{name}_repeats"] = cost and cost.repeats
            row |= {f"{name}_stage_{stage}_s": seconds for stage, seconds in (cost.stage_s if cost else {}).items()}
        return row | dict(self.metrics) | dict(self.facts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; None and empty fields are left out."""
        return _filled(asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Inverse of :meth:`to_json`; unknown fields of a newer gcbench are ignored."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        for name in ("encode", "decode"):
            if name in values:
                parts = {f.name for f in fields(Cost)}
                values[name] = Cost(**{part: value for part, value in values[name].items() if part in parts})
        return cls(**values)


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _filled(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None and value != {}
    }


_NESTED = frozenset({"encode", "decode", "metrics", "facts"})
