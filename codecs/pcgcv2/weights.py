"""Reads and writes files of trained weights: safetensors, with metadata on the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.errors import CodecUnavailable
from gcbench.training import checkpoints


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata.

    Raises
    ------
    CodecUnavailable
        The file is missing or is not a safetensors file.
    """
    try:
        return checkpoints.read_tensors(path)
    except (OSError, SafetensorError) as error:
        raise CodecUnavailable(
            f"cannot read weights {path.name}: {error}", "train them with python -m gcbench.codecs.pcgcv2.training"
        ) from error


def save_weights(path: Path, model: PCGCv2, metadata: Mapping[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write the weights of a model, rounded to ``dtype``."""
    checkpoints.write_tensors(path, {name: value.to(dtype) for name, value in model.state_dict().items()}, metadata)


def load_weights(path: Path) -> tuple[PCGCv2, dict[str, str]]:
    """Read a model, in float32 and ready for inference, and its metadata.

    Raises
    ------
    CodecUnavailable
        The file is missing, is not a safetensors file, or is not of this network.
    """
    tensors, metadata = read_tensors(path)
    model = PCGCv2()
    try:
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise CodecUnavailable(f"{path.name} does not hold the weights of this network", str(error)) from error
    return model.eval(), metadata
