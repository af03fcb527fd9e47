from __future__ import annotations

import torch

from gcbench.training.precision import precision_of


def test_precision():
    assert precision_of("float32", torch.device("cpu")) == torch.float32
    assert precision_of("bfloat16", torch.device("cpu")) == torch.bfloat16
    native = torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32
    assert precision_of("auto", torch.device("cpu")) == native
