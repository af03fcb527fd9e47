"""The registry of datasets, and folders as datasets. Built-in datasets are imported at first use."""

from __future__ import annotations

import difflib
from pathlib import Path

from gcbench.datasets.base import Dataset
from gcbench.datasets.folder import FolderDataset
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
    if name_or_path.partition("[")[0].strip() in DATASETS.names():
        return DATASETS.create(name_or_path)
    given = Path(name_or_path).expanduser()
    places = [given] if root is None or given.is_absolute() else [given, root / given]
    for place in places:
        if place.is_dir():
            # Absolute: workers may have another working directory.
            return FolderDataset(place.absolute(), _folder_name(place, root))
        if place.is_file():
            raise UsageError(f"'{name_or_path}' is a file; give the folder that it is in")
    folders = sorted(p.name for p in root.iterdir() if p.is_dir()) if root is not None and root.is_dir() else []
    close = difflib.get_close_matches(name_or_path, [*DATASETS.names(), *folders], n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"datasets: {', '.join(DATASETS.names())}"
    raise UsageError(f"'{name_or_path}' is neither a dataset nor a folder; {hint}")


def _folder_name(folder: Path, root: Path | None) -> str:
    """Path relative to the data root, else the name of the folder; never the name of a registered dataset."""
    resolved = folder.resolve()
    name = resolved.name or "folder"
    if root is not None and root.resolve() in resolved.parents:
        name = resolved.relative_to(root.resolve()).as_posix()
    # Results of a folder called `ama` must not look like results on AMA.
    return f"folder-{name}" if name in DATASETS.names() else name
