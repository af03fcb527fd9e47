"""The file of weights of SIR-SNC: one network for all rates, with the integer tables of its entropy models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.errors import CodecUnavailable
from gcbench.training import weight_files

if TYPE_CHECKING:
    from gcbench.codecs.sirsnc.network import SirSnc

ENVIRONMENT = "GCBENCH_SIRSNC_WEIGHTS"
LABELS = ("q1", "q2", "q3", "q4")  # of the rates of the network, low to high quality
_SHIPPED = Path(__file__).parent / "weights.safetensors"
_TABLES = "tables"
_REMEDY = "train one with python -m gcbench.codecs.sirsnc.command"


@dataclass(frozen=True)
class Weights:
    """A network and its tables.

    Parameters
    ----------
    model : SirSnc
        For inference, in single precision.
    tables : (rates, 16, 257) uint16
        Frequencies of the quantised features, see :func:`gcbench.training.sparse.features.tables_of`.
    fingerprint : bytes
        Four bytes of the file's SHA-256; a stream names the weights that decode it by them.
    """

    model: SirSnc
    tables: NDArray[np.uint16]
    fingerprint: bytes


def path() -> Path:
    """The file: the value of the environment variable GCBENCH_SIRSNC_WEIGHTS, or else the shipped one."""
    return Path(os.environ.get(ENVIRONMENT) or _SHIPPED)


def write(file: Path, model: SirSnc, tables: NDArray[np.uint16], facts: Mapping[str, str]) -> None:
    """Write the weights of a model in half precision, its tables, and facts about the training.

    Parameters
    ----------
    file : Path
    model : SirSnc
    tables : (rates, 16, 257) uint16
    facts : mapping of str to str
    """
    import torch

    from gcbench.training.checkpoints import write_tensors

    tensors = {name: value.half() for name, value in model.state_dict().items()}
    write_tensors(file, {**tensors, _TABLES: torch.from_numpy(tables)}, facts)


def load() -> Weights:
    """Read the file, or return the cached weights if the file has not changed.

    Raises
    ------
    CodecUnavailable
        The file is missing or not a file of this codec.
    """
    file = path()
    return _load(file, fingerprint(file))


def fingerprint(file: Path) -> bytes:
    """Four bytes that name a file of weights.

    Raises
    ------
    CodecUnavailable
        There is no file.
    """
    try:
        return weight_files.fingerprint(file)
    except OSError as error:
        raise CodecUnavailable(f"there is no file of weights {file.name}", _REMEDY) from error


@lru_cache(maxsize=4)
def _load(file: Path, name: bytes) -> Weights:
    from gcbench.training import weights
    from gcbench.training.sparse.features import checked

    try:
        tensors, _ = weights.read(file)
        tables = tensors.pop(_TABLES).numpy()
        of_rates = [checked(tables[rate]) for rate in range(len(LABELS))]
        return Weights(_network(tensors), np.stack(of_rates), name)
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = "has no tables of frequencies" if isinstance(error, KeyError) else str(error)
        raise CodecUnavailable(f"the file of weights {file.name} {reason}", _REMEDY) from error


def _network(tensors: Mapping[str, object]) -> SirSnc:
    from gcbench.codecs.sirsnc.network import SirSnc
    from gcbench.training import weights

    model = SirSnc(len(LABELS))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights.require({n: t for n, t in tensors.items() if n != _TABLES}, shapes))
    return model.eval()
