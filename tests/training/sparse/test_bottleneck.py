"""The learnt distributions are distributions, and likelihoods are their differences."""

from __future__ import annotations

import math

import pytest
import torch

from gcbench.training.sparse.bottleneck import LIKELIHOOD_FLOOR, FactorizedBottleneck


@pytest.fixture
def bottleneck() -> FactorizedBottleneck:
    torch.manual_seed(0)
    model = FactorizedBottleneck(8)
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def test_cdf_rises_from_0_to_1(bottleneck):
    cdf = bottleneck.cdf(-200, 200)
    assert cdf.shape == (8, 402)
    assert cdf.dtype == torch.float64
    assert (cdf.diff(dim=1) >= 0).all()
    torch.testing.assert_close(cdf[:, 0], torch.zeros(8, dtype=torch.float64), atol=1e-2, rtol=0)
    torch.testing.assert_close(cdf[:, -1], torch.ones(8, dtype=torch.float64), atol=1e-2, rtol=0)


def test_likelihood_is_the_mass_of_an_integer(bottleneck):
    integers = torch.arange(-20, 21).float()[:, None].expand(-1, 8)
    mass = bottleneck.cdf(-20, 20).diff(dim=1).t().clamp(min=LIKELIHOOD_FLOOR)
    torch.testing.assert_close(bottleneck.likelihood(integers).double(), mass, atol=1e-6, rtol=1e-4)
    assert bottleneck.bits(integers).item() == pytest.approx(-torch.log2(mass).sum().item(), rel=1e-4)


def test_far_values_cost_the_floor_and_still_pull(bottleneck):
    y = torch.full((1, 8), 1e4, requires_grad=True)
    bits = bottleneck.bits(y)
    assert bits.item() == pytest.approx(-8 * math.log2(LIKELIHOOD_FLOOR), rel=1e-5)


def test_fits_a_known_distribution():
    """Trained on rounded normal samples, the expected bits come close to their entropy."""
    torch.manual_seed(0)
    model, normal = FactorizedBottleneck(1), torch.distributions.Normal(1.0, 3.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        y = normal.sample((1000, 1)) + torch.rand(1000, 1) - 0.5
        optimizer.zero_grad()
        (model.bits(y) / 1000).backward()
        optimizer.step()
    y = normal.sample((50_000, 1)).round()
    edges = torch.arange(-30, 33) - 0.5
    mass = normal.cdf(edges).diff()
    entropy = -(mass[mass > 0] * mass[mass > 0].log2()).sum().item()
    assert model.bits(y).item() / 50_000 == pytest.approx(entropy, abs=0.05)
