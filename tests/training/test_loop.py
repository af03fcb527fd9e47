from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from gcbench.errors import BenchError, CodecFailed
from gcbench.training import loop as training
from gcbench.training.loop import Schedule, train
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
    task = Task()
    before = task.networks.absolute_error(task.points, task.distances)
    tail = task.train()
    assert (tail < 0.5 * before).all()
    after = task.networks.absolute_error(task.points, task.distances, InLoop(8))
    torch.testing.assert_close(tail, after, rtol=0.25, atol=0)
    again = Task()
    assert torch.equal(again.train(), tail)
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
    with pytest.raises(CodecFailed, match="network 1 of 2 diverged"):
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
    adam, reference = training._Adam(ours), torch.optim.Adam(theirs, lr=0.01)
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
    adam = training._Adam(parameters)
    adam.step(0.1, 1.0)
    # The averages are a tenth of the clipped gradients: of norm 0.5, as it was, 1, and 0.
    np.testing.assert_allclose(adam.means[0], [[0.03, 0, 0], [0.06, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(adam.means[1][:2], [[[0, 0.04], [0, 0]], [[0, 0], [0.08, 0]]], rtol=1e-6)
    assert (parameters[0][2] == 0).all()


def test_learning_rate():
    rates = [training._learning_rate(step, Schedule(100, learning_rate=1.0)) for step in range(100)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[51] == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2)
    assert rates[2:] == sorted(rates[2:], reverse=True)
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


def test_progress_is_told_and_may_stop():
    told = []
    Task().train(progress=lambda done, message: told.append((done, message)))
    assert told[0][0] == pytest.approx(1 / 60)
    assert told[-1][0] == 1.0
    assert told[-1][1].endswith(" 0 s left")

    def stop(done, message):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Task().train(progress=stop)


@pytest.mark.parametrize("stop_at", [1, 4, 37, 59])
def test_an_interrupted_training_comes_out_bit_for_bit(tmp_path, stop_at):
    whole = Task()
    tail = whole.train()
    path = tmp_path / "training.safetensors"
    first = Task()
    first.stop_at = stop_at
    with pytest.raises(InterruptedError):
        first.train(checkpoint=path, checkpoint_s=0)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    second = Task()
    with torch.no_grad():
        second.networks.flat.zero_()  # what it starts from is in the checkpoint
    assert torch.equal(second.train(checkpoint=path, checkpoint_s=0), tail)
    assert len(second.shown) == 60 - stop_at
    assert torch.equal(second.networks.flat, whole.networks.flat)
    third = Task()
    assert torch.equal(third.train(checkpoint=path), tail), "what is done is not done again"
    assert not third.shown
    assert torch.equal(third.networks.flat, whole.networks.flat)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_progress_stops_is_kept(tmp_path):
    whole = Task()
    tail = whole.train()

    def stop(done, message):
        raise TimeoutError

    first, second = Task(), Task()
    path = tmp_path / "deep" / "training.safetensors"
    with pytest.raises(TimeoutError):
        first.train(checkpoint=path, progress=stop)
    assert torch.equal(second.train(checkpoint=path), tail)
    assert len(first.shown) + len(second.shown) == 60
    assert torch.equal(second.networks.flat, whole.networks.flat)


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BenchError, match="cannot write the checkpoint"):
        Task().train(checkpoint=tmp_path / "file" / "training.safetensors", checkpoint_s=0)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999, "other", "empty", "bytes"])
def test_a_torn_or_foreign_checkpoint_is_replaced(tmp_path, caplog, kept):
    path = tmp_path / "training.safetensors"
    first, whole, task = Task(), Task(), Task()
    tail = whole.train()
    first.stop_at = 5
    with pytest.raises(InterruptedError):
        first.train(checkpoint=path, checkpoint_s=0)
    if kept == "other":
        name = Schedule(61, 200, learning_rate=0.01)
        other = Task()
        other.stop_at = 5
        path.unlink()
        with pytest.raises(InterruptedError):
            other.train(name, checkpoint=path, checkpoint_s=0)
    elif kept == "empty":  # of this training by name, and without anything else
        with safe_open(path, "pt") as file:
            facts = file.metadata()
        save_file({}, path, facts)
    else:
        whole_file = path.read_bytes()
        path.write_bytes(bytes(99) if kept == "bytes" else whole_file[: int(kept * len(whole_file))])
    assert torch.equal(task.train(checkpoint=path), tail)
    assert len(task.shown) == 60
    assert torch.equal(task.networks.flat, whole.networks.flat)
    assert "starts anew" in caplog.text


def test_a_checkpoint_holds_the_weights_and_another_trainings_is_not_gone_on_from(tmp_path):
    path = tmp_path / "training.safetensors"
    first = Task()
    first.stop_at = 5
    with pytest.raises(InterruptedError):
        first.train(checkpoint=path, checkpoint_s=0)
    assert load_file(path)["value.0"].shape == first.networks.flat.shape
    other = Task()
    other.train(Schedule(61, 200, learning_rate=0.01), checkpoint=path)
    assert len(other.shown) == 61


def test_checkpoints_are_as_far_apart_as_they_are_asked_to_be(tmp_path):
    task = Task()
    task.stop_at = 20
    with pytest.raises(InterruptedError):
        task.train(checkpoint=tmp_path / "x", checkpoint_s=1000)
    assert not list(tmp_path.iterdir())


def test_a_budget_ends_a_training_in_an_orderly_way(monkeypatch):
    """A clock that goes a second a step: of 1000 steps, the 20 that 20 seconds do for are spread over all of them."""
    clock = iter(np.arange(0.0, 1e4, 1.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    rates = []
    real = training._learning_rate
    monkeypatch.setattr(training, "_learning_rate", lambda step, s: rates.append(real(step, s)) or rates[-1])
    task = Task()
    schedule = Schedule(1000, 200, learning_rate=0.01, quantised_from=0.5, bits=8, seconds=20.0)
    tail = task.train(schedule)
    assert 18 <= len(task.shown) <= 20
    assert task.quantised.count(8) in {9, 10, 11}
    assert rates[-1] < 0.03 * max(rates)  # the rate has come down
    assert (tail > 0).all()


def test_a_spent_budget_does_for_one_step():
    task = Task()
    task.train(Schedule(1000, 200, seconds=0.0))
    assert len(task.shown) == 1


def test_no_budget_is_no_clock(monkeypatch):
    clock = iter(np.arange(0.0, 1e7, 1e3))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    task = Task()
    task.train()
    assert len(task.shown) == 60
