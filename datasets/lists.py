"""The selection lists of the NeCGS paper, which define the split ``paper``: downloaded and checked, never committed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gcbench.datasets.regular import read_regular
from gcbench.errors import DatasetMissing

FOLDER = "official_lists"
# Source: github.com/rsy6318/NeCGS, the authors' code for the paper, folder data/.
COMMIT = "55a64b02c0fc744ae8e3fc9cd81ac719abc16faa"


@dataclass(frozen=True)
class OfficialList:
    """One published list."""

    file: str  # such as "AMA.txt"
    sha256: str  # of the file at the commit above
    lines: int  # number of meshes

    @property
    def url(self) -> str:
        """Address of the list at the commit."""
        return f"https://raw.githubusercontent.com/rsy6318/NeCGS/{COMMIT}/data/{self.file}"


LISTS = {
    "ama": OfficialList("AMA.txt", "d89b533bf64f631859a20f44aba59963ccc5b93746c3664c3249e680a3543b86", 500),
    "dt4d": OfficialList("DT4D.txt", "5fe36f55e28a017e1aade074ec46e6a771333aa593ed23713e4a9a2e65c34ead", 500),
    "thingi10k": OfficialList(
        "thingi10k.txt", "9dd097500f2cbfa32d0d1b61baf8fe7e02f7699e1a75eed041911471e38dc95a", 1000
    ),
}


def official_list(dataset: str, root: Path | None, cache: Path) -> tuple[str, ...]:
    """Lines of a published list, from the folder ``official_lists`` of the data root, else of the cache.

    Raises
    ------
    DatasetMissing
        The list is not here, or the file has another checksum.
    """
    spec = LISTS[dataset]
    folders = [folder / FOLDER for folder in (root, cache) if folder is not None]
    for path in (folder / spec.file for folder in folders):
        if not path.is_file():
            continue
        data = _read(path)
        found = hashlib.sha256(data).hexdigest()
        if found != spec.sha256:
            raise DatasetMissing(
                f"{path} is not the published list: its SHA-256 is {found}, expected {spec.sha256}",
                "delete it, then: bench data fetch lists",
            )
        return tuple(data.decode("ascii").split("\n")[:-1])
    raise DatasetMissing(f"the published selection list {spec.file} is not here", "get it with: bench data fetch lists")


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise DatasetMissing(f"{path} cannot be read: {error.strerror or error}", "make it readable") from error
