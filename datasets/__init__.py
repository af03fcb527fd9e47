"""Sources of meshes: published datasets, folders, and built-in generated meshes (minis); read and normalised."""

from gcbench.datasets.base import SPLITS, Dataset, MeshSource, MissingMesh, Motion, Selection, Split
from gcbench.datasets.loading import LoadedMesh, load
from gcbench.datasets.places import cache_dir, data_root
from gcbench.datasets.registry import DATASETS, open_dataset

__all__ = [
    "DATASETS",
    "SPLITS",
    "Dataset",
    "LoadedMesh",
    "MeshSource",
    "MissingMesh",
    "Motion",
    "Selection",
    "Split",
    "cache_dir",
    "data_root",
    "load",
    "open_dataset",
]
