"""Reads and writes files of trained weights of PCGCv2: safetensors, with metadata on the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.errors import CodecUnavailable
from gcbench.training import checkpoints, weights

_REMEDY = "train them with python -m gcbench.codecs.pcgcv2.command"


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata.

    Raises
    ------
    CodecUnavailable
        The file is missing or is not a safetensors file.
    """
    try:
        return weights.read(path)
    except ValueError as error:
        raise CodecUnavailable(f"the file of weights {path.name} {error}", _REMEDY) from error


def save_weights(path: Path, model: PCGCv2, metadata: Mapping[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write the weights of a model, rounded to ``dtype``."""
    checkpoints.write_tensors(path, {name: value.to(dtype) for name, value in model.state_dict().items()}, metadata)


def network(tensors: Mapping[str, object]) -> PCGCv2:
    """A network in float32, ready for inference.

    Raises
    ------
    ValueError
        The tensors are not those of this network, or are not finite: the reason, which continues the file's name.
    """
    model = PCGCv2()
    model.load_state_dict(weights.require(tensors, {name: t.shape for name, t in model.state_dict().items()}))
    return model.eval()


def load_weights(path: Path) -> tuple[PCGCv2, dict[str, str]]:
    """Read a model, in float32 and ready for inference, and its metadata.

    Raises
    ------
    CodecUnavailable
        The file is missing, is not a safetensors file, or is not of this network.
    """
    tensors, metadata = read_tensors(path)
    try:
        return network(tensors), metadata
    except ValueError as error:
        raise CodecUnavailable(f"the file of weights {path.name} {error}", _REMEDY) from error
