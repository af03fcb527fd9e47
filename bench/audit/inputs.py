"""Check the input meshes of a run: whether they are on this machine, with the recorded hashes and sizes.

`gcbench.bench.run.kept.KeptInputs` finds the files; this module compares them with the records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gcbench.bench.audit.consistency import Finding, where
from gcbench.bench.plan.planning import Progress
from gcbench.bench.run.kept import KeptInputs, NotHere
from gcbench.bench.store.records import Record
from gcbench.datasets import MeshSource, cache_dir, load
from gcbench.errors import BadMesh, DatasetMissing

MeshKey = tuple[str, str, str]  # dataset, split, mesh


@dataclass(frozen=True)
class InputCheck:
    """The result of checking input meshes."""

    meshes: set[MeshKey]  # of all records
    intact: dict[MeshKey, MeshSource] = field(default_factory=dict)  # with the recorded hash, or still unusable
    differs: list[Finding] = field(default_factory=list)
    unchecked: list[Finding] = field(default_factory=list)  # not on this machine


def mesh_key(record: Record) -> MeshKey:
    """Name the mesh of a record."""
    return record.dataset, record.split, record.mesh


def check_inputs(records: Iterable[Record], inputs: KeptInputs, progress: Progress) -> InputCheck:
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
        findings = list(_check(source, its_records))
        found.differs.extend(findings)
        if not any(finding.what == "input" for finding in findings):
            found.intact[dataset, split, mesh] = source
    for dataset, count in missing.items():
        found.unchecked.append(Finding("data", dataset, f"{count} meshes of the run are not on this machine"))
    return found


def _check(source: MeshSource, records: Sequence[Record]) -> Iterator[Finding]:
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
        "source_bytes": loaded.source_bytes,
    }
    for r in records:
        for name, value in true.items():
            if getattr(r, name) != value:
                yield Finding("size", where(r), f"{name} is recorded as {getattr(r, name)!r}, it is {value!r}")
