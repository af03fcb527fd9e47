from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from gcbench.entropy.tensors import quantised
from gcbench.training import fused
from gcbench.training.perceptrons import InLoop, Perceptrons, generators, shapes
from gcbench.training.straight_through import quantise_in_loop


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def networks(widths=(3, 32, 32, 1), count=2, skip=None) -> Perceptrons:
    made = Perceptrons(count, widths, skip=skip, generators=generators(range(count)))
    with torch.no_grad():
        made.flat.mul_(1.5)
    return made


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(made: Perceptrons) -> Perceptrons:
    """The same networks in double precision, which go layer by layer."""
    double = Perceptrons(len(made.flat), made.widths, skip=made.skip, generators=generators(range(len(made.flat))))
    double.load_state_dict(made.state_dict())
    return double.double()


def evaluated(made: Perceptrons, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return made(inputs)


def gradients(value: torch.Tensor, *of: torch.Tensor) -> list[torch.Tensor]:
    # Unequal weights, so that no two networks or points can be mistaken for each other.
    weight = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape)
    return list(torch.autograd.grad((value * weight).sum(), of))


SHAPES = [
    ((3, *[32] * 8, 1), 1, None, 700, False),
    ((3, *[16] * 3, 1), 3, None, 64, False),
    ((7, 20, 50, 33, 2), 2, 2, 130, True),
    ((131, 32, 32, 4), 2, None, 65, False),
    ((3, 128, 128, 1), 1, 1, 300, False),
    ((5, 1, 1, 1), 2, None, 1, True),
    ((2, 3), 1, None, 10, False),
    ((1, 512, 1), 1, None, 70, False),
]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("widths", "count", "skip", "points", "shared"), SHAPES)
def test_tiles_and_layers_say_the_same(widths, count, skip, points, shared):
    made = networks(widths, count, skip)
    inputs = draw(1 if shared else count, points, widths[0]).requires_grad_()
    double, shown = exact(made), inputs.detach().double().requires_grad_()
    found, expected = made(inputs), double(shown)
    assert found.shape == (count, points, widths[-1])
    close(found, expected)
    for a, b in zip(gradients(found, made.flat, inputs), gradients(expected, double.flat, shown), strict=True):
        assert a.shape == b.shape
        close(a, b)
    assert torch.equal(evaluated(made, inputs), found)


@pytest.mark.parametrize("clamp", [math.inf, 0.5])
@pytest.mark.parametrize(("widths", "count", "skip", "points", "shared"), SHAPES)
def test_absolute_error_and_gradient_in_one_pass(widths, count, skip, points, shared, clamp):
    made = networks(widths, count, skip)
    inputs = draw(1 if shared else count, points, widths[0]).requires_grad_()
    targets = draw(count, points, widths[-1], seed=1).clamp(-clamp, clamp)
    double, shown = exact(made), inputs.detach().double().requires_grad_()
    found = made.absolute_error(inputs, targets, clamp=clamp)
    expected = double.absolute_error(shown, targets.double(), clamp=clamp)
    close(found, expected)
    for a, b in zip(gradients(found, made.flat, inputs), gradients(expected, double.flat, shown), strict=True):
        close(a, b)


def test_only_narrow_networks_go_tile_by_tile():
    assert fused.narrow((3, 96, 96, 1), None)
    assert not fused.narrow((3, 128, 128, 1), None)
    for width in (1, 32, 64, 120):  # products that OpenBLAS shares among threads of its own are too large
        assert fused._tile((3, width, width, 1), 1) * (width + 4) * width < 1 << 19


