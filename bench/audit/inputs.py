"""Check the input meshes of a run: whether they are on this machine, with the recorded hashes and sizes.

`gcbench.bench.run.kept.KeptInputs` finds the files; this module compares them with the records.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from gcbench.bench.audit.consistency import Finding, where
from gcbench.bench.plan.inventory import Inventory
from gcbench.bench.plan.planning import Progress
from gcbench.bench.plan.units import PlannedMesh
from gcbench.bench.run.kept import KeptInputs, NotHere
from gcbench.bench.store.records import Record
from gcbench.datasets import MeshSource, cache_dir, data_root, load, open_dataset
from gcbench.datasets.base import Split
from gcbench.errors import BadMesh, DatasetMissing

MeshKey = tuple[str, str, str]  # dataset, split, mesh
_NOWHERE = MeshSource("", "", Path())


@dataclass(frozen=True)
class InputCheck:
    """The result of checking input meshes."""

    meshes: set[MeshKey]  # of all records
    intact: dict[MeshKey, MeshSource] = field(default_factory=dict)  # with the recorded hash, or still unusable
    differs: list[Finding] = field(default_factory=list)
    unchecked: list[Finding] = field(default_factory=list)  # not on this machine


class Inputs(Protocol):
    """Where input meshes are found, as in :class:`gcbench.bench.run.kept.KeptInputs`."""

    def split(self, dataset: str, split: str) -> Mapping[str, MeshSource]:
        """Mesh → file of one split of a dataset. Raises NotHere without the dataset."""


class InputsByHash:
    """Input meshes by name, where a file with that name has the right content; else by hash, in some datasets.

    Parameters
    ----------
    named : KeptInputs
        Finds meshes by name.
    records : iterable of Record
        With the hashes of the meshes.
    datasets : sequence of str
        Names of datasets, or folders.
    data : Path or None
        Data root.
    progress : callable
        Called for every mesh that is hashed.

    Raises
    ------
    UsageError, DatasetMissing
        One of the datasets cannot be opened.
    """

    def __init__(
        self,
        named: KeptInputs,
        records: Iterable[Record],
        datasets: Sequence[str],
        data: Path | None,
        progress: Progress,
    ) -> None:
        self._named = named
        self.copies: set[MeshKey] = set()  # found by hash: another file may hold the same mesh
        self._hashes: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for r in records:
            self._hashes[r.dataset, r.split].setdefault(r.mesh, r.input_sha256 or "")
        sources = [source for name in datasets for source in _all_meshes(name, data)]
        self._found: dict[str, PlannedMesh] = {}
        self._sources = {(source.dataset, source.mesh): source for source in sources}
        with contextlib.closing(Inventory(cache_dir())) as inventory:
            for done, source in enumerate(sources):
                progress(done, len(sources), source.mesh)
                mesh = inventory.read(source)
                self._found.setdefault(mesh.sha256, mesh)

    def split(self, dataset: str, split: str) -> Mapping[str, MeshSource]:
        """See :class:`Inputs`."""
        try:
            named = dict(self._named.split(dataset, split))
        except NotHere:
            named = {}
        for mesh, sha256 in self._hashes[dataset, split].items():
            if mesh not in named and (dataset, mesh) in self._sources:
                named[mesh] = self._sources[dataset, mesh]
            if (
                sha256
                and sha256 in self._found
                and self._found[sha256].source.path != (named.get(mesh) or _NOWHERE).path
            ):
                named[mesh] = replace(self._found[sha256].source, dataset=dataset, mesh=mesh)
                self.copies.add((dataset, split, mesh))
        return named


def _all_meshes(name: str, data: Path | None) -> Sequence[MeshSource]:
    """The meshes of the largest split of a dataset or folder."""
    root = data_root(data)
    dataset = open_dataset(name, root)
    split: Split = "all" if "all" in dataset.splits else dataset.splits[-1]
    return dataset.select(split, root).sources


def mesh_key(record: Record) -> MeshKey:
    """Name the mesh of a record."""
    return record.dataset, record.split, record.mesh


def check_inputs(records: Iterable[Record], inputs: Inputs, progress: Progress) -> InputCheck:
    """Check every input mesh that is on this machine: hash, sizes, and that a bad mesh is still bad."""
    of_mesh: dict[MeshKey, list[Record]] = defaultdict(list)
    for r in records:
        of_mesh[mesh_key(r)].append(r)
    found = InputCheck(set(of_mesh))
    here: dict[tuple[str, str], Mapping[str, MeshSource]] = {}
    for dataset, split in sorted({(d, s) for d, s, _ in of_mesh}):
        try:
            here[dataset, split] = inputs.split(dataset, split)
        except NotHere as error:
            found.unchecked.append(Finding("data", f"{dataset}/{split}", str(error)))
    missing: Counter[str] = Counter()
    for done, ((dataset, split, mesh), its_records) in enumerate(sorted(of_mesh.items())):
        progress(done, len(of_mesh), f"{dataset}/{mesh}")
        if (dataset, split) not in here:
            continue
        source = here[dataset, split].get(mesh)
        if source is None:
            missing[dataset] += 1
            continue
        copy = isinstance(inputs, InputsByHash) and (dataset, split, mesh) in inputs.copies
        findings = list(_check(source, its_records, copy=copy))
        found.differs.extend(findings)
        if not any(finding.what == "input" for finding in findings):
            found.intact[dataset, split, mesh] = source
    for dataset, count in missing.items():
        found.unchecked.append(Finding("data", dataset, f"{count} meshes of the run are not on this machine"))
    return found


def _check(source: MeshSource, records: Sequence[Record], *, copy: bool) -> Iterator[Finding]:
    first = records[0]
    subject = f"{first.dataset}/{first.mesh}"
    try:
        loaded = load(source, cache_dir())
    except (BadMesh, DatasetMissing) as error:
        if any(r.status != "bad-input" for r in records):
            yield Finding("input", subject, f"was coded, but cannot be used now: {error}")
        return
    if any(r.status == "bad-input" for r in records):
        yield Finding("input", subject, "was recorded as unusable, but can be used now")
        return
    changed = [r for r in records if r.input_sha256 != loaded.sha256]
    if changed:
        was = (changed[0].input_sha256 or "nothing")[:12]
        of = f"{len(changed)} of {len(records)} records"
        yield Finding("input", subject, f"has the hash {loaded.sha256[:12]}, but {of} have {was} ({source.path})")
        return
    true = {
        "vertices": len(loaded.mesh.vertices),
        "faces": len(loaded.mesh.faces),
        "obj_bytes": loaded.obj_bytes,
        "raw_bytes": loaded.raw_bytes,
    } | ({} if copy else {"source_bytes": loaded.source_bytes})
    for r in records:
        for name, value in true.items():
            if getattr(r, name) != value:
                yield Finding("size", where(r), f"{name} is recorded as {getattr(r, name)!r}, it is {value!r}")
