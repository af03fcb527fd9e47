from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from gcbench.errors import CodecFailed
from gcbench.training.networks import Adam, Schedule, train
from gcbench.training.perceptrons import InLoop, Perceptrons, generators

POOL = 1000
SCHEDULE = Schedule(60, 200, learning_rate=0.01)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Task:
    """Two networks that learn the distance to two spheres."""

    def __init__(self) -> None:
        self.networks = Perceptrons(2, (3, 16, 16, 1), generators=generators([0, 1]))
        self.points = torch.rand(2, POOL, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
        self.distances = self.points.norm(dim=-1, keepdim=True) - torch.tensor([0.5, 0.7]).view(2, 1, 1)
        self.shown: list[torch.Tensor] = []
        self.quantised: list[int] = []
        self.stop_at: int | None = None

    def loss(self, where, quantise):
        if len(self.shown) == self.stop_at:
            raise InterruptedError
        self.shown.append(where)
        self.quantised.append(quantise.bits if isinstance(quantise, InLoop) else 0)
        return self.networks.absolute_error(self.points[:, where], self.distances[:, where], quantise)

    def train(self, schedule=SCHEDULE, **options):
        return train(self.networks.parameters(), self.loss, POOL, schedule, seed=4, **options)


def test_networks_learn():
    task, again = Task(), Task()
    before = task.networks.absolute_error(task.points, task.distances)
    task.train()
    assert (task.networks.absolute_error(task.points, task.distances, InLoop(8)) < 0.5 * before).all()
    again.train()
    assert torch.equal(again.networks.flat, task.networks.flat)


def test_every_point_is_shown_once_before_the_second_time():
    task = Task()
    task.train(Schedule(12, 300, quantised_from=0.5, bits=5))
    assert all(len(where) == 300 for where in task.shown)
    for begin in range(0, 12, 3):  # three steps of 300 to a pool of 1000
        assert len(torch.cat(task.shown[begin : begin + 3]).unique()) == 900
    assert not torch.equal(task.shown[0], task.shown[3])
    assert task.quantised == [0] * 6 + [5] * 6


def test_a_training_that_diverges_is_no_network():
    task = Task()
    task.points[1, 7] = torch.nan
    with pytest.raises(CodecFailed, match="diverged: the loss of network 1 of 2 is nan"):
        task.train()


def test_a_step_is_adams():
    parameter = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    slopes = torch.tensor([[0.3, 0.4], [30.0, -40.0]])
    train([parameter], lambda _w, _q: (parameter * slopes).sum(1), 4, Schedule(1, 1, learning_rate=0.1), seed=0)
    # The first step of Adam is the rate in the direction of the gradient's signs, however large that is.
    np.testing.assert_allclose(parameter.detach(), [[0.9, -2.1], [2.9, 4.1]], rtol=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_adam_is_torchs(kind):
    """Compiled, and with torch's operators (here: double precision)."""
    generator = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, generator=generator, dtype=kind)) for shape in ((2, 5), (2, 3, 40), (2, 1))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    adam, reference = Adam(ours), torch.optim.Adam(theirs, lr=0.01)
    for _ in range(20):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator, dtype=kind) * 10
            b.grad = a.grad.clone()
        ours[2].grad = theirs[2].grad = None
        norm = sum(p.grad.flatten(1).square().sum(1) for p in theirs[:2]).sqrt()
        for p in theirs[:2]:
            p.grad *= (5 / norm).clamp(max=1).view(-1, *[1] * (p.dim() - 1))
        adam.step(0.01, 5.0)
        reference.step()
    tolerance = 2e-5 if kind == torch.float32 else 1e-12
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_each_network_has_its_own_bound_of_the_gradient(kind):
    parameters = [nn.Parameter(torch.zeros(3, 3, dtype=kind)), nn.Parameter(torch.zeros(3, 2, 2, dtype=kind))]
    parameters[0].grad = torch.tensor([[0.3, 0.0, 0.0], [6.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=kind)
    parameters[1].grad = torch.zeros(3, 2, 2, dtype=kind)
    parameters[1].grad[0, 0, 1], parameters[1].grad[1, 1, 0] = 0.4, 8.0
    adam = Adam(parameters)
    adam.step(0.1, 1.0)
    # The averages are a tenth of the clipped gradients: of norm 0.5, as it was, 1, and 0.
    np.testing.assert_allclose(adam.means[0], [[0.03, 0, 0], [0.06, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(adam.means[1][:2], [[[0, 0.04], [0, 0]], [[0, 0], [0.08, 0]]], rtol=1e-6)
    assert (parameters[0][2] == 0).all()


def test_learning_rate():
    rates = [Schedule(100, learning_rate=1.0).rate(step) for step in range(100)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert 0.01 < rates[-1] < 0.012


def test_masks_hold():
    task = Task()
    mask = torch.rand(2, task.networks.parameter_count()) > 0.5

    def hold():
        with torch.no_grad():
            task.networks.flat.mul_(mask)

    task.train(mask=hold)
    assert (task.networks.flat[~mask] == 0).all()
    assert (task.networks.flat[mask] != 0).all()


@pytest.mark.parametrize("stop_at", [1, 4, 37, 59])
def test_an_interrupted_training_comes_out_bit_for_bit(tmp_path, stop_at):
    whole, first, second = Task(), Task(), Task()
    whole.train()
    path = tmp_path / "training.safetensors"
    first.stop_at = stop_at
    with pytest.raises(InterruptedError):
        first.train(checkpoint=path, every_s=0)
    with torch.no_grad():
        second.networks.flat.zero_()  # what it starts from is in the checkpoint
    second.train(checkpoint=path, every_s=0)
    assert len(second.shown) == 60 - stop_at
    assert torch.equal(second.networks.flat, whole.networks.flat)


def test_a_checkpoint_of_another_training_is_replaced(tmp_path, caplog):
    path = tmp_path / "training.safetensors"
    other, whole, task = Task(), Task(), Task()
    other.stop_at = 5
    with pytest.raises(InterruptedError):
        other.train(Schedule(61, 200, learning_rate=0.01), checkpoint=path, every_s=0)
    whole.train()
    task.train(checkpoint=path)
    assert len(task.shown) == 60
    assert torch.equal(task.networks.flat, whole.networks.flat)
    assert "starts anew" in caplog.text


def test_a_budget_ends_in_an_orderly_way(monkeypatch):
    """A clock that goes a second a step: of 1000 steps, the 20 that 20 seconds do for are spread over all of them."""
    task, rates, real = Task(), [], Schedule.rate
    monkeypatch.setattr(time, "monotonic", lambda: float(len(task.shown)))
    monkeypatch.setattr(Schedule, "rate", lambda schedule, step: rates.append(real(schedule, step)) or rates[-1])
    task.train(Schedule(1000, 200, learning_rate=0.01, quantised_from=0.5, bits=8, seconds=20.0))
    assert len(task.shown) == 20
    assert task.quantised.count(8) == 10
    assert rates[-1] < 0.03 * max(rates)  # the rate has come down


def test_a_spent_budget_does_for_one_step():
    task = Task()
    task.train(Schedule(1000, 200, seconds=0.0))
    assert len(task.shown) == 1


def test_no_budget_is_no_clock(monkeypatch):
    task = Task()
    monkeypatch.setattr(time, "monotonic", lambda: 1e3 * len(task.shown))
    task.train()
    assert len(task.shown) == 60
