"""Files of weights of strangers: a tensor that is missing, of another kind, or not finite is one sentence."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from gcbench.training import weights

SHAPES = {"a.weight": (2, 3), "a.bias": (2,)}


def good() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.ones(2, 3, dtype=torch.float16), "a.bias": torch.zeros(2)}


def test_the_tensors_of_a_network_come_as_float32(tmp_path):
    save_file(good(), tmp_path / "w.safetensors", {"card": "x"})
    tensors, metadata = weights.read(tmp_path / "w.safetensors")
    taken = weights.require(tensors, SHAPES)
    assert {name: (t.dtype, tuple(t.shape)) for name, t in taken.items()} == {
        name: (torch.float32, shape) for name, shape in SHAPES.items()
    }
    assert metadata == {"card": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.bias": None}, r"has no tensor a\.bias"),
        ({"b": torch.zeros(1)}, "has a tensor 'b', which is not of this network"),
        ({"\x1b[2J\n": torch.zeros(1)}, r"has a tensor '\\x1b\[2J\\n', which"),
        ({"a.bias": torch.zeros(3)}, r"has a\.bias with the shape \(3,\), not \(2,\)"),
        ({"a.bias": torch.zeros(2, 1)}, r"with the shape \(2, 1\)"),
        ({"a.bias": torch.zeros(2, dtype=torch.int32)}, r"has a\.bias in torch\.int32, not in floating-point"),
        ({"a.bias": torch.zeros(2, dtype=torch.bool)}, r"in torch\.bool"),
        ({"a.bias": torch.tensor([0, torch.nan])}, r"has a value in a\.bias that is not finite"),
        ({"a.weight": torch.full((2, 3), torch.inf)}, r"has a value in a\.weight that is not finite"),
        ({"a.bias": 5}, r"has something else than a tensor as a\.bias"),
    ],
)
def test_what_is_not_of_the_network(change, message):
    tensors = {name: value for name, value in (good() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message) as caught:
        weights.require(tensors, SHAPES)
    assert "\n" not in str(caught.value)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, file) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_what_is_no_file_of_tensors(tmp_path, monkeypatch):
    save_file(good(), tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    contents = {
        "empty": b"",
        "cut": whole[:-1],
        "text": b"weights",
        "pickle": pickle.dumps(Bomb(tmp_path / "ran")),
        "huge": (1 << 60).to_bytes(8, "little") + b"{}",
        "deep": (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
        "no-utf8": (4).to_bytes(8, "little") + b"\xff\xff\xff\xff",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            weights.read(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "is not a file"), (".", "is not a file"), ("none", "is not there")):
        with pytest.raises(ValueError, match=message):
            weights.read(tmp_path / name)
    monkeypatch.setattr(weights, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="weights have at most 10"):
        weights.read(tmp_path / "whole")
