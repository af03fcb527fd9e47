"""Steps of Muon and Adam against independent ones, and what is kept between steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcbench.training.descent import Adam, Descent, Muon


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (6, 4, 3, 3, 3)])
def test_muon_goes_along_the_nearest_orthogonal_matrix(shape):
    gradient = normal(*shape)
    step = Muon(torch.zeros(shape))(gradient)
    assert step.square().mean().sqrt() == pytest.approx(1, abs=0.25)
    left, _, right = np.linalg.svd(gradient.reshape(len(gradient), -1).double().numpy(), full_matrices=False)
    nearest = left @ right  # the first step has no other momentum
    matrix = step.reshape(len(step), -1).double().numpy()
    scale = np.sqrt(gradient.numel() / min(matrix.shape))
    singular = np.linalg.svd(matrix / scale, compute_uv=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3  # the published iteration is that coarse
    assert (matrix * nearest).sum() / np.linalg.norm(matrix) / np.linalg.norm(nearest) > 0.97


def test_adam_is_torchs_where_every_row_moves():
    tensor = torch.nn.Parameter(normal(5, 7))
    own, adam = tensor.detach().clone(), torch.optim.Adam([tensor], lr=0.1, betas=(0.9, 0.99), eps=1e-12)
    direction = Adam(own)
    for seed in range(6):
        tensor.grad = normal(5, 7, seed=seed)
        own -= 0.1 * direction(tensor.grad)
        adam.step()
    assert torch.allclose(own, tensor.detach(), atol=1e-6)


def test_rows_that_a_step_leaves_out_count_for_themselves():
    gradients = [normal(2, 3, seed=seed) for seed in range(4)]
    some, alone = Adam(torch.zeros(4, 3)), Adam(torch.zeros(2, 3))
    rows = torch.tensor([3, 1])
    some(normal(1, 3, seed=9), torch.tensor([0]))
    for gradient in gradients:
        assert torch.equal(some(gradient, rows), alone(gradient))


@pytest.mark.parametrize("optimiser", ["muon", "adam"])
def test_a_restored_descent_takes_the_same_steps(optimiser):
    def fresh() -> Descent:
        tensors = {"matrix": normal(4, 6, seed=1), "vector": normal(4, seed=2)}
        return Descent(tensors, {"matrix": 0.5, "vector": 0.1}, optimiser)

    def gradients(seed: int) -> dict[str, torch.Tensor | None]:
        return {"matrix": normal(4, 6, seed=seed), "vector": normal(4, seed=seed)}

    first, second = fresh(), fresh()
    for seed in range(3):
        first.step(gradients(seed), 0.1)
    second.restore(first.state())
    for descent in (first, second):
        descent.step(gradients(7), 0.1)
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name])


def test_a_tensor_without_a_gradient_stays():
    tensors = {"moves": normal(3, 3), "stays": normal(3, 3, seed=1)}
    before = tensors["stays"].clone()
    Descent(tensors, {"moves": 1.0, "stays": 1.0}, "muon").step({"moves": normal(3, 3), "stays": None}, 0.1)
    assert torch.equal(tensors["stays"], before)
    assert not torch.equal(tensors["moves"], normal(3, 3))
