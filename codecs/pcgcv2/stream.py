"""The fields of a cloud's stream after the bits of its grid: weights, numbers of voxels, coordinates, features."""

from __future__ import annotations

from dataclasses import dataclass

from gcbench.codecs.pcgcv2.ladder import FINGERPRINT_BYTES
from gcbench.entropy.budget import check_budget
from gcbench.entropy.container import Fields, Writer
from gcbench.errors import BitstreamError

FEATURE_CODERS = ("tables", "mixed")  # a stream holds an index into this tuple
MAX_BLOCKS = 1 << 12
MAX_VOXELS = 1 << 28


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
        The contents are too short, or declare impossible numbers.
    """
    fields = Fields(contents)
    fingerprint = fields.raw("fingerprint of the weights", FINGERPRINT_BYTES)
    coder = fields.choice("coder of the features", FEATURE_CODERS)
    blocks = fields.number("number of blocks", 1, MAX_BLOCKS)
    if 3 * blocks > fields.left:
        raise BitstreamError(f"{blocks} blocks are declared in {len(contents)} bytes")
    numbers = [fields.number("number of voxels", 0, MAX_VOXELS) for _ in range(3 * blocks)]
    counts = tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    check_budget("voxels", sum(map(max, counts)), MAX_VOXELS)
    return Cloud(fingerprint, coder, counts, fields.block("coordinates"), fields.rest())
