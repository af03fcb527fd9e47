"""Resolve names of datasets and codecs to the codings of a run. Nothing is encoded here."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcbench import plain_text
from gcbench.bench.plan.inventory import Inventory
from gcbench.bench.plan.units import CodingUnit, PlannedMesh, frames_together, sequences_of
from gcbench.codecs import CODECS, Codec, Rate
from gcbench.codecs.base import Effort, as_effort
from gcbench.datasets import Dataset, MeshSource, MissingMesh, cache_dir, data_root, open_dataset
from gcbench.datasets.base import Selection, Split, as_split
from gcbench.datasets.folder import FolderDataset
from gcbench.errors import CodecUnavailable, DatasetMissing, UsageError
from gcbench.geometry.files.polygons import refused
from gcbench.registry import split_address

Progress = Callable[[int, int, str], None]  # done, total, what
_SLUG_BYTES = 160  # of the default name of a run; file systems take 255


@dataclass(frozen=True)
class Unavailable:
    """A codec that ``all`` includes and that cannot run here."""

    codec: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Plan:
    """The codings of a run, in order; and what the run leaves out, with the reason."""

    codings: tuple[CodingUnit, ...]
    codecs: tuple[str, ...]
    datasets: tuple[tuple[str, Split], ...]
    slugs: tuple[str, ...]  # names of the datasets in the default name of the run; distinct for distinct folders
    meshes: tuple[PlannedMesh, ...]
    effort: Effort
    seed: int
    device: str
    timing: str | None  # kind of machine of a timing pass; None for a quality pass
    limit: int | None = None  # meshes of each dataset
    unavailable: tuple[Unavailable, ...] = ()
    missing: tuple[MissingMesh, ...] = ()
    folders: tuple[tuple[str, str], ...] = ()  # name and path of each dataset that is a folder
    notes: tuple[str, ...] = ()  # what the user should know about the datasets, a line each
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # "dataset/split" → all its meshes, in order

    @property
    def bad_inputs(self) -> tuple[PlannedMesh, ...]:
        """Meshes that cannot be used."""
        return tuple(m for m in self.meshes if m.problem is not None)

    def default_name(self) -> str:
        """Such as ``ama+thingi10k-all-standard``; the same command gives the same name, and so resumes the run."""
        splits = sorted({split for _, split in self.datasets})
        names = plain_text.as_file_name("+".join(self.slugs), _SLUG_BYTES)
        first = "" if self.limit is None else f"-first{self.limit}"
        return f"{names}-{'+'.join(splits)}-{self.effort}{first}"

    def dataset_hashes(self) -> dict[str, str]:
        """Dataset → SHA-256 over the names and hashes of its meshes, in order."""
        hashes: dict[str, Any] = {}
        for m in self.meshes:
            digest = hashes.setdefault(m.source.dataset, hashlib.sha256())
            digest.update(f"{m.source.mesh} {m.sha256}\n".encode("utf-8", "surrogatepass"))
        return {name: digest.hexdigest() for name, digest in hashes.items()}


@dataclass
class _Codecs:
    """The codecs of a plan, resolved from addresses."""

    runnable: list[tuple[str, Codec]] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)


def make_plan(
    datasets: Sequence[str] | str = "mixed",
    codecs: Sequence[str] | str = "all",
    *,
    split: str | None = None,
    effort: str | None = None,
    seed: int = 0,
    rates: Sequence[str] = (),
    limit: int | None = None,
    data: Path | None = None,
    allow_missing: bool = False,
    polygons: str = "triangulate",
    timing: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Plan:
    """Resolve names to codings. Reads meshes that are new or have changed, and encodes none.

    Parameters
    ----------
    datasets : str or sequence of str
        Registered names or folders of meshes.
    codecs : str or sequence of str
        Addresses such as ``draco`` or ``necgs[k=64]``, or ``all``: every codec that can run here.
    split : {"mini", "paper", "all"}, optional
        Default: each dataset's own (``mini``; ``all`` for a folder).
    effort : {"quick", "standard", "paper"}, optional
        Default: ``quick`` where everything is ``mini``, else ``standard``.
    seed : int
        All randomness of codecs and metrics derives from it.
    rates : sequence of str
        Keep only rates with these labels; empty keeps all.
    limit : int, optional
        Use only the first ``limit`` meshes of each dataset.
    data : Path, optional
        Data root; default: ``BENCH_DATA``, else the user's data folder.
    allow_missing : bool
        Leave out the meshes of a split that are not on this machine, instead of raising DatasetMissing.
    polygons : str
        ``triangulate`` or ``refuse``: what to do with meshes whose files have faces larger than a triangle.
    timing : str, optional
        Plan a timing pass (repeated calls, no metrics). The value is the kind of machine that the pass runs on, from
        :func:`gcbench.bench.run.machine.kind`. Default: a quality pass.
    device : str
        ``cpu`` or ``cuda``, for codecs that can use it.
    progress : callable, optional
        Called with the number of meshes read, the total, and the name of the mesh being read.

    Raises
    ------
    UsageError
        Unknown names, splits, rates or parameters, or an unknown value of ``polygons``.
    DatasetMissing
        Meshes are not on this machine, and ``allow_missing`` is False.
    CodecUnavailable
        A codec given by name cannot run here.
    """
    names = [datasets] if isinstance(datasets, str) else list(datasets)
    one_split = None if split is None else as_split(split)
    asked_effort = None if effort is None else as_effort(effort)
    if seed < 0:
        raise UsageError("a seed is not negative")
    if polygons not in ("triangulate", "refuse"):
        raise UsageError(f"polygons are triangulated or refused, not '{polygons}': --polygons triangulate, or refuse")
    root = data_root(data)
    opened = [open_dataset(name, root) for name in dict.fromkeys(names)]
    if not opened:
        raise UsageError("no dataset given")
    names = [dataset.name for dataset in opened]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two datasets have the name {', '.join(twice)}, so their results would be mixed up; rename one folder"
        )
    splits = [one_split or dataset.default_split for dataset in opened]
    chosen_effort: Effort = asked_effort or ("quick" if set(splits) == {"mini"} else "standard")
    chosen = _resolve_codecs([codecs] if isinstance(codecs, str) else codecs)
    ladders = {address: _ladder(address, codec, chosen_effort, rates) for address, codec in chosen.runnable}
    # Without this check, a misspelt label among several would silently leave out the codec that has the rate.
    if unknown := set(rates) - {rate.label for ladder in ladders.values() for _, rate in ladder}:
        raise UsageError(
            f"no chosen codec has a rate called {' or '.join(sorted(unknown))} at effort {chosen_effort}; "
            "see: bench list codecs"
        )

    selected = _select(opened, splits, root, allow_missing=allow_missing)
    sources = [selection.sources[:limit] for selection in selected]
    every = [source for per_dataset in sources for source in per_dataset]
    planned: dict[MeshSource, PlannedMesh] = {}
    inventory = Inventory(cache_dir())
    for done, source in enumerate(every):
        if progress is not None:
            progress(done, len(every), f"{source.dataset}/{source.mesh}")
        mesh = inventory.read(source)
        if polygons == "refuse" and mesh.polygons:
            mesh = PlannedMesh(source, source_bytes=mesh.source_bytes, problem=str(refused(mesh.polygons)))
        planned[source] = mesh
    inventory.close()
    if progress is not None:
        progress(len(every), len(every), "")

    codings = []
    for dataset, its_split, per_dataset in zip(opened, splits, sources, strict=True):
        meshes = [planned[source] for source in per_dataset]
        for address, codec in chosen.runnable:
            groups = groups_of(meshes, codec)
            codings += [
                CodingUnit(
                    dataset=dataset.name,
                    split=its_split,
                    codec=address,
                    codec_version=codec.version(),
                    kind=codec.kind,
                    decoder_bytes=codec.decoder_bytes,
                    rate=rate,
                    rate_index=index,
                    effort=chosen_effort,
                    seed=seed,
                    meshes=group,
                    timing=timing,
                    device=device,
                    sequences=sequences,
                )
                for group, sequences in groups
                for index, rate in ladders[address]
            ]
    return Plan(
        codings=tuple(_mesh_by_mesh(codings)),
        codecs=tuple(address for address, _ in chosen.runnable),
        datasets=tuple((d.name, s) for d, s in zip(opened, splits, strict=True)),
        slugs=tuple(_slug(dataset, root) for dataset in opened),
        meshes=tuple(planned.values()),
        effort=chosen_effort,
        seed=seed,
        device=device,
        timing=timing,
        limit=limit,
        unavailable=tuple(chosen.unavailable),
        missing=tuple(missing for selection in selected for missing in selection.missing),
        notes=(*(note for selection in selected for note in selection.notes), *_of_files(planned.values())),
        names={
            f"{d.name}/{s}": (*(s.mesh for s in selection.sources), *(m.mesh for m in selection.missing))
            for d, s, selection in zip(opened, splits, selected, strict=True)
        },
        folders=tuple((d.name, str(d.path.resolve())) for d in opened if isinstance(d, FolderDataset)),
    )


def groups_of(meshes: Sequence[PlannedMesh], codec: Codec) -> list[tuple[tuple[PlannedMesh, ...], tuple[range, ...]]]:
    """The meshes of each stream of a codec, and the sequences among them if the codec uses sequences."""
    if codec.kind == "model":
        return [((mesh,), ()) for mesh in meshes]
    if not getattr(codec, "uses_sequences", False):
        return [(tuple(meshes), ())]
    group = frames_together(meshes)
    motions = [mesh.source.motion for mesh in group if mesh.problem is None]
    return [(group, sequences_of([motion.sequence if motion else None for motion in motions]))]


def _slug(dataset: Dataset, root: Path) -> str:
    """Name of a dataset in the name of a run. A folder has its relative path, or its name and a hash of its path."""
    if not isinstance(dataset, FolderDataset) or dataset.path.resolve().is_relative_to(root.resolve()):
        return dataset.name.replace("/", "_")
    path = dataset.path.resolve()
    if path.is_relative_to(Path.cwd()) and path != Path.cwd():
        return plain_text.name_of_path(path.relative_to(Path.cwd())).replace("/", "_")
    return f"{dataset.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:6]}"


def _mesh_by_mesh(codings: list[CodingUnit]) -> list[CodingUnit]:
    """Order by mesh, then codec, then rate; sets come last.

    Codings of one mesh then share the samples of that mesh, and a run that is stopped early has complete meshes.
    """
    position: dict[tuple[str, str], int] = {}
    for unit in codings:
        position.setdefault((unit.dataset, unit.meshes[0].source.mesh), len(position))
    return sorted(
        codings,
        key=lambda c: (c.kind == "set", position[c.dataset, c.meshes[0].source.mesh] if c.kind == "model" else 0),
    )


def _resolve_codecs(addresses: Sequence[str]) -> _Codecs:
    chosen = _Codecs()
    seen: set[str] = set()
    for address in addresses:
        every = address == "all"
        for one in CODECS.names() if every else [address]:
            name, params = split_address(one, "codec")
            canonical = f"{name}[{','.join(f'{k}={v}' for k, v in sorted(params.items()))}]" if params else name
            if canonical in seen:
                continue
            seen.add(canonical)
            try:
                codec = CODECS.create(canonical)
                available = codec.availability()
                codec.version()
            except Exception as error:  # a third-party codec that is broken in any way must not take `all` down
                if not every or CODECS.is_builtin(name):
                    raise
                reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                chosen.unavailable.append(Unavailable(canonical, reason, "see: bench list codecs"))
                continue
            if available.ok:
                chosen.runnable.append((canonical, codec))
            elif every:
                chosen.unavailable.append(Unavailable(canonical, available.reason, available.remedy))
            else:
                raise CodecUnavailable(f"codec '{canonical}' cannot run here: {available.reason}", available.remedy)
    if not chosen.runnable:
        raise UsageError("no codec to run; see: bench list codecs")
    return chosen


def _ladder(address: str, codec: Codec, effort: Effort, only: Sequence[str]) -> list[tuple[int, Rate]]:
    ladder = list(codec.rates(effort))
    labels = [rate.label for rate in ladder]
    if len(set(labels)) != len(labels):
        raise UsageError(f"codec '{address}' has two rates of the same label: {labels}")
    return [(index, rate) for index, rate in enumerate(ladder) if not only or rate.label in only]


def _of_files(meshes: Iterable[PlannedMesh]) -> list[str]:
    """What the readers did to the files, one line for each kind."""
    read = [mesh for mesh in meshes if mesh.problem is None]
    cut = [mesh.polygons for mesh in read if mesh.polygons]
    lines = []
    if cut:
        lines.append(
            f"{_meshes(len(cut))} faces larger than a triangle, {sum(cut)} in all, which were cut into triangles"
        )
    left = Counter(what for mesh in read if mesh.dropped for what in mesh.dropped.split(", "))
    if left:
        of = sum(1 for mesh in read if mesh.dropped)
        counts = ", ".join(f"{what} ({count})" for what, count in sorted(left.items()))
        lines.append(f"{_meshes(of)} content that is left out, and that counts in source_bytes: {counts}")
    remarks = Counter(mesh.remarks for mesh in read if mesh.remarks)
    return lines + [f"{_meshes(count)} a remark of the reader: {what}" for what, count in sorted(remarks.items())]


def _meshes(count: int) -> str:
    return "1 mesh has" if count == 1 else f"{count} meshes have"


def _select(
    datasets: Sequence[Dataset], splits: Sequence[Split], root: Path, *, allow_missing: bool
) -> list[Selection]:
    selected = []
    for dataset, split in zip(datasets, splits, strict=True):
        dataset.require_split(split)
        selection = dataset.select(split, root)
        if selection.missing and not allow_missing:
            shown = ", ".join(m.mesh for m in selection.missing[:3])
            raise DatasetMissing(
                f"{len(selection.missing)} of {len(selection.missing) + len(selection.sources)} meshes of "
                f"{dataset.name}/{split} are not here ({shown}{', ...' if len(selection.missing) > 3 else ''})",
                f"{selection.remedy}; or go on without them: --allow-missing",
            )
        if not selection.sources:
            raise DatasetMissing(f"no mesh of {dataset.name}/{split} is here", selection.remedy)
        selected.append(selection)
    return selected
