"""Formulas on arrays of distances: mean distances, F1, PSNR."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

F1_THRESHOLDS = {"0005": 0.005, "001": 0.01}
"""Suffix of a column's name → distance, in units of the normalised mesh. Source: NeCGS paper, section 4.1."""

PSNR_MAX_DB = float(10 * np.log10(3 / np.finfo(np.float64).eps ** 2))
"""317.8 dB: an RMS error of one float64 epsilon of the peak. Smaller errors count as this one: no PSNR is infinite."""


def mean_of_means(a: Floats, b: Floats) -> float:
    """Half the sum of the means of both directions. Source: NeCGS paper, appendix C.1, Eq. 9 and 10."""
    return 0.5 * (float(a.mean()) + float(b.mean()))


def f1_score(there: Floats, back: Floats, threshold: float) -> float:
    """Harmonic mean of the fractions of distances below a threshold; 0 if no distance is.

    Source: NeCGS paper, appendix C.1, Eq. 11 and 12, with counts read as fractions of the samples.
    """
    recall, precision = float(np.mean(there < threshold)), float(np.mean(back < threshold))
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def worse_mean_square(there: Floats, back: Floats) -> float:
    """The larger of the two directions' mean squares. Source: MPEG ``pc_error``."""
    return max(float(np.mean(np.square(there))), float(np.mean(np.square(back))))


def psnr_db(mean_square: float, peak: float) -> float:
    """10 log10(3 peak² / MSE), at most `PSNR_MAX_DB`. Source: MPEG ``pc_error``, geometry PSNR."""
    smallest = (float(np.finfo(np.float64).eps) * peak) ** 2
    return float(10 * np.log10(3 * peak**2 / max(mean_square, smallest)))
