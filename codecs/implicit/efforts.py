"""The settings that an effort stands for in implicit codecs, and the progress reports of their training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gcbench.codecs.base import Context, Effort
from gcbench.entropy.budget import Budget
from gcbench.geometry.marching_cubes import evaluated_points

FINEST = 256  # cells along a side of the finest grid
# Bytes of arrays beside the weights, on the finest grid: the volume, its marked points, and blocks of points. Coarser
# grids count as much, so that a coarse grid does not make room for a network that no rate has.
_ARRAYS = 192 << 20
_BYTES_OF_A_WEIGHT = 48  # while weights are decoded: symbols, their order, values, the network
_MARGIN = 2  # over what the largest rate needs if the surface can pass through every cell of the grid
MOST_TRIANGLES = 3 << 20  # of a surface on the finest grid; a sphere has 300 000


@dataclass(frozen=True)
class Cost:
    """What decoding one stream of an implicit codec takes; see :class:`~gcbench.entropy.budget.Budget`."""

    memory: int
    voxels: int
    multiply_adds: int


def cost(resolution: int, weights: int, for_a_point: int) -> Cost:
    """Upper bound of what evaluating a field on a grid takes.

    Parameters
    ----------
    resolution : int
        Cells along a side of the grid.
    weights : int
        Numbers that the stream stores.
    for_a_point : int
        Multiply-adds at one point.
    """
    return Cost(
        memory=_ARRAYS + _BYTES_OF_A_WEIGHT * weights,
        voxels=(resolution + 1) ** 3,
        multiply_adds=evaluated_points(resolution) * for_a_point,
    )


def implicit_budget(weights: int, for_a_point: int) -> Budget:
    """The budget of a codec whose largest rate has some weights, and takes some multiply-adds at one point."""
    most = cost(FINEST, weights, for_a_point)
    return Budget(
        memory=most.memory + (_MARGIN - 1) * _BYTES_OF_A_WEIGHT * weights,
        voxels=most.voxels,
        multiply_adds=_MARGIN * most.multiply_adds,
        meshes=1,
        triangles=MOST_TRIANGLES,
    )


def perceptron_size(inputs: int, layers: int, width: int) -> int:
    """Parameters of a perceptron with one output: also its multiply-adds at one point."""
    return (inputs + 1) * width + (layers - 1) * (width + 1) * width + width + 1


@dataclass(frozen=True)
class Fit:
    """Settings of an effort.

    Parameters
    ----------
    samples, steps, batch : int
        Points drawn for a mesh, steps of the optimiser, points in a step.
    resolution : int
        Cells along a side of the grid on which the decoder meshes the field.
    learning_rate : float
        Of a perceptron, times the square root of its width. Short trainings need more than long ones.
    """

    samples: int
    steps: int
    batch: int
    resolution: int
    learning_rate: float = 0.04


# The mark ends a rate's label, because networks of the same shape that are trained for longer are another rate.
MARKS: dict[Effort, str] = {"quick": "q", "standard": "", "paper": "p"}


def watched(ctx: Context) -> Callable[[float, str], None]:
    """A callback that reports progress to the context and raises at the deadline."""

    def progress(done: float, message: str) -> None:
        ctx.check_deadline()
        ctx.progress(done, message)

    return progress
