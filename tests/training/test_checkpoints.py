"""Trees of tensors and facts, to a file and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gcbench.errors import BenchError, UsageError
from gcbench.training import checkpoints
from gcbench.training.checkpoints import adam_state, fill, restore_adam


def test_a_tree_comes_back(tmp_path):
    path = tmp_path / "deep" / "x.safetensors"
    tensors = {"0.weight": torch.rand(2, 3), "bytes": torch.arange(4, dtype=torch.uint8), "empty": torch.zeros(0, 2)}
    facts = {"losses": [0.1, 1e-300], "best": None, "name": "é/x", "infinite": float("inf"), "nothing": {}}
    checkpoints.write(path, "which", {"a": {"b": tensors, **facts}, "scalar": torch.tensor(3.0), "step": 7})
    identity, state = checkpoints.read(path)
    assert identity == "which"
    assert (state["step"], state["scalar"].shape, state["scalar"].item()) == (7, (), 3.0)
    found = state["a"]
    assert {name: found[name] for name in facts} == facts
    assert all(torch.equal(found["b"][name], tensor) for name, tensor in tensors.items())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_of_other_tensors_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoints.write_tensors(path, {"a": torch.ones(1)}, {})
    with pytest.raises(UsageError, match=r"x\.safetensors is not a whole checkpoint"):
        checkpoints.read(path)
    with pytest.raises(BenchError, match="cannot write"):
        checkpoints.write_tensors(path / "below", {"a": torch.ones(1)}, {})


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"shape \(1,\), not \(3,\)"):
        fill(torch.zeros(3), torch.ones(1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("before", [0, 3])
def test_adam_goes_on_as_if_nothing_had_happened(tmp_path, fused, before):
    """Also where parameters are not contiguous, and where there are no moments yet."""

    def made() -> tuple[list[nn.Parameter], torch.optim.Adam]:
        generator = torch.Generator().manual_seed(0)
        convolution = torch.randn(4, 3, 3, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last_3d)
        parameters = [nn.Parameter(convolution), nn.Parameter(torch.randn(5, generator=generator))]
        groups = [{"params": [parameter]} for parameter in parameters]
        return parameters, torch.optim.Adam(groups, lr=0.1, fused=fused)

    def go_on(parameters: list[nn.Parameter], adam: torch.optim.Adam, first: int, last: int) -> None:
        for step in range(first, last):
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter)
                parameter.grad.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
            adam.step()

    whole, adam = made()
    go_on(whole, adam, 0, 6)
    first, adam = made()
    go_on(first, adam, 0, before)
    checkpoints.write(tmp_path / "x", "", {"adam": adam_state(adam)})
    second, adam = made()
    for parameter, value in zip(second, first, strict=True):
        fill(parameter, value)
    restore_adam(adam, checkpoints.read(tmp_path / "x")[1]["adam"])
    go_on(second, adam, before, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_moments_of_other_parameters_are_refused():
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    adam = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    with pytest.raises(KeyError, match="parameter 1 of 1"):
        restore_adam(torch.optim.Adam(parameters[:1]), adam_state(adam))
    with pytest.raises(ValueError, match="shape"):
        restore_adam(torch.optim.Adam(parameters[::-1]), adam_state(adam))
