"""How far decoded values are from the target: the distance that training weighs against bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gcbench.necgs.designs import sparse_network
from gcbench.necgs.designs.sparse import BLOCKS, THRESHOLD, TRUNCATION
from gcbench.necgs.designs.sparse_targets import UNIT, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = BLOCKS**3
MEAN_WEIGHT, SCORE_WEIGHT = 0.2, 0.1  # of the errors of means, and of the cross entropy of scores
NEAR_SHARE = 0.2  # of the blocks near the surface that it does not cross, those that a step trains on
MOST_BLOCKS = 800  # of a mesh, whose values a step trains
VERTEX_SHARE = 0.5  # of the vertices of a block
OTHER_BLOCKS = 1000  # of a mesh, far from the surface, whose means and scores a step trains
MOST_WRONG = 100  # blocks of a mesh that the decoder would choose and that are far from the surface
_FAR_SHARE = 0.1  # of a block far from the surface, in the losses of means and scores
_FAR_WEIGHT = 0.02  # of a value that is far from the surface
_HALF_CELL = 0.5 / TRUNCATION  # a deformation of 1, over the truncation, times the cells of a block's side
_SPREAD = 1 / 3  # how fast the weight of a value falls off with its distance, in truncations: one cell at K = 128


def distortion(
    weights: Mapping[str, Tensor],
    latents: Tensor,
    targets: Sequence[Target],
    precision: torch.dtype,
    rng: np.random.Generator,
    *,
    values: bool = True,
) -> tuple[Tensor, Tensor]:
    """Two losses: the mean weighted error of values near the surface, and that of means and scores of blocks.

    The error of a vertex's deformation is added to that of its value, both as lengths.

    Parameters
    ----------
    weights : mapping of str to Tensor
    latents : (B, C, 4, 4, 4) float32
    targets : sequence of B Target
        They say which blocks are compared, and with what; the values themselves depend on weights and latents alone.
    precision : torch.dtype
        Of the activations.
    rng : Generator
        Of the blocks and vertices that are drawn.
    values : bool
        Whether the first loss is computed; else it is 0.
    """
    trunk, means, scores = sparse_network.coarse(weights, latents, precision)
    chosen = (scores.detach() > THRESHOLD).reshape(len(targets), -1).cpu().numpy()
    count = targets[0].values.shape[1]
    vertices = rng.permutation(count)[: max(1, round(VERTEX_SHARE * count))]
    blocks, wanted = [], []  # of values
    deformed = targets[0].moves is not None
    moved, moves = [], []  # of the same blocks, and what their vertices are displaced by
    places, labels, goal_means, counts = [], [], [], []  # of means and scores: blocks near the surface and some others
    for i, target in enumerate(targets):
        chosen[i, target.near] = False
        wrong = np.flatnonzero(chosen[i])
        wrong = rng.permutation(wrong)[:MOST_WRONG]
        others = np.concatenate([rng.integers(0, _ROWS, OTHER_BLOCKS), wrong])
        others = others[~target.is_near[others]]
        place = np.concatenate([target.near, others])
        places.append(place + i * _ROWS)
        goal_means.append(target.mean_of_blocks[place])
        labels += [target.crossed, np.zeros(len(others), bool)]
        counts += [
            np.ones(len(target.near)),
            np.full(len(others), 0.1 * (_ROWS - len(target.near)) / max(1, len(others))),
        ]
        kept = np.flatnonzero(target.crossed | (rng.random(len(target.near)) < NEAR_SHARE))
        kept = _slab(target.near[kept], kept, rng)
        blocks += [target.near[kept].astype(np.int64) + i * _ROWS, wrong + i * _ROWS]
        side = np.sign(target.mean_of_blocks[wrong])[:, None] * np.full(len(vertices), UNIT, np.float32)
        wanted += [target.values[kept][:, vertices].astype(np.float32), side]
        if target.moves is not None:
            number = np.cumsum(target.crossed) - 1
            crossed = target.crossed[kept]
            moved += [crossed, np.zeros(len(wrong), bool)]
            moves.append(target.moves[number[kept[crossed]]][:, :, vertices])

    def put(parts: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts, dtype=np.float32)).to(latents.device)

    fine = torch.zeros((), device=latents.device)
    if values:
        goal = put(wanted) / UNIT
        shown = torch.from_numpy(vertices).to(latents.device)
        found = sparse_network.fine(weights, trunk, means, np.concatenate(blocks), shown)
        weight = torch.exp(goal.abs() / -_SPREAD).add_(_FAR_WEIGHT)
        fine = (weight * _error(found[0], goal)).sum() / weight.sum()
        if deformed:
            some = torch.from_numpy(np.concatenate(moved)).to(latents.device)
            error = (found[1:, some].transpose(0, 1) - put(moves) / UNIT).abs().sum(1)
            fine = fine + _HALF_CELL / round(count ** (1 / 3)) * (weight[some] * error).sum() / weight.sum()
    rows = torch.from_numpy(np.concatenate(places)).to(latents.device)
    share = put(counts)
    mean_error = _error(means.reshape(-1)[rows], put(goal_means) / UNIT)
    score_loss = functional.binary_cross_entropy_with_logits(scores.reshape(-1)[rows], put(labels), reduction="none")
    return fine, ((MEAN_WEIGHT * mean_error + SCORE_WEIGHT * score_loss) * share).sum() / len(np.concatenate(labels))


def _slab(blocks: NDArray[np.int32], numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The numbers of at most ``MOST_BLOCKS`` blocks between two planes: neighbours share what they read."""
    if len(blocks) <= MOST_BLOCKS:
        return numbers
    along = np.stack(np.unravel_index(blocks, (BLOCKS,) * 3), 1) @ rng.normal(size=3)
    start = rng.integers(len(blocks) - MOST_BLOCKS + 1)
    return numbers[np.argpartition(along, [start, start + MOST_BLOCKS - 1])[start : start + MOST_BLOCKS]]


def _error(values: Tensor, goal: Tensor) -> Tensor:
    """Absolute difference; 0 where both are beyond the truncation on the same side."""
    # Where the goal is ±1, a value further out is clamped to it: no error and no gradient. Others are not clamped, so
    # that a value on the wrong side keeps its gradient.
    values = torch.where(goal >= 1, values.clamp_max(1), torch.where(goal <= -1, values.clamp_min(-1), values))
    return (values - goal).abs()
