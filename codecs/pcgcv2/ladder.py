"""Finds, reads and publishes the files of weights of the rates, and computes the fingerprints that streams carry."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import CodecUnavailable
from gcbench.training.weight_files import fingerprint

if TYPE_CHECKING:
    from gcbench.codecs.pcgcv2.network import PCGCv2

ENVIRONMENT = "GCBENCH_PCGCV2_WEIGHTS"
_SHIPPED = Path(__file__).parent / "rates"
_SUFFIX = ".safetensors"
_TABLES = "tables"
_LABEL = re.compile(r"r[1-9][0-9]{0,2}")


@dataclass(frozen=True)
class Weights:
    """Weights of one rate.

    Parameters
    ----------
    model : PCGCv2
        Network for inference, in single precision.
    tables : (8, 257) uint16
        Frequencies of the quantised features, see ``features.frequency_tables``.
    """

    model: PCGCv2
    tables: NDArray[np.uint16]


def folder() -> Path:
    """Folder of the files: the value of the environment variable GCBENCH_PCGCV2_WEIGHTS, or else the shipped one."""
    return Path(os.environ.get(ENVIRONMENT) or _SHIPPED)


def files() -> dict[str, Path]:
    """Files by rate label, low to high quality: r1, r2, ..."""
    found = [path for path in folder().glob(f"r*{_SUFFIX}") if _LABEL.fullmatch(path.stem) and path.is_file()]
    return {path.stem: path for path in sorted(found, key=lambda path: int(path.stem[1:]))}


def fingerprints() -> dict[bytes, Path]:
    """Files by fingerprint."""
    return {fingerprint(path): path for path in files().values()}


def publish(trained: Path, path: Path) -> None:
    """Write trained weights with the integer tables of their entropy model.

    The tables are computed once, from the rounded weights of the file, so that all users of the file have equal tables.

    Raises
    ------
    CodecUnavailable
        `trained` is not a file of weights.
    """
    import torch

    from gcbench.codecs.pcgcv2.weights import load_weights, read_tensors
    from gcbench.training.checkpoints import write_tensors
    from gcbench.training.sparse.features import frequency_tables

    model, card = load_weights(trained)
    tensors, _ = read_tensors(trained)
    write_tensors(path, {**tensors, _TABLES: torch.from_numpy(frequency_tables(model.bottleneck))}, card)


def load(path: Path) -> Weights:
    """Read a published file, or return the cached weights if the file has not changed.

    Raises
    ------
    CodecUnavailable
        The file is missing or not a file of this codec.
    """
    return _load(path, fingerprint(path))


@lru_cache(maxsize=16)
def _load(path: Path, _fingerprint: bytes) -> Weights:
    from gcbench.codecs.pcgcv2.weights import network, read_tensors
    from gcbench.training.sparse.features import checked

    tensors, _ = read_tensors(path)
    try:
        tables = checked(tensors.pop(_TABLES).numpy())
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CodecUnavailable(
            f"the file of weights {path.name} has no usable tables of frequencies",
            "make one with pcgcv2.ladder.publish",
        ) from error
    try:
        return Weights(network(tensors), tables)
    except ValueError as error:
        raise CodecUnavailable(f"the file of weights {path.name} {error}") from error
