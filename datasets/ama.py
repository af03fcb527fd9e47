"""AMA, Articulated Mesh Animation (Vlasic et al. 2008): ten sequences of human performances."""

from __future__ import annotations

import re
from pathlib import Path

from gcbench.datasets.base import MeshSource, Motion
from gcbench.datasets.published import PublishedDataset

# Name in the published list → name of the official tar. march1 and squat1 are the I_ recordings, since they have the
# connectivity of crane and jumping; so march2 and squat2 are the D_ recordings.
OFFICIAL_NAMES = {
    "bouncing": "D_bouncing",
    "crane": "I_crane",
    "handstand": "D_handstand",
    "jumping": "I_jumping",
    "march1": "I_march",
    "march2": "D_march",
    "samba": "T_samba",
    "squat1": "I_squat",
    "squat2": "D_squat",
    "swing": "T_swing",
}
_MESH = re.compile(r"mesh_(\d{1,9})\.obj")


class Ama(PublishedDataset):
    """Articulated Mesh Animation. Mesh names are ``<sequence>/mesh_NNNN`` with sequence names of the published list.

    Layouts, under ``ama/``, ``AMA/`` or the data root itself: ``<sequence>/mesh_NNNN.obj``,
    ``<sequence>/meshes/mesh_NNNN.obj``, and the same under the official tar names (``I_crane``, ``D_march``, …).
    If a mesh exists twice, the first in this order is taken. Other sequences are ignored. Each mesh is a frame of its
    sequence (:class:`Motion`), and NNNN is its number.
    """

    name = "ama"
    folders = ("ama", "AMA")
    title = "AMA: humans in motion, 10 sequences (Vlasic et al. 2008, Articulated Mesh Animation)"
    remedy = "get it with: bench data fetch ama"

    def found(self, root: Path) -> dict[str, MeshSource]:
        """Every frame of the ten sequences."""
        meshes: dict[str, MeshSource] = {}
        for sequence, official in OFFICIAL_NAMES.items():
            frames: dict[str, MeshSource] = {}
            for base in self.bases(root):
                for folder in (base / name / inner for name in (sequence, official) for inner in ("", "meshes")):
                    for path in folder.glob("mesh_*.obj"):
                        mesh = f"{sequence}/{path.stem}"
                        if found := _MESH.fullmatch(path.name):
                            motion = Motion(sequence, int(found[1]))
                            frames.setdefault(mesh, MeshSource(self.name, mesh, path, motion=motion))
            meshes.update(sorted(frames.items()))
        return meshes

    def mesh_of_line(self, line: str) -> str:
        """``march2,mesh_0123.obj`` → ``march2/mesh_0123``."""
        sequence, _, file = line.partition(",")
        return f"{sequence}/{file.removesuffix('.obj')}"
