"""The registry of datasets, and folders as datasets. Built-in datasets are imported at first use."""

from __future__ import annotations

import contextlib
import difflib
import os
from pathlib import Path

from gcbench import plain_text
from gcbench.datasets.base import Dataset
from gcbench.datasets.folder import FolderDataset
from gcbench.datasets.regular import is_file, is_folder
from gcbench.errors import UsageError
from gcbench.registry import Registry

DATASETS: Registry[Dataset] = Registry(
    base=Dataset,  # type: ignore[type-abstract]  # a registry of subclasses is what an abstract base is for
    noun="dataset",
    builtins={
        "ama": "gcbench.datasets.ama:Ama",
        "dt4d": "gcbench.datasets.dt4d:Dt4d",
        "thingi10k": "gcbench.datasets.thingi10k:Thingi10k",
        "mixed": "gcbench.datasets.mixed:Mixed",
    },
    group="gcbench.datasets",
)


def open_dataset(name_or_path: str, root: Path | None = None) -> Dataset:
    """The dataset with a registered name, or a folder as a dataset.

    Parameters
    ----------
    name_or_path : str
        A name such as ``ama``; or a folder: absolute, relative to the working directory, or relative to the data root.
        Write ``./ama`` for a folder with the name of a dataset.
    root : Path or None
        The data root.

    Raises
    ------
    UsageError
        There is neither a dataset nor a folder of that name.
    """
    if _is_registered(name_or_path):
        return DATASETS.create(name_or_path)
    # Results and experiment files have names with escapes.
    unescaped = plain_text.path_of_name(name_or_path)
    for place in (place for given in dict.fromkeys([name_or_path, unescaped]) for place in _places(given, root)):
        if is_folder(place):
            # Absolute: workers may have another working directory.
            return FolderDataset(place.absolute(), _folder_name(place, root))
        if is_file(place):
            raise UsageError(f"'{name_or_path}' is a file; give the folder that it is in")
    folders: list[str] = []
    if root is not None:
        with contextlib.suppress(OSError):
            folders = sorted(p.name for p in root.iterdir() if p.is_dir())
    close = difflib.get_close_matches(name_or_path, [*DATASETS.names(), *folders], n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"datasets: {', '.join(DATASETS.names())}"
    raise UsageError(f"'{name_or_path}' is neither a dataset nor a folder; {hint}")


def split_names(text: str, root: Path | None = None) -> list[str]:
    """Split names of datasets at commas, but not at the commas of a folder that is there.

    Example: with a folder ``parts, old``, the text ``ama,parts, old`` names two datasets. Where every part is a dataset
    or a folder by itself, the parts count.
    """
    parts = text.split(",")
    names: list[str] = []
    start = 0
    while start < len(parts):
        end = start + 1
        if not _is_there(parts[start].strip(), root):
            longer = range(len(parts), start + 1, -1)
            end = next((e for e in longer if _is_there(",".join(parts[start:e]).strip(), root)), end)
        names.append(",".join(parts[start:end]).strip())
        start = end
    return [name for name in names if name]


def _is_there(name: str, root: Path | None) -> bool:
    return bool(name) and (_is_registered(name) or any(map(os.path.isdir, _places(name, root))))


def _is_registered(name: str) -> bool:
    return name.partition("[")[0].strip() in DATASETS.names()


def _places(name: str, root: Path | None) -> list[Path]:
    try:
        given = Path(name).expanduser()
    except RuntimeError:  # ~NOBODY
        given = Path(name)
    return [given] if root is None or given.is_absolute() else [given, root / given]


def _folder_name(folder: Path, root: Path | None) -> str:
    """Path relative to the data root, else the name of the folder; never the name of a registered dataset."""
    resolved = folder.resolve()
    name = resolved.name or "folder"
    if root is not None and root.resolve() in resolved.parents:
        name = resolved.relative_to(root.resolve()).as_posix()
    # Results of a folder called `ama` must not look like results on AMA.
    return f"folder-{name}" if name in DATASETS.names() else plain_text.name_of_path(name)
