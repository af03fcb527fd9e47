"""How far a decoded volume is from the fitted one: the regression loss of Eq. 3.

Value and gradient are computed together, one volume after the other, so that a volume stays in the cache. The Gaussian
window is applied by shifts and sums along one axis after the other, which takes a small part of the convolutions' time.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

WINDOW = 5  # side of the Gaussian window, and its standard deviation in voxels: the authors' choice
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]


_REACH = WINDOW // 2
_GAUSSIAN = [math.exp(-(k**2) / (2 * SIGMA**2)) for k in range(_REACH + 1)]
_TAPS = [tap / (2 * sum(_GAUSSIAN) - 1) for tap in _GAUSSIAN]


def _blur(volumes: Tensor) -> Tensor:
    """Gaussian means around every voxel of (n, K, K, K + 2), of which the last two planes are 0 and come out undefined.

    These zeros part each row from the next, so that along the last axis, too, a neighbour is a shift of all memory.
    """
    blurred = _blur_along(0, volumes.reshape(-1)).view_as(volumes)
    return _blur_along(1, _blur_along(2, blurred))


def _blur_along(axis: int, values: Tensor) -> Tensor:
    blurred = values * _TAPS[0]
    for k in range(1, _REACH + 1):
        length = values.shape[axis] - k
        blurred.narrow(axis, k, length).add_(values.narrow(axis, 0, length), alpha=_TAPS[k])
        blurred.narrow(axis, 0, length).add_(values.narrow(axis, k, length), alpha=_TAPS[k])
    return blurred


def _ssim(x: Tensor, y: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Mean SSIM of each of n volumes in [0, 1], (n, K, K, K), and the derivative of these means by x.

    With μ and E the windowed means, SSIM = A₁A₂ / B₁B₂, A₁ = 2μₓμᵧ + c₁, A₂ = 2(Exy - μₓμᵧ) + c₂, B₁ = μₓ² + μᵧ² + c₁,
    B₂ = Exx - μₓ² + Eyy - μᵧ² + c₂; the derivatives by μₓ, Exx and Exy go back through the same symmetric window.
    """
    size = x.shape[-1]
    x, y = (torch.nn.functional.pad(volume, (0, _REACH)) for volume in (x, y))
    mu_x, mu_y, squares, products = _blur(x), _blur(y), _blur(x * x + y * y), _blur(x * y)
    mu_xy = mu_x * mu_y
    mu_squares = mu_x * mu_x + mu_y * mu_y
    a1 = 2 * mu_xy + C1
    a2 = 2 * (products - mu_xy) + C2
    b1 = mu_squares + C1
    b2 = squares - mu_squares + C2
    ssim = a1 * a2 / (b1 * b2)
    mean = ssim[..., :size].mean((1, 2, 3))
    if not gradient:
        return mean, None
    by_product = 2 * a1 / (b1 * b2)
    by_square = -ssim / b2
    by_mu = 2 * (mu_y * (a2 - a1) / (b1 * b2) - mu_x * (ssim / b1 + by_square))
    back = []
    for slope in (by_mu, by_square, by_product):
        slope[..., size:] = 0.0
        back.append(_blur(slope))
    slope = back[0] + 2 * x * back[1] + y * back[2]
    return mean, slope[..., :size] / size**3


class _Regression(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, predicted: Tensor, target: Tensor, mask_weight: float, ssim_weight: float) -> Tensor:
        batch, channels = predicted.shape[:2]
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(predicted, memory_format=torch.contiguous_format)
        weights = torch.full_like(target[:, :1], 1 / predicted.numel())
        if mask_weight:
            near = target[:, :1].abs() < 1
            weights += near * (mask_weight / near.sum().clamp_(min=1))
        # The means of TSDF and deformation count the same, whatever their number of channels.
        shares = predicted.new_full((channels,), ssim_weight / batch)
        shares[1:] /= max(channels - 1, 1)
        total = predicted.new_zeros(())
        # A volume at a time stays in the cache of a CPU; a GPU is better filled by a mesh at a time.
        together = 1 if predicted.device.type == "cpu" else channels
        for mesh, first in product(range(batch), range(0, channels, together)):
            chunk = slice(first, first + together)
            x, y = predicted[mesh, chunk], target[mesh, chunk]
            difference = x - y
            total += (difference.abs() * weights[mesh]).sum()
            slope = difference.sign_().mul_(weights[mesh])
            if ssim_weight:
                mean, by_x = _ssim((x + 1).mul_(0.5), (y + 1).mul_(0.5), gradient=wanted)
                total += (shares[chunk] * (1 - mean)).sum()
                if by_x is not None:
                    slope.addcmul_(by_x, shares[chunk, None, None, None], value=-0.5)
            gradient[mesh, chunk] = slope
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
