"""Files of trained weights: safetensors, written whole or not at all, with what they were trained for beside them.

Knows the network and files; where shipped files lie and which rates there are is the codec's business.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.errors import CodecUnavailable


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors under a temporary name, then rename: a reader never sees half a file."""
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(metadata))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata.

    Raises
    ------
    CodecUnavailable
        The file is missing or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118  # not a dict
    except (OSError, SafetensorError) as error:
        raise CodecUnavailable(
            f"cannot read weights {path.name}: {error}", "train them with bench train pcgcv2"
        ) from error


def save_weights(path: Path, model: PCGCv2, metadata: Mapping[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write the weights of a model, rounded to ``dtype``."""
    write_tensors(path, {name: value.to(dtype) for name, value in model.state_dict().items()}, metadata)


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
