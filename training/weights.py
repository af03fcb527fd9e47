"""Files of trained weights, which may come from anybody: tensors that are of a network, and nothing else, are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from gcbench.training import checkpoints

MOST_BYTES = 1 << 30
"""Of a file of weights. The largest network here has a hundredth of it."""


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file; nothing is unpickled.

    Raises
    ------
    ValueError
        The file is missing, is no regular file, is too large, or is not a whole safetensors file: the reason, which
        continues the file's name.
    """
    try:
        if not path.is_file():  # to open a pipe would wait for its other end
            raise ValueError("is not a file" if path.exists() else "is not there")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"has {size} bytes; weights have at most {MOST_BYTES}")
        return checkpoints.read_tensors(path)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
    except (SafetensorError, UnicodeError, OverflowError) as error:
        raise ValueError(f"is not a whole safetensors file: {error}") from error


def require(tensors: Mapping[str, object], shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Tensors of a network, as float32.

    Parameters
    ----------
    tensors : mapping
        What a file holds, by name.
    shapes : mapping
        The shape of each tensor of the network, by name.

    Raises
    ------
    ValueError
        A tensor is missing, too many, of another shape, not of floating-point numbers, or not finite: the reason, which
        continues the file's name.
    """
    if missing := [name for name in shapes if name not in tensors]:
        raise ValueError(f"has no tensor {missing[0]}{_others(missing)}")
    if unknown := [name for name in tensors if name not in shapes]:
        raise ValueError(f"has a tensor {str(unknown[0])[:200]!a}{_others(unknown)}, which is not of this network")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor):
            raise ValueError(f"has something else than a tensor as {name}")
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"has {name} with the shape {tuple(tensor.shape)}, not {tuple(shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"has {name} in {tensor.dtype}, not in floating-point numbers")
        if not bool(tensor.float().isfinite().all()):
            raise ValueError(f"has a value in {name} that is not finite")
    return {name: tensors[name].float() for name in shapes}  # type: ignore[attr-defined]  # a tensor, as above


def _others(names: Sequence[object]) -> str:
    return f" and {len(names) - 1} others" if len(names) > 1 else ""
