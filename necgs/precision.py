"""In which precision networks are trained here. Knows what the hardware has."""

from __future__ import annotations

import torch

from gcbench.necgs.settings import Precision


def precision_of(wanted: Precision, device: torch.device) -> torch.dtype:
    """Type of the activations in training: bfloat16 if it is asked for, or left open and in the hardware."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return torch.bfloat16 if fast else torch.float32
