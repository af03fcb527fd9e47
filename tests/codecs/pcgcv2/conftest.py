"""Weights that were never trained: what coding does not need training for is tested with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gcbench.codecs.pcgcv2 import ladder
from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.codecs.pcgcv2.weights import save_weights


@pytest.fixture(scope="session")
def untrained_folder(tmp_path_factory) -> Path:
    """``r1`` to ``r3``, of which the first two have different weights and the last is the first in single precision."""
    folder, trained = tmp_path_factory.mktemp("rates"), tmp_path_factory.mktemp("trained")
    for label, seed, dtype in (("r1", 0, torch.float16), ("r2", 1, torch.float16), ("r3", 0, torch.float32)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = PCGCv2()
        save_weights(trained / f"{label}.safetensors", model, {"label": label}, dtype)
        ladder.publish(trained / f"{label}.safetensors", folder / f"{label}.safetensors")
    return folder


@pytest.fixture
def untrained(untrained_folder, monkeypatch) -> Path:
    monkeypatch.setenv(ladder.ENVIRONMENT, str(untrained_folder))
    return untrained_folder
