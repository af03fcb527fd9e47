"""What decoding a stream of NeCGS may cost: an allowance that every stream has, and a share for each of its bytes.

A few bytes can describe a decoder of gigabytes, or a thousand meshes of hours. A stream that training made has bytes
for its meshes and its decoder, so the work of a decoder grows with the length of the stream. Example: 659 bytes may
declare 2^25 + 659 · 2^17 voxels, which are 7 volumes of 256³.

The shares are those of sets of 500 meshes at the effort ``paper``, times 1.4 or more. The set with the fewest bytes a
mesh is the perceptron's: 75 bytes a mesh, with the decoder, for 128³ voxels, 2 · 10^10 multiply-adds and some 200 000
triangles.
"""

from __future__ import annotations

from gcbench.entropy.budget import Budget

#: Of the longest streams. A decoder of 64 channels at K = 256 takes 2.5 GB; 500 meshes at K = 256 have 2^33 voxels.
BUDGET = Budget(memory=4 << 30, voxels=1 << 34, multiply_adds=10**15, meshes=1 << 14, triangles=1 << 22)

_SYMBOLS = (1 << 20, 1 << 8)  # of a decoder, of features; sparse codes 350 000 weights, most of them 0, in 400 bytes
_TRIANGLES = (1 << 21, 1 << 12)  # of all meshes together


def budget_of(stream_bytes: int) -> Budget:
    """What decoding a stream of this length may take."""

    def share(most: int, free: int, for_a_byte: int) -> int:
        return min(most, free + for_a_byte * stream_bytes)

    return Budget(
        memory=share(BUDGET.memory, 256 << 20, 1 << 14),
        voxels=share(BUDGET.voxels, 1 << 25, 1 << 17),
        multiply_adds=share(BUDGET.multiply_adds, 10**11, 5 * 10**8),
        meshes=BUDGET.meshes,
        triangles=share(BUDGET.triangles, 1 << 20, 1 << 6),
    )


def most_symbols(stream_bytes: int) -> int:
    """Parameters of the decoder, or symbols of the features of all meshes, in a stream of this length."""
    free, for_a_byte = _SYMBOLS
    return free + for_a_byte * stream_bytes


def most_triangles(stream_bytes: int) -> int:
    """Triangles of all meshes of a stream of this length."""
    free, for_a_byte = _TRIANGLES
    return free + for_a_byte * stream_bytes
