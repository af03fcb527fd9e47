"""Converts the authors' published checkpoints, in MinkowskiEngine's names and kernel layout, to this network's weights.

MinkowskiEngine is not needed. The checkpoints were not available when this module was written; names and shapes follow
the architecture in the authors' repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.codecs.pcgcv2.weights import network
from gcbench.errors import CodecUnavailable

_ENTROPY_MODEL = {"_matrices": "matrices", "_biases": "biases", "_factors": "factors"}
# The authors' entropy model registers the parameters of its last layer a second time under these names.
_REPEATED = {f"entropy_bottleneck.{name}" for name in ("matrix", "bias", "factor")}
_RATE = re.compile(r"r(\d+)(_.*)?\.pth")


def load_checkpoint(path: Path) -> PCGCv2:
    """Read a published checkpoint, e.g. ``r3_0.10bpp.pth``, into a network ready for inference.

    Raises
    ------
    CodecUnavailable
        The file is missing, holds anything but tensors, or is not of this architecture.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CodecUnavailable(f"cannot read checkpoint {path.name}: {reason}") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, Mapping):
        raise CodecUnavailable(f"checkpoint {path.name} has no entry 'model'")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise CodecUnavailable(f"checkpoint {path.name} is not of PCGCv2: it has something else than tensors")
    try:
        return network(translate(state))
    except (RuntimeError, ValueError) as error:
        raise CodecUnavailable(f"checkpoint {path.name} is not of PCGCv2: it {error}") from error


def import_checkpoints(source: Path, folder: Path) -> list[Path]:
    """Convert the checkpoints ``r1*.pth``, ``r2*.pth``, … of a folder to files of the codec.

    If GCBENCH_PCGCV2_WEIGHTS names `folder`, the rates ``r1`` … use the authors' weights.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    CodecUnavailable
        There are no checkpoints, or a checkpoint is not of this architecture.
    """
    from gcbench.codecs.pcgcv2.ladder import publish
    from gcbench.codecs.pcgcv2.weights import save_weights

    found = {int(match[1]): path for path in source.glob("*.pth") if (match := _RATE.fullmatch(path.name))}
    if not found:
        raise CodecUnavailable(f"there is no checkpoint r1*.pth in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, path in sorted(found.items()):
        target = folder / f"r{number}.safetensors"
        save_weights(target, load_checkpoint(path), {"source": path.name}, torch.float32)
        publish(target, target)
        written.append(target)
    return written


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert names and layouts of the tensors of a published model.

    Published convolutions have a ``kernel`` of (volume, C_in, C_out), x fastest in the volume, or of (C_in, C_out) for
    a volume of 1, and a ``bias`` of (1, C_out). Ours have a ``weight`` with z fastest, and a ``bias`` of (C_out,).

    Raises
    ------
    ValueError
        No layer has the shape of a tensor.

    Source: MinkowskiEngine 0.5, kernel_region.hpp: "iterate from the first axis", even kernels from 0 on.
    """
    ours = {}
    for name, value in state.items():
        if name in _REPEATED:
            continue
        module, _, leaf = name.rpartition(".")
        if module.startswith("entropy_bottleneck."):
            listed = module.removeprefix("entropy_bottleneck.")
            ours[f"bottleneck.{_ENTROPY_MODEL.get(listed, listed)}.{leaf}"] = value
        elif leaf == "kernel":
            ours[f"{module}.weight"] = z_fastest(value if value.ndim == 3 else value[None])
        elif leaf == "bias":
            ours[name] = value.reshape(-1)
        else:
            ours[name] = value
    return ours


def z_fastest(kernel: Tensor) -> Tensor:
    """Reorder a kernel (volume, C_in, C_out) from x fastest to z fastest, or back.

    Raises
    ------
    ValueError
        The volume is not 1, 8 or 27.
    """
    side = {1: 1, 8: 2, 27: 3}.get(len(kernel))
    if side is None or kernel.ndim != 3:
        raise ValueError(f"a kernel of shape {tuple(kernel.shape)} is not of a cube")
    return kernel.reshape(side, side, side, *kernel.shape[1:]).transpose(0, 2).reshape(kernel.shape)
