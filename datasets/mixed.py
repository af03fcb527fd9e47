"""Mixed: humans (AMA), animals (DT4D) and CAD models (Thingi10K) in one dataset, 200 of each in the split ``paper``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

from gcbench.datasets.ama import Ama
from gcbench.datasets.base import Dataset, MeshSource, MissingMesh, Selection, Split
from gcbench.datasets.dt4d import Dt4d
from gcbench.datasets.places import cache_dir
from gcbench.datasets.published import PublishedDataset
from gcbench.datasets.thingi10k import Thingi10k
from gcbench.errors import DatasetMissing

MESHES_OF_EACH = 200
DRAW_SEED = 0  # must never change: it defines "mixed/paper"


class Mixed(Dataset):
    """AMA, DT4D and Thingi10K in one dataset. Mesh names are ``ama/…``, ``dt4d/…`` and ``thingi10k/…``.

    The authors' selection is not published. This one does not depend on a random generator: the lines of each published
    list are sorted by the SHA-256 of ``"<seed>:<dataset>:<line>"``, and the first 200 are taken. Meshes of the three
    alternate, so that the first N (``--limit N``) are a mixture too.
    """

    name = "mixed"
    folders = (*Ama.folders, *Dt4d.folders, *Thingi10k.folders)

    def __init__(self) -> None:
        self._parts: tuple[PublishedDataset, ...] = (Ama(), Dt4d(), Thingi10k())

    def describe(self) -> str:
        """One line for ``bench list datasets``."""
        return f"Mixed: AMA, DT4D and Thingi10K together; {MESHES_OF_EACH} of each in the split paper"

    def select(self, split: Split, root: Path | None) -> Selection:
        """Resolve a split; ``all`` has what is on this machine, and ``remedy`` says which of the three is missing."""
        self.require_split(split)
        if split == "mini":
            from gcbench.datasets.minis import mini_sources

            return Selection(mini_sources(self.name, cache_dir()))
        if split == "paper":
            selections = [part.pick(draw(part.name, part.published(root)), root) for part in self._parts]
            remedies = [s.remedy for s in selections if s.remedy]
        else:
            selections, remedies = [], []
            for part in self._parts:
                try:
                    selections.append(part.select("all", root))
                except DatasetMissing as error:
                    remedies.append(str(error))
            if not selections:
                raise DatasetMissing(f"no ama, dt4d or thingi10k meshes {PublishedDataset.where(root)}", remedies[0])
        return Selection(
            tuple(self._own(s) for s in _alternate(selection.sources for selection in selections)),
            tuple(
                MissingMesh(self.name, f"{m.dataset}/{m.mesh}") for selection in selections for m in selection.missing
            ),
            "; ".join(remedies),
        )

    def _own(self, source: MeshSource) -> MeshSource:
        motion = source.motion
        if motion is not None:
            motion = replace(motion, sequence=f"{source.dataset}/{motion.sequence}")
        return replace(source, dataset=self.name, mesh=f"{source.dataset}/{source.mesh}", motion=motion)


def draw(dataset: str, lines: Iterable[str], count: int = MESHES_OF_EACH) -> tuple[str, ...]:
    """Draw lines of a list: the same ones on every machine and with every version of Python."""
    ranked = sorted(lines, key=lambda line: hashlib.sha256(f"{DRAW_SEED}:{dataset}:{line}".encode()).digest())
    return tuple(ranked[:count])


def _alternate(groups: Iterable[tuple[MeshSource, ...]]) -> Iterable[MeshSource]:
    return (source for source in chain.from_iterable(zip_longest(*groups)) if source is not None)
