"""Mixed: humans, animals and CAD models, 200 of each in the published size. Knows the three, not their layouts."""

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
DRAW_SEED = 0  # never to be changed: it decides what "mixed/paper" means


class Mixed(Dataset):
    """AMA, DT4D and Thingi10K in one set. Ids are ``ama/…``, ``dt4d/…`` and ``thingi10k/…``.

    The authors' own draw is not published. This one does not depend on any library's random generator: the lines of
    each published list are sorted by the SHA-256 of ``"<seed>:<dataset>:<line>"``, and the first 200 are taken.
    Meshes of the three alternate, so that the first N of the set (``--limit N``) are a draw of the same kind.
    """

    name = "mixed"
    folders = (*Ama.folders, *Dt4d.folders, *Thingi10k.folders)

    def __init__(self) -> None:
        self._parts: tuple[PublishedDataset, ...] = (Ama(), Dt4d(), Thingi10k())

    def describe(self) -> str:
        """One line: what it is and where it comes from."""
        return f"Mixed: AMA, DT4D and Thingi10K together; {MESHES_OF_EACH} of each in the split paper"

    def select(self, split: Split, root: Path | None) -> Selection:
        """Resolve a split; ``all`` is what is found of the three, and says in ``remedy`` which of them is not here."""
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
        return replace(source, dataset=self.name, mesh=f"{source.dataset}/{source.mesh}")


def draw(dataset: str, lines: Iterable[str], count: int = MESHES_OF_EACH) -> tuple[str, ...]:
    """Draw lines of a list without repetition: the same on every machine and for every version of anything."""
    ranked = sorted(lines, key=lambda line: hashlib.sha256(f"{DRAW_SEED}:{dataset}:{line}".encode()).digest())
    return tuple(ranked[:count])


def _alternate(groups: Iterable[tuple[MeshSource, ...]]) -> Iterable[MeshSource]:
    return (source for source in chain.from_iterable(zip_longest(*groups)) if source is not None)
