"""DeformingThings4D (Li et al. 2021): animated animals and humanoids."""

from __future__ import annotations

from pathlib import Path

from gcbench.datasets.anime import AnimeFile
from gcbench.datasets.base import MeshSource, Motion
from gcbench.datasets.published import PublishedDataset
from gcbench.errors import BadMesh

GROUPS = ("animals", "humanoids")


class Dt4d(PublishedDataset):
    """DeformingThings4D. Mesh names are ``<object>_<action>/NNNN``, frames counted from 0000.

    Layout, under ``dt4d/``, ``DT4D/``, ``DeformingThings4D/`` or the data root itself:
    ``animals/<object>_<action>/<object>_<action>.anime`` and ``humanoids/…``.

    Each mesh is a frame of its animation (:class:`Motion`).

    The split ``all`` has every frame of every animation: more than a hundred thousand meshes in the full release. An
    animation with an unreadable header counts as one frame 0000, which becomes a bad-input record.
    """

    name = "dt4d"
    folders = ("dt4d", "DT4D", "DeformingThings4D")
    title = "DeformingThings4D: animated animals and humanoids (Li et al. 2021); released through a form"
    remedy = (
        "request the download with the form at https://github.com/rabbityl/DeformingThings4D, "
        "then: bench data import dt4d FOLDER"
    )

    def animations(self, root: Path) -> dict[str, Path]:
        """Every ``.anime`` file: name of the animation → file, animals before humanoids."""
        files: dict[str, Path] = {}
        for folder in (base / group for group in GROUPS for base in self.bases(root)):
            for path in sorted(folder.glob("*/*.anime")):
                if path.stem == path.parent.name:
                    files.setdefault(path.stem, path)
        return files

    def found(self, root: Path) -> dict[str, MeshSource]:
        """Every frame of every animation."""
        meshes: dict[str, MeshSource] = {}
        for name, path in self.animations(root).items():
            try:
                n_frames = AnimeFile(path).n_frames
            except (BadMesh, OSError):
                n_frames = 1
            for frame in range(n_frames):
                mesh = f"{name}/{frame:04d}"
                meshes[mesh] = MeshSource(self.name, mesh, path, frame, Motion(name, frame))
        return meshes

    def mesh_of_line(self, line: str) -> str:
        """``bear9AK_WalkforwardRM 0005.obj`` → ``bear9AK_WalkforwardRM/0005``."""
        animation, _, file = line.partition(" ")
        return f"{animation}/{file.removesuffix('.obj')}"

    def absent_remedy(self, root: Path | None) -> str:
        """How to get the dataset; also says so if the folder ``animals`` is another dataset."""
        if root is not None and (root / "animals").is_dir() and not self.animations(root):
            return (
                f"{self.remedy}; {root / 'animals'} holds no .anime file, so it is not DeformingThings4D, "
                "but it can be run as a folder: --dataset animals"
            )
        return self.remedy
