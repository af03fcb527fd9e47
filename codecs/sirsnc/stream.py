"""The stream of SIR-SNC: its fields, and what decoding them takes."""

from __future__ import annotations

from dataclasses import dataclass

from gcbench.codecs.sirsnc.blocks import SIDE
from gcbench.codecs.sirsnc.weights import LABELS
from gcbench.entropy.budget import Budget, Work
from gcbench.entropy.container import Container, Writer
from gcbench.errors import BitstreamError
from gcbench.training.weight_files import FINGERPRINT_BYTES

FEATURE_CODERS = ("tables", "mixed")  # a stream holds an index into this tuple
MOST_SIDE = 64  # blocks along the grid: 256 vertices

#: A human at 256³ has some 5 000 blocks, whose network takes 2·10^9 multiply-adds; the thin walls of a CAD model may
#: take 3·10^10 and 1.5 GB.
BUDGET = Budget(memory=1 << 31, voxels=1 << 25, multiply_adds=5 * 10**10)
_BLOCK_ADDS, _OCTANT_ADDS = 80_000, 60_000  # multiply-adds of the network, for a block and for a kept octant
_BLOCK_BYTES = 12_000  # held at one time while a block with all its octants is computed
_VERTEX_BYTES = 24  # of the dense volume and what marching cubes derives from it

CONTAINER = Container(b"SNC", 1, "sirsnc", BUDGET)


@dataclass(frozen=True)
class Stream:
    """The fields of a stream, in their order.

    Parameters
    ----------
    fingerprint : bytes
        Four bytes that name the weights.
    coder : {"tables", "mixed"}
        Coder of the features.
    rate : int
        Which rate of the weights.
    side : int
        Blocks along the grid; it has 4 times as many vertices.
    octants : int
        Octants that the decoder keeps.
    places : bytes
        Coordinates of the blocks, as an octree.
    features : bytes
        Coded features.
    """

    fingerprint: bytes
    coder: str
    rate: int
    side: int
    octants: int
    places: bytes
    features: bytes

    @property
    def resolution(self) -> int:
        """Vertices along the grid."""
        return SIDE * self.side

    def pack(self) -> bytes:
        """Write the stream."""
        writer = Writer().raw(self.fingerprint).byte(FEATURE_CODERS.index(self.coder) * len(LABELS) + self.rate)
        writer.byte(self.side).number(self.octants).block(self.places).raw(self.features)
        return CONTAINER.pack(writer.data())


def depth(side: int) -> int:
    """Levels of the octree of a grid of blocks."""
    return (side - 1).bit_length()


def unpack(stream: bytes) -> tuple[Stream, Work]:
    """Read the fields; the second result counts what they declare.

    Raises
    ------
    BitstreamError
        The stream is short, damaged or foreign, or declares more than the budget allows.
    """
    fields = CONTAINER.open(stream)
    fingerprint = fields.raw("fingerprint of the weights", FINGERPRINT_BYTES)
    coder, rate = divmod(fields.byte("coder and rate", 0, len(FEATURE_CODERS) * len(LABELS) - 1), len(LABELS))
    side = fields.byte("resolution in blocks", 2, MOST_SIDE)
    octants = fields.number("number of octants", 1, 8 * side**3)
    resolution = SIDE * side
    fields.work.spend(voxels=resolution**3, memory=_VERTEX_BYTES * resolution**3)
    fields.work.spend(multiply_adds=_OCTANT_ADDS * octants)
    places = fields.block("coordinates")
    return Stream(fingerprint, FEATURE_CODERS[coder], rate, side, octants, places, fields.rest()), fields.work


def check_blocks(blocks: int, octants: int, work: Work) -> None:
    """Hold what the network computes for a number of blocks against the budget, before it computes.

    Raises
    ------
    BitstreamError
        The work exceeds its budget, or the number of octants is impossible: each block has one to eight.
    """
    if not blocks <= octants <= 8 * blocks:
        raise BitstreamError(f"{octants} octants are declared in {blocks} blocks")
    work.spend(memory=_BLOCK_BYTES * blocks, multiply_adds=_BLOCK_ADDS * blocks)
