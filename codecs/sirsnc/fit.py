"""Fits the linear encoder and decoders of SIR-SNC, and counts the frequency tables: no descent, the same each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcbench.codecs.sirsnc.network import LATENT_CHANNELS, SIDES, VALUES, Linear, quantised, with_one
from gcbench.codecs.sirsnc.samples import Batch
from gcbench.entropy.voxel_features import FIRST, LAST
from gcbench.training.sparse.features import ESCAPE, Tables, tables_of
from gcbench.training.sparse.voxels import NEIGHBOURS

_RIDGE = 1e-3  # of the mean square of a column, for each row
_PART = 8192  # rows at a time
_TAIL_SHARE = 0.02  # of a table: of a Laplace distribution, so that no feature near the others has the frequency 0


@torch.no_grad()
def fit(linear: Linear, batches: Sequence[Batch], steps: Sequence[float]) -> None:
    """Fit to samples.

    The encoder: regression of values on the sides around blocks, then the principal components of what is left. The
    decoder of a rate: regression of values on the sides and on the rounded latents of the 27 blocks around.

    Parameters
    ----------
    linear : Linear
        Changed.
    batches : sequence of Batch
    steps : sequence of float
        Of the quantiser of each rate, in cells.
    """
    linear.gains.copy_(1 / torch.tensor(steps))
    expected = _Regression(SIDES, VALUES)
    for samples in batches:
        expected.add(with_one(samples.around), samples.values)
    by_sides = expected.solve()
    scatter = torch.zeros(VALUES, VALUES, dtype=torch.float64)
    for samples in batches:
        rest = (samples.values - with_one(samples.around) @ by_sides).double()
        scatter += rest.t() @ rest
    analysis = torch.linalg.eigh(scatter).eigenvectors.flip(1)[:, :LATENT_CHANNELS].float()
    linear.analysis.copy_(analysis)
    linear.expected.copy_(by_sides @ analysis)
    for rate in range(len(steps)):
        regression = _Regression(SIDES + NEIGHBOURS * LATENT_CHANNELS, VALUES)
        for samples in batches:
            latents = quantised(linear.encode(samples.values, samples.around, rate)) / linear.gains[rate]
            table = samples.voxels.neighbours().long()
            padded = torch.cat([latents, latents.new_zeros(1, LATENT_CHANNELS)])
            for first in range(0, len(table), _PART):
                part = slice(first, first + _PART)
                columns = [with_one(samples.around[part]), padded[table[part]].flatten(1)]
                regression.add(torch.cat(columns, 1), samples.values[part])
        found = regression.solve()
        linear.by_sides[rate] = found[:SIDES]
        linear.by_latents[rate] = found[SIDES:].view(NEIGHBOURS, LATENT_CHANNELS, VALUES)


class _Regression:
    """Least squares, with a ridge; rows are added in parts."""

    def __init__(self, columns: int, outputs: int) -> None:
        self._gram = torch.zeros(columns, columns, dtype=torch.float64)
        self._moment = torch.zeros(columns, outputs, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        self._gram += (x.t() @ x).double()
        self._moment += (x.t() @ y).double()

    def solve(self) -> Tensor:
        ridge = _RIDGE * self._gram.diagonal().mean() * torch.eye(len(self._gram), dtype=torch.float64)
        found: Tensor = torch.linalg.solve(self._gram + ridge, self._moment)
        return found.float()


@torch.no_grad()
def count_tables(linear: Linear, batches: Sequence[Batch], rate: int) -> Tables:
    """Count the rounded features of each channel: (16, 257) frequencies out of 2^16.

    A small share of each table is a Laplace distribution of the same mean magnitude.
    """
    counts: NDArray[np.float64] = np.zeros((LATENT_CHANNELS, ESCAPE))
    sizes: NDArray[np.float64] = np.zeros(LATENT_CHANNELS)
    total = 0
    for samples in batches:
        found = quantised(linear.encode(samples.values, samples.around, rate)).long().numpy()
        total += len(found)
        sizes += np.abs(found).sum(0)
        for channel in range(LATENT_CHANNELS):
            inside = found[(found[:, channel] >= FIRST) & (found[:, channel] <= LAST), channel]
            counts[channel] += np.bincount(inside - FIRST, minlength=ESCAPE)
    decay = 1 / np.maximum(2 * sizes / total, 0.2)
    tail = np.exp(-np.abs(np.arange(FIRST, LAST + 1)) * decay[:, None])
    tail *= total / tail.sum(1, keepdims=True)
    return tables_of(((1 - _TAIL_SHARE) * counts + _TAIL_SHARE * tail) / total)