def test_absolute_error_by_hand():
    made = Perceptrons.of([np.array([[2.0]], np.float32), np.array([[1.0]], np.float32)], (1, 1))
    inputs, targets = torch.tensor([[[1.0], [-1.0], [3.0], [0.0]]]), torch.tensor([[[2.5], [-0.5], [5.0], [1.0]]])
    # 2x + 1 is 3, -1, 7, 1: errors 0.5, -0.5, 2 (beyond the clamp), 0.
    error = made.absolute_error(inputs, targets, clamp=5.0)
    assert error.tolist() == [0.25]
    (by_flat,) = torch.autograd.grad(error.sum(), made.flat)
    assert by_flat.tolist() == [[(1 + 1) / 4, 0.0]]
    (unclamped,) = torch.autograd.grad(made.absolute_error(inputs, targets).sum(), made.flat)
    assert unclamped.tolist() == [[(1 + 1 + 3) / 4, 0.25]]


def test_the_reference_has_the_gradients_of_differences():
    made = networks((2, 4, 3, 1), skip=1).double()
    inputs = draw(2, 3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, _: made(x), (inputs, made.flat))


def test_threads_do_not_change_a_bit():
    made, inputs, targets = networks((3, 32, 32, 1), 3), draw(3, 1100, 3), draw(3, 1100, 1, seed=1)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        error = made.absolute_error(inputs, targets)
        results.append([error, *torch.autograd.grad(error.sum(), made.flat), made(inputs)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_threads_are_lent_and_given_back():
    made, inputs, targets = networks(), draw(2, 600, 3), draw(2, 600, 1, seed=1)
    torch.set_num_threads(2)
    expected = made.absolute_error(inputs, targets)
    with fused.all_threads():
        assert torch.get_num_threads() == 1
        assert torch.equal(made.absolute_error(inputs, targets), expected)
    assert torch.get_num_threads() == 2


def test_a_network_is_the_same_whoever_is_beside_it():
    alone = Perceptrons(1, (3, 8, 8, 1), generators=generators([5]))
    beside = Perceptrons(3, (3, 8, 8, 1), generators=generators([4, 5, 6]))
    inputs, targets = draw(1, 500, 3), draw(3, 500, 1, seed=1)
    assert torch.equal(evaluated(beside, inputs)[1], evaluated(alone, inputs)[0])
    error, other = beside.absolute_error(inputs, targets), alone.absolute_error(inputs, targets[1:2])
    assert torch.equal(error[1:2], other)
    (by_all,) = torch.autograd.grad(error[1], beside.flat)
    (by_one,) = torch.autograd.grad(other.sum(), alone.flat)
    assert torch.equal(by_all[1:2], by_one)
    assert by_all[[0, 2]].abs().sum() == 0


def test_a_tile_leaves_nothing_behind():
    made, inputs = networks((3, 20, 20, 1), 1), draw(1, 600, 3)
    whole = evaluated(made, inputs)
    inputs[:, :256] = torch.nan
    assert torch.equal(evaluated(made, inputs)[:, 256:], whole[:, 256:])


def test_what_is_no_number_is_seen():
    made, inputs = networks((3, 16, 1), 1), draw(1, 80, 3)
    inputs[0, 7] = torch.nan
    error = made.absolute_error(inputs, torch.zeros(1, 80, 1))
    assert error.isnan().all()
    assert torch.autograd.grad(error.sum(), made.flat)[0].isnan().any()
    assert evaluated(made, inputs).isnan().sum() == 1


def test_no_points():
    made, none = networks((3, 8, 1), 2), torch.zeros(2, 0, 3)
    assert evaluated(made, none).shape == (2, 0, 1)
    error = made.absolute_error(none, torch.zeros(2, 0, 1))
    assert error.tolist() == [0, 0]
    assert torch.autograd.grad(error.sum(), made.flat)[0].abs().sum() == 0


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_quantised_in_the_loop(bits):
    made, inputs, targets = networks((3, 20, 20, 1), 2), draw(2, 200, 3), draw(2, 200, 1, seed=1)
    double = exact(made)
    found = made.absolute_error(inputs, targets, InLoop(bits))
    expected = double.absolute_error(inputs.double(), targets.double(), InLoop(bits))
    close(found, expected)
    close(*gradients(found, made.flat), *gradients(expected, double.flat))
    assert (found - made.absolute_error(inputs, targets)).abs().max() > 0
    by_tensor = made.absolute_error(inputs, targets, partial(quantise_in_loop, bits=bits))  # layer by layer
    close(found, by_tensor)


@pytest.mark.parametrize("bits", [4, 9, 12])
def test_weights_are_quantised_as_in_the_stream(bits):
    made = networks((5, 37, 2), 1)
    expected = quantised(made.tensors(), "range", bits)
    flat = np.concatenate([tensor.ravel() for tensor in expected])
    np.testing.assert_allclose(made._quantised(InLoop(bits))[0].numpy(), flat, rtol=2e-7)


@pytest.mark.parametrize("inputs", [(2, 5, 4), (3, 5, 3), (5, 3)])
def test_tensors_that_do_not_fit_are_refused(inputs):
    made = networks((3, 13, 1))
    with pytest.raises(ValueError, match="inputs of shape"):
        evaluated(made, torch.zeros(inputs))
    with pytest.raises(ValueError, match="inputs of shape"):
        made.absolute_error(torch.zeros(inputs), torch.zeros(2, 5, 1))
    with pytest.raises(ValueError, match="targets of shape"):
        made.absolute_error(torch.zeros(2, 5, 3), torch.zeros(2, 4, 1))


@pytest.mark.parametrize("skip", [0, 3, -1])
def test_a_layer_that_cannot_be_shown_the_input_is_refused(skip):
    with pytest.raises(ValueError, match="shown the input"):
        networks((3, 8, 8, 1), skip=skip)


def test_weights_are_views():
    made = networks((3, 8, 2), 2)
    assert [tuple(w.shape) for w in made.weights] == [(2, 3, 8), (2, 8, 2)]
    assert [tuple(b.shape) for b in made.biases] == [(2, 1, 8), (2, 1, 2)]
    with torch.no_grad():
        made.weights[1].zero_()
    inputs = draw(2, 4, 3)
    assert torch.equal(made(inputs), made.biases[1].expand(2, 4, 2))
    assert [p.shape for p in made.parameters()] == [(2, 4 * 8 + 9 * 2)]
    assert made.parameter_count() == Perceptrons.count((3, 8, 2)) == 50


def test_of_given_weights():
    tensors = [draw(*shape, seed=i).numpy() for i, shape in enumerate([(3, 5), (1, 5), (5, 1), (1, 1)])]
    made, inputs = Perceptrons.of(tensors, (3, 5, 1)), draw(1, 9, 3)
    hidden = np.maximum(inputs[0].numpy() @ tensors[0] + tensors[1], 0)
    np.testing.assert_allclose(made(inputs)[0].detach().numpy(), hidden @ tensors[2] + tensors[3], rtol=1e-5)


@pytest.mark.parametrize("skip", [None, 2])
def test_tensors_are_those_that_it_was_made_of(skip):
    widths = (3, 4, 5, 2)
    tensors = [draw(*shape, seed=i).numpy() for i, shape in enumerate(shapes(widths, skip))]
    for a, b in zip(Perceptrons.of(tensors, widths, skip=skip).tensors(), tensors, strict=True):
        np.testing.assert_array_equal(a, b)
    assert shapes(widths, skip) == [(3, 4), (1, 4), (4, 5), (1, 5), (5 if skip is None else 8, 2), (1, 2)]
    both = Perceptrons(2, widths, skip=skip, generators=generators([0, 1]))
    with torch.no_grad():
        assert torch.equal(Perceptrons.of(both.tensors(1), widths, skip=skip)(draw(1, 9, 3)), both(draw(1, 9, 3))[1:])


def test_as_many_generators_as_networks():
    with pytest.raises(ValueError, match="1 generators for 2 networks"):
        Perceptrons(2, (3, 8, 1), generators=generators([0]))
