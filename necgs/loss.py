"""How far a decoded volume is from the fitted one: the regression loss of Eq. 3.

Knows volumes only. Value and gradient are computed together, mesh by mesh while it is in the cache, and the Gaussian
window is three products with a banded K × K matrix: together a small part of the convolutions' time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

WINDOW = 5  # side of the Gaussian window, and its standard deviation in voxels: the authors' choice
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]


@lru_cache(maxsize=8)
def _window(size: int, device: torch.device) -> Tensor:
    """Matrix (size, size), symmetric, that convolves with the Gaussian; beyond the ends is 0."""
    offset = torch.arange(size, dtype=torch.float64)
    distance = offset[:, None] - offset
    gaussian = torch.exp(-(distance**2) / (2 * SIGMA**2))
    total = sum(torch.exp(torch.tensor(-(k**2) / (2 * SIGMA**2))) for k in range(-(WINDOW // 2), WINDOW // 2 + 1))
    gaussian[distance.abs() > WINDOW // 2] = 0.0
    return (gaussian / total).to(device=device, dtype=torch.float32)


def _blur(volumes: Tensor) -> Tensor:
    """Gaussian means around every voxel of (n, K, K, K)."""
    n, size = volumes.shape[:2]
    window = _window(size, volumes.device)
    z = volumes.reshape(-1, size) @ window
    y = torch.matmul(window, z.view(n * size, size, size))
    return torch.matmul(window, y.view(n, size, size * size)).view_as(volumes)


def _ssim(x: Tensor, y: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Mean SSIM of each of n volumes in [0, 1], and the derivative of these means by x.

    With μ and E the windowed means, SSIM = A₁A₂ / B₁B₂, A₁ = 2μₓμᵧ + c₁, A₂ = 2(Exy - μₓμᵧ) + c₂, B₁ = μₓ² + μᵧ² + c₁,
    B₂ = Exx - μₓ² + Eyy - μᵧ² + c₂; the derivatives by μₓ, Exx and Exy go back through the same symmetric window.
    """
    means = _blur(torch.cat((x, y, x * x + y * y, x * y)))
    mu_x, mu_y, squares, product = means.chunk(4)
    mu_xy = mu_x * mu_y
    mu_squares = mu_x * mu_x + mu_y * mu_y
    a1 = 2 * mu_xy + C1
    a2 = 2 * (product - mu_xy) + C2
    b1 = mu_squares + C1
    b2 = squares - mu_squares + C2
    scale = 1 / (b1 * b2)
    ssim = a1 * a2 * scale
    voxels = x[0].numel()
    mean = ssim.flatten(1).mean(1)
    if not gradient:
        return mean, None
    by_mu = 2 * (mu_y * (a2 - a1) * scale + mu_x * ssim * (1 / b2 - 1 / b1))
    by_square = -ssim / b2
    by_product = 2 * a1 * scale
    back = _blur(torch.cat((by_mu, by_square, by_product)))
    mu_back, square_back, product_back = back.chunk(3)
    return mean, (mu_back + 2 * x * square_back + y * product_back) / voxels


class _Regression(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, predicted: Tensor, target: Tensor, mask_weight: float, ssim_weight: float) -> Tensor:
        batch, channels = predicted.shape[:2]
        wanted = ctx.needs_input_grad[0]
        total = predicted.new_zeros(())
        gradient = torch.empty_like(predicted, memory_format=torch.contiguous_format) if wanted else None
        mask = (target[:, :1].abs() < 1).to(predicted.dtype) if mask_weight else None
        near = mask.sum().clamp_(min=1) if mask is not None else None
        groups = [slice(0, 1), slice(1, channels)] if channels > 1 else [slice(0, 1)]
        for i in range(batch):
            difference = predicted[i] - target[i]
            weight = torch.full_like(difference[:1], 1 / predicted.numel())
            if mask is not None and near is not None:
                weight += mask[i] * (mask_weight / near)
            total += (difference.abs() * weight).sum()
            slope = difference.sign_() * weight
            if ssim_weight:
                x = (predicted[i] + 1).mul_(0.5).contiguous()
                mean, by_x = _ssim(x, (target[i] + 1).mul_(0.5), gradient=wanted)
                for group in groups:
                    total += ssim_weight / batch * (1 - mean[group].mean())
                    if by_x is not None:
                        share = 0.5 * ssim_weight / (batch * len(mean[group]))
                        slope[group] -= share * by_x[group]
            if gradient is not None:
                gradient[i] = slope
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None


_apply: Callable[[Tensor, Tensor, float, float], Tensor] = _Regression.apply


def regression_loss(predicted: Tensor, target: Tensor, mask_weight: float, ssim_weight: float) -> Tensor:
    """Eq. 3 for a batch: mean absolute error + λ1 · that near the surface + λ2 · (1 - SSIM) of TSDF and deformation.

    The masked term adds up the channels' errors where the target's |TSDF| < 1 and divides by the number of such
    vertices in the batch. SSIM is taken over 5³ Gaussian windows (σ = 1.5, values mapped to [0, 1], 0 outside) of the
    TSDF and of the deformation apart, and both dissimilarities are added.

    Parameters
    ----------
    predicted, target : Tensor
        (batch, channels, K, K, K) float32; the gradient is taken by ``predicted`` alone, once.
    mask_weight, ssim_weight : float
        λ1 and λ2; a term with weight 0 is not computed.

    Returns
    -------
    Tensor
        Scalar.

    Source: Eq. 3; details as in the authors' code.
    """
    return _apply(predicted, target, mask_weight, ssim_weight)
