"""Eq. 3 against a direct implementation with a full 3-D window, in float64."""

from __future__ import annotations

import math
import time

import pytest
import torch

from gcbench.necgs.loss import regression_loss

WEIGHTS = [(5.0, 10.0), (0.0, 10.0), (5.0, 0.0), (0.0, 0.0)]


def blobs(batch: int, channels: int, size: int, seed: int) -> torch.Tensor:
    noise = torch.randn(batch, channels, 6, 6, 6, generator=torch.Generator().manual_seed(seed))
    return (3 * torch.nn.functional.interpolate(noise, size=size, mode="trilinear")).clamp(-1, 1)


def window() -> torch.Tensor:
    reach = range(-2, 3)
    taps = [[[math.exp(-(x * x + y * y + z * z) / 4.5) for z in reach] for y in reach] for x in reach]
    kernel = torch.tensor(taps, dtype=torch.float64)
    return (kernel / kernel.sum())[None, None]


def dissimilarity(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    def mean(v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv3d(v, window(), padding=2)

    x, y = (((v + 1) / 2).flatten(0, 1)[:, None] for v in (x, y))
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    quotient = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return 1 - quotient.mean()


def direct(x: torch.Tensor, y: torch.Tensor, mask_weight: float, ssim_weight: float) -> torch.Tensor:
    error = (x - y).abs()
    loss = error.mean()
    if mask_weight:
        mask = (y[:, :1].abs() < 1).double()
        loss = loss + mask_weight * (mask * error).sum() / mask.sum()
    if ssim_weight:
        loss = loss + ssim_weight * dissimilarity(x[:, :1], y[:, :1])
        if x.shape[1] > 1:
            loss = loss + ssim_weight * dissimilarity(x[:, 1:], y[:, 1:])
    return loss


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("mask_weight", "ssim_weight"), WEIGHTS)
def test_value_and_gradient(channels, mask_weight, ssim_weight):
    target = blobs(3, channels, 20, seed=1)
    predicted = (target + 0.2 * blobs(3, channels, 20, seed=2)).requires_grad_()
    loss = regression_loss(predicted, target, mask_weight, ssim_weight)
    (2 * loss).backward()
    exact = predicted.detach().double().requires_grad_()
    expected = direct(exact, target.double(), mask_weight, ssim_weight)
    (2 * expected).backward()
    # The variances in SSIM are differences, which cost float32 a digit.
    assert loss.item() == pytest.approx(expected.item(), rel=3e-6 if ssim_weight else 3e-7)
    assert torch.allclose(predicted.grad.double(), exact.grad, rtol=1e-4, atol=3e-4 * exact.grad.abs().max().item())


def test_same_volumes_have_no_loss():
    target = blobs(2, 4, 16, seed=3)
    assert regression_loss(target.clone(), target, 5.0, 10.0).item() == pytest.approx(0, abs=2e-5)


def test_no_vertex_near_the_surface():
    target = torch.ones(1, 4, 8, 8, 8)
    predicted = torch.zeros(1, 4, 8, 8, 8)
    assert regression_loss(predicted, target, 5.0, 0.0).item() == pytest.approx(1)


def test_mask_counts_vertices_of_the_batch():
    target = torch.ones(2, 4, 4, 4, 4)
    target[0, 0, 0, 0, 0] = 0.0  # the only vertex near a surface
    predicted = target.clone()
    predicted[0, 1:, 0, 0, 0] += 0.5
    expected = 1.5 / target.numel() + 5.0 * 1.5
    assert regression_loss(predicted, target, 5.0, 0.0).item() == pytest.approx(expected)


def test_layout_does_not_matter():
    target = blobs(2, 4, 12, seed=4)
    predicted = blobs(2, 4, 12, seed=5)
    last = predicted.contiguous(memory_format=torch.channels_last_3d)
    assert regression_loss(last, target, 5.0, 10.0) == regression_loss(predicted, target, 5.0, 10.0)


@pytest.mark.benchmark
def test_small_beside_the_convolutions():
    torch.set_num_threads(1)
    target = blobs(1, 4, 64, seed=6)
    predicted = blobs(1, 4, 64, seed=7).requires_grad_()
    inputs = torch.randn(1, 32, 32, 32, 32, requires_grad=True)
    weight = torch.randn(192, 32, 3, 3, 3, requires_grad=True)

    def seconds(work) -> float:
        start = time.perf_counter()
        work().backward()
        return time.perf_counter() - start

    rounds = [
        (
            seconds(lambda: regression_loss(predicted, target, 5.0, 10.0)),
            seconds(lambda: torch.nn.functional.conv3d(inputs, weight, padding=1).sum()),
        )
        for _ in range(6)
    ]
    loss, convolution = (min(times) for times in zip(*rounds, strict=True))
    assert loss < 0.5 * convolution
