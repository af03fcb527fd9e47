"""Encode mesh files outside of a run, at a rate that is given or found by trying; as in a run, in a slot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gcbench.bench.metrics import SUITES, columns, ranking, suite_of
from gcbench.bench.plan.inventory import Inventory
from gcbench.bench.plan.planning import groups_of
from gcbench.bench.plan.units import CodingUnit, PlannedMesh, SuiteId
from gcbench.bench.run.slot import Slot, measurement_unit
from gcbench.bench.run.work import Outcome, Task
from gcbench.bench.store.records import Coding, Measurement
from gcbench.bench.use.stream_file import HASH_BYTES, CodedMesh, StreamFile, is_name
from gcbench.codecs import CODECS, Codec, Rate
from gcbench.codecs.base import EFFORTS, Effort
from gcbench.datasets import MeshSource, cache_dir
from gcbench.datasets.placement import placement_of
from gcbench.datasets.sequences import motions
from gcbench.errors import BadMesh, CodecFailed, CodecUnavailable, UsageError
from gcbench.geometry import files
from gcbench.registry import split_address

_NO_DATASET = "files"  # what a coding outside of a run has as its dataset


@dataclass(frozen=True)
class Bounds:
    """What the encoded meshes must meet; None is no bound.

    Parameters
    ----------
    file_bytes : float or None
        Size of the file; for a set codec, for each mesh on average.
    distance : float or None
        Ranking metric of the suites (p2s): of a set, that of its worst mesh.
    """

    file_bytes: float | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Trial:
    """One rate that was tried.

    Parameters
    ----------
    unit : CodingUnit
        Codec, rate and meshes.
    coding : Coding
        How it went.
    data : bytes
        The stream file; empty if the rate failed.
    stream : bytes
        From the codec alone, whose size a run records.
    distances : tuple of float
        Ranking metric of each mesh; empty if it was not measured.
    """

    unit: CodingUnit
    coding: Coding
    data: bytes = b""
    stream: bytes = b""
    distances: tuple[float, ...] = ()

    @property
    def rate(self) -> str:
        """Label of the rate."""
        return self.unit.rate.label

    @property
    def failed(self) -> str:
        """Why there is no stream; empty if there is one."""
        coding = self.coding
        return "" if coding.status == "ok" else f"{coding.status} at {coding.stage}: {coding.error}"

    @property
    def mean_bytes(self) -> float:
        """Bytes of the file; of a set, for each mesh."""
        return len(self.data) / len(self.unit.meshes)

    @property
    def ratio(self) -> float:
        """Bytes of the normalised meshes as OBJ over bytes of the stream, as in a run."""
        return sum(mesh.obj_bytes for mesh in self.unit.meshes) / len(self.stream)

    def meets(self, bounds: Bounds) -> bool:
        """Whether the rate worked and meets all bounds."""
        small = bounds.file_bytes is None or self.mean_bytes <= bounds.file_bytes
        close = bounds.distance is None or max(self.distances, default=math.inf) <= bounds.distance
        return not self.failed and small and close

    def __str__(self) -> str:
        if self.failed:
            return f"{self.rate} {self.failed}"
        distance = f", p2s {max(self.distances):.3g}" if self.distances else ""
        return f"{self.rate} {self.mean_bytes / 1000:.4g} kB{distance}"


@dataclass(frozen=True)
class Found:
    """The rate that was chosen, or None; and every rate that was tried, in order."""

    chosen: Trial | None
    tried: tuple[Trial, ...]


def planned(paths: Sequence[Path]) -> list[PlannedMesh]:
    """Read the facts of mesh files; the name of a mesh is that of its file without suffix.

    Raises
    ------
    UsageError
        No such file, a folder, an unknown suffix, or two files of one name.
    BadMesh
        A file cannot be used as a mesh.
    """
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name its mesh files, such as {path / '*.obj'}")
        if not path.exists():
            raise UsageError(f"there is no file {path}")
        if path.suffix.lower() not in files.SUFFIXES:
            raise UsageError(f"{path} is no mesh file; possible are {', '.join(files.SUFFIXES)}")
        if not is_name(path.stem):
            raise UsageError(f"{path.stem!r} is no name that a decoded mesh can have; rename the file")
    stems = [path.stem for path in paths]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UsageError(f"two meshes have the name {twice}; rename one, or encode them one by one")
    inventory = Inventory(cache_dir())
    try:
        motion = motions(paths, str)
        meshes = [
            inventory.read(MeshSource(_NO_DATASET, path.stem, path.absolute(), motion=motion.get(path)))
            for path in paths
        ]
    finally:
        inventory.close()
    for mesh in meshes:
        if mesh.problem is not None:
            raise BadMesh(mesh.problem)
    return meshes


def codec_here(address: str) -> tuple[str, Codec]:
    """The address in its canonical form, and its codec.

    Raises
    ------
    UsageError
        No such codec or parameter.
    CodecUnavailable
        The codec cannot run here.
    """
    name, params = split_address(address, "codec")
    canonical = f"{name}[{','.join(f'{k}={v}' for k, v in sorted(params.items()))}]" if params else name
    codec = CODECS.create(canonical)
    available = codec.availability()
    if not available.ok:
        raise CodecUnavailable(f"codec '{canonical}' cannot run here: {available.reason}", available.remedy)
    return canonical, codec


def rate_named(label: str, address: str, codec: Codec) -> Rate:
    """The rate of a label, at whatever effort. Raises UsageError without such a rate."""
    ladders = {effort: [rate.label for rate in codec.rates(effort)] for effort in EFFORTS}
    for effort in EFFORTS:
        for rate in codec.rates(effort):
            if rate.label == label:
                return rate
    known = " ".join(dict.fromkeys(one for ladder in ladders.values() for one in ladder))
    raise UsageError(f"'{address}' has no rate '{label}'; its rates are: {known}")


@dataclass
class Encoder:
    """Encodes meshes by one codec in a slot: each mesh by itself, or all meshes of a set codec.

    Parameters
    ----------
    address : str
    codec : Codec
    slot : Slot
        Where encoding, decoding and measuring run.
    effort : str
        Whose ladder is searched.
    seed : int
    device : str
    """

    address: str
    codec: Codec
    slot: Slot
    effort: Effort = "standard"
    seed: int = 0
    device: str = "cpu"
    _suites: tuple[SuiteId, ...] = field(init=False, repr=False)
    _column: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        column = ranking(columns())
        assert column is not None, "a built-in suite has a ranking column"
        self._column = column
        name = suite_of(column)
        self._suites = (SuiteId(name, SUITES.create(name).version()),)

    def groups(self, meshes: Sequence[PlannedMesh]) -> list[tuple[PlannedMesh, ...]]:
        """The meshes of each stream; frames of one motion follow each other if the codec uses sequences."""
        return [group for group, _ in groups_of(meshes, self.codec)]

    def encode(self, meshes: tuple[PlannedMesh, ...], rate: Rate, *, measure: bool) -> Trial:
        """Encode, decode, and measure if asked; a failure is in the trial. Raises StoreError for a full disk."""
        unit = CodingUnit(
            dataset=_NO_DATASET,
            split="all",
            codec=self.address,
            codec_version=self.codec.version(),
            kind=self.codec.kind,
            decoder_bytes=self.codec.decoder_bytes,
            rate=rate,
            rate_index=0,
            effort=self.effort,
            seed=self.seed,
            meshes=meshes,
            device=self.device,
            sequences=groups_of(meshes, self.codec)[0][1],
        )
        outcome = self.slot.run(Task(unit, self._suites if measure else ()))
        assert outcome.coding is not None, "a coding has been asked for"
        if outcome.coding.status != "ok":
            return Trial(unit, outcome.coding)
        trial = Trial(unit, outcome.coding, self._packed(unit, outcome), outcome.streams[0])
        return self.measured(trial, outcome.measurements) if measure else trial

    def _packed(self, unit: CodingUnit, outcome: Outcome) -> bytes:
        assert outcome.coding is not None
        coded = zip(unit.meshes, outcome.coding.coded, strict=True)
        return StreamFile(
            codec=split_address(self.address, "codec")[0],
            codec_version=unit.codec_version,
            address=self.address,
            rate=unit.rate.label,
            meshes=tuple(
                CodedMesh(
                    mesh.source.mesh, placement_of(mesh.source), bytes.fromhex(one.decoded_sha256 or "")[:HASH_BYTES]
                )
                for mesh, one in coded
            ),
            stream=outcome.streams[0],
        ).pack()

    def measured(self, trial: Trial, known: Sequence[Measurement] = ()) -> Trial:
        """A trial with distances; ``known`` are the measurements of its first meshes.

        Raises
        ------
        CodecFailed
            A decoded mesh cannot be measured.
        """
        if trial.distances or trial.failed:
            return trial
        made = list(known)
        for place in range(len(made), len(trial.unit.meshes)):  # each mesh of a set is measured by a task of its own
            task = Task(measurement_unit(trial.coding, trial.unit, place, self._suites), stream=trial.stream)
            made += self.slot.run(task).measurements
        for one in made:
            if one.status != "ok":
                raise CodecFailed(f"the decoded mesh cannot be measured: {one.error}")
        return replace(trial, distances=tuple(float(one.values[self._column]) for one in made))

    def search(self, meshes: tuple[PlannedMesh, ...], bounds: Bounds, on_trial: Callable[[Trial], None]) -> Found:
        """Find a rate of the ladder by bisection, under the assumption that size and quality rise along it.

        With a bound on the distance: the smallest rate that meets the bound. With a bound on bytes alone: the best
        rate that meets it. The result, and the rate beside it that does not meet the bound, have been tried. A rate
        that failed is left out.
        """
        ladder = list(self.codec.rates(self.effort))
        tried: dict[str, Trial] = {}
        by_distance = bounds.distance is not None
        alone = Bounds(distance=bounds.distance) if by_distance else Bounds(file_bytes=bounds.file_bytes)
        low, high = -1, len(ladder)
        while high - low > 1:
            middle = (low + high) // 2
            trial = self.encode(meshes, ladder[middle], measure=by_distance)
            on_trial(trial)
            tried[trial.rate] = trial
            if trial.failed:
                del ladder[middle]
                high -= 1
            elif trial.meets(alone) == by_distance:
                high = middle
            else:
                low = middle
        place = high if by_distance else low
        found = tried[ladder[place].label] if 0 <= place < len(ladder) else None
        if found is not None and not found.meets(bounds):
            found = None
        return Found(found, tuple(tried.values()))
