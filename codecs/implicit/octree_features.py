"""Codes the rounded features of an octree: first the scale of each level, then the features of all levels.

For each level, the coder starts from a Laplace distribution of this scale and adapts to neighbouring features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gcbench.entropy import voxel_features
from gcbench.entropy.container import Fields, Writer
from gcbench.entropy.tables import LOCATION_STEPS, SCALE_OF_ONE, SCALES, STEPS_PER_OCTAVE, bell_frequencies
from gcbench.entropy.voxel_features import FIRST, LAST

Symbols = NDArray[np.int64]
_LAPLACE = 4  # shape parameter of the prior, in quarters


def encode_features(levels: Sequence[Symbols], corners: Sequence[NDArray[np.int32]]) -> bytes:
    """Code the features of all corners.

    Parameters
    ----------
    levels : sequence of (corners, C) int
        Features within ±32767, coarsest level first.
    corners : sequence of (corners, 3) int32
        Positions of the corners of each level, sorted.
    """
    scales = [_scale(symbols) for symbols in levels]
    places = [_level(at, scale, symbols.shape[1]) for at, scale, symbols in zip(corners, scales, levels, strict=True)]
    return Writer().byte(*scales).raw(voxel_features.encode_features(levels, places)).data()


def decode_features(data: bytes, corners: Sequence[NDArray[np.int32]], channels: int) -> list[Symbols]:
    """Inverse of :func:`encode_features`.

    Raises
    ------
    BitstreamError
        The data are not features of these corners.
    """
    fields = Fields(data)
    scales = [fields.byte("scale of a level's features", 0, SCALES - 1) for _ in corners]
    places = [_level(at, scale, channels) for at, scale in zip(corners, scales, strict=True)]
    return [symbols.astype(np.int64) for symbols in voxel_features.decode_features(fields.rest(), places)]


def _scale(symbols: Symbols) -> int:
    """Index of the scale of the Laplace distribution that has the symbols' mean magnitude."""
    octaves = np.log2(np.abs(symbols).mean() + 1e-3)
    return int(np.clip(np.rint(SCALE_OF_ONE + STEPS_PER_OCTAVE * octaves), 0, SCALES - 1))


def _level(corners: NDArray[np.int32], scale: int, channels: int) -> voxel_features.Level:
    table = bell_frequencies(LAST - FIRST + 1, -FIRST * LOCATION_STEPS, _LAPLACE, scale)
    return voxel_features.Level(corners, np.tile(table, (channels, 1)))
