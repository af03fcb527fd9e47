"""The fields of a cloud's stream after the bits of its grid: weights, numbers of voxels, coordinates, features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gcbench.entropy.budget import Budget, Work
from gcbench.entropy.container import Fields, Writer
from gcbench.errors import BitstreamError
from gcbench.training.weight_files import FINGERPRINT_BYTES

FEATURE_CODERS = ("tables", "mixed")  # a stream holds an index into this tuple
MAX_BLOCKS = 1 << 10
MAX_COARSEST = 1 << 20  # voxels at stride 8, which take 100 bytes each while they are decoded

#: The faces of a cube at 10 bits, the paper's grid, have 6.3 million voxels and take 10^12 multiply-adds. A block of
#: 1.5 million voxels takes 2.7 GB.
BUDGET = Budget(memory=4 << 30, voxels=1 << 25, multiply_adds=10**13)
_CANDIDATE_BYTES = (1600, 1100, 900)  # for each of the eight children of a voxel at strides 8, 4 and 2
_CANDIDATE_ADDS = (400_000, 100_000, 25_000)


@dataclass(frozen=True)
class Cloud:
    """The fields of a stream, in their order.

    Parameters
    ----------
    fingerprint : bytes
        Four bytes that name the weights.
    coder : {"tables", "mixed"}
        Coder of the features.
    counts : tuple of three int each
        Voxels at strides 4, 2 and 1 of each block.
    coordinates : bytes
        The voxels at stride 8, as an octree.
    features : bytes
        Coded features of all blocks.
    """

    fingerprint: bytes
    coder: str
    counts: tuple[tuple[int, int, int], ...]
    coordinates: bytes
    features: bytes

    def pack(self) -> bytes:
        """Write the fields."""
        numbers = [count for block in self.counts for count in block]
        writer = Writer().raw(self.fingerprint).choice(self.coder, FEATURE_CODERS)
        return writer.number(len(self.counts), *numbers).block(self.coordinates).raw(self.features).data()


def unpack(contents: bytes) -> Cloud:
    """Read the fields.

    Raises
    ------
    BitstreamError
        The contents are too short, declare impossible numbers, or more work than the budget allows.
    """
    fields = Fields(contents, budget=BUDGET)
    fingerprint = fields.raw("fingerprint of the weights", FINGERPRINT_BYTES)
    coder = fields.choice("coder of the features", FEATURE_CODERS)
    blocks = fields.number("number of blocks", 1, MAX_BLOCKS)
    if 3 * blocks > fields.left:
        raise BitstreamError(f"{blocks} blocks are declared in {len(contents)} bytes")
    numbers = [fields.number("number of voxels", 0, BUDGET.voxels) for _ in range(3 * blocks)]
    counts = tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    fields.work.spend(voxels=sum(map(max, counts)))
    return Cloud(fingerprint, coder, counts, fields.block("coordinates"), fields.rest())


def check_work(coarsest: Sequence[int], counts: Sequence[tuple[int, int, int]]) -> None:
    """Hold what the network computes for all blocks against the budget; call this before the first block is computed.

    At each of three scales, the network computes all eight children of a voxel.

    Parameters
    ----------
    coarsest : sequence of int
        Voxels of each block at stride 8.
    counts : sequence of three int each
        Voxels of each block at strides 4, 2 and 1.

    Raises
    ------
    BitstreamError
        The work exceeds its budget, or a count is impossible: each voxel has one to eight children.
    """
    memory = multiply_adds = 0
    for places, (first, second, last) in zip(coarsest, counts, strict=True):
        for coarse, fine in ((places, first), (first, second), (second, last)):
            if not coarse <= fine <= 8 * coarse:
                raise BitstreamError(f"{fine} voxels are declared in {coarse} of twice the size")
        candidates = [8 * count for count in (places, first, second)]
        memory = max(memory, *(n * each for n, each in zip(candidates, _CANDIDATE_BYTES, strict=True)))
        multiply_adds += sum(n * each for n, each in zip(candidates, _CANDIDATE_ADDS, strict=True))
    Work(BUDGET).spend(memory=memory, multiply_adds=multiply_adds)
