"""Any folder of mesh files as a dataset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gcbench import plain_text
from gcbench.datasets.base import Dataset, MeshSource, Selection, Split
from gcbench.datasets.sequences import FILE, motions
from gcbench.errors import DatasetMissing, UsageError
from gcbench.geometry import files as readers

_SHOWN = 5  # unreadable folders, and kinds of files, that a note names


class FolderDataset(Dataset):
    """Every mesh file in a folder and its subfolders, except hidden ones; ``name`` is the name in results.

    The name of a mesh is its path in the folder without suffix (``cat-poses/cat-02``); if two files differ only in the
    suffix, both names keep the suffix. Characters that cannot be printed are escaped
    (:func:`gcbench.plain_text.name_of_path`). Meshes are ordered by name.

    What cannot be used is a mesh too, and ends as bad input: a link to nothing, a named pipe. Folders that cannot be
    listed, and files of other formats, are in the notes of the selection.

    Meshes beside a file ``sequence.toml`` are the frames of a sequence (:mod:`gcbench.datasets.sequences`), which has
    the path of its folder as name, and come in the order of the motion.
    """

    splits = ("all",)
    default_split = "all"

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def require_split(self, split: Split) -> None:
        """Raise UsageError for any split but ``all``."""
        if split not in self.splits:
            raise UsageError(f"'{self.name}' is a folder ({self.path}) and has no split '{split}', only 'all'")

    def select(self, split: Split, root: Path | None) -> Selection:
        """Find the mesh files; see :meth:`Dataset.select`. Raises UsageError for a wrong ``sequence.toml``."""
        self.require_split(split)
        found = search(self.path)
        files = {plain_text.name_of_path(path.relative_to(self.path)): path for path in found.meshes}
        stems = Counter(relative.rpartition(".")[0] for relative in files)
        named = {}
        for relative, path in files.items():
            stem = relative.rpartition(".")[0]
            named[stem if stems[stem] == 1 and stem not in files else relative] = path
        notes = tuple(_notes(self.name, found))
        if not named:
            raise DatasetMissing(
                "; ".join([f"no mesh files in {self.path}", *notes]),
                f"a folder dataset needs files with {', '.join(readers.SUFFIXES)}",
            )
        frames = motions(named.values(), self._sequence)
        sources = [MeshSource(self.name, mesh, path, motion=frames.get(path)) for mesh, path in sorted(named.items())]
        return Selection(tuple(_in_order(sources)), notes=notes)

    def _sequence(self, folder: Path) -> str:
        """Name of the sequence in a folder: its path, which is ``.`` for the folder of the dataset."""
        return plain_text.name_of_path(folder.relative_to(self.path))

    def describe(self) -> str:
        """One line: which folder."""
        return f"folder {self.path}"


def _in_order(sources: Sequence[MeshSource]) -> Iterable[MeshSource]:
    """The meshes in their order, but the frames of each sequence, among their places, in the order of the motion."""
    frames: dict[str, list[MeshSource]] = {}
    for source in sources:
        if source.motion is not None:
            frames.setdefault(source.motion.sequence, []).append(source)
    next_frame = {name: iter(sorted(of, key=_frame)) for name, of in frames.items()}
    return (source if source.motion is None else next(next_frame[source.motion.sequence]) for source in sources)


def _frame(source: MeshSource) -> int:
    return source.motion.frame if source.motion is not None else 0


@dataclass
class Found:
    """What is in a folder and its subfolders."""

    meshes: list[Path] = field(default_factory=list)  # names of mesh files, whatever is behind them
    others: Counter[str] = field(default_factory=Counter)  # suffix → number of other files
    unlisted: list[tuple[Path, str]] = field(default_factory=list)  # folders that cannot be listed, and why


def search(folder: Path) -> Found:
    """Find every file in a folder and its subfolders, hidden ones left out; links are followed, but not in a circle."""
    found = Found()
    seen: set[str] = set()

    def unlisted(error: OSError) -> None:
        found.unlisted.append((Path(error.filename or folder), error.strerror or str(error)))

    for parent, subfolders, files in os.walk(folder, onerror=unlisted, followlinks=True):
        here = os.path.realpath(parent)
        if here in seen:
            subfolders.clear()
            continue
        seen.add(here)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            suffix = Path(name).suffix.lower()
            if name == FILE:
                continue
            if suffix in readers.SUFFIXES:
                found.meshes.append(Path(parent, name))
            else:
                found.others[suffix] += 1
    return found


def _notes(name: str, found: Found) -> Iterable[str]:
    for path, why in found.unlisted[:_SHOWN]:
        yield f"the folder {path} cannot be listed: {why}; meshes in it are left out"
    if len(found.unlisted) > _SHOWN:
        yield f"{len(found.unlisted) - _SHOWN} more folders cannot be listed; meshes in them are left out"
    if found.others:
        count = found.others.total()
        kinds = [
            f"{n} {plain_text.visible(suffix[:12])}" if suffix else f"{n} without suffix"
            for suffix, n in found.others.most_common(_SHOWN)
        ]
        more = len(found.others) - len(kinds)
        kinds += [f"{count - sum(n for _, n in found.others.most_common(_SHOWN))} of other kinds"] if more else []
        yield f"{name}: {count} other file{'' if count == 1 else 's'}: {', '.join(kinds)}"
