"""The metrics by name: which way is better, how to label an axis, what exactly is measured.

Tables, figures and ranking read this; nothing here computes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One column of results.

    Parameters
    ----------
    name : str
        Key in the result of `measure`.
    label : str
        For axes and table heads, scale included: ``CD ×10⁻³``.
    scale : float
        Multiply a value by this to show it under `label`.
    better : {"lower", "higher"}
        Orientation.
    unit : str
        ``length`` (the normalised mesh spans 2 along its longest side), ``fraction``, ``cosine`` or ``dB``.
    definition : str
        One line.
    floor : str or None
        Key of the value for the original against itself; None where the metric has no sampling noise in its target.
    """

    name: str
    label: str
    scale: float
    better: Literal["lower", "higher"]
    unit: Literal["length", "fraction", "cosine", "dB"]
    definition: str
    floor: str | None = None

    def is_better(self, a: float, b: float) -> bool:
        """Whether value `a` is strictly better than value `b`."""
        return a < b if self.better == "lower" else a > b


METRICS = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "cd",
                "CD ×10⁻³",
                1e3,
                "lower",
                "length",
                "half the sum of the two directed mean distances between samples (unsquared; paper Eq. 9)",
                "cd_floor",
            ),
            Metric(
                "nc",
                "NC",
                1.0,
                "higher",
                "cosine",
                "mean absolute cosine between normals of nearest samples, both directions (paper Eq. 10)",
                "nc_floor",
            ),
            Metric(
                "f1_0005",
                "F1-0.005",
                1.0,
                "higher",
                "fraction",
                "F1 of the samples with a sample of the other surface nearer than 0.005 (paper Eq. 11, 12)",
                "f1_0005_floor",
            ),
            Metric(
                "f1_001",
                "F1-0.01",
                1.0,
                "higher",
                "fraction",
                "F1 of the samples with a sample of the other surface nearer than 0.01 (paper Eq. 11, 12)",
                "f1_001_floor",
            ),
            Metric(
                "cd_p2s",
                "p2s ×10⁻³",
                1e3,
                "lower",
                "length",
                "half the sum of the two directed mean distances from samples to the exact other surface",
            ),
            Metric(
                "nc_p2s",
                "NC p2s",
                1.0,
                "higher",
                "cosine",
                "mean absolute cosine between a sample's normal and that of the closest face, both directions",
            ),
            Metric(
                "hausdorff_p2s",
                "Hausdorff ×10⁻³",
                1e3,
                "lower",
                "length",
                "largest distance from a sample or vertex of either surface to the exact other one",
            ),
            Metric(
                "p99_p2s",
                "p2s 99 % ×10⁻³",
                1e3,
                "lower",
                "length",
                "99th percentile of the distances from samples to the exact other surface, worse direction",
            ),
            Metric(
                "f1_p2s_0005",
                "F1-0.005 p2s",
                1.0,
                "higher",
                "fraction",
                "F1 of the samples nearer than 0.005 to the exact other surface",
            ),
            Metric(
                "f1_p2s_001",
                "F1-0.01 p2s",
                1.0,
                "higher",
                "fraction",
                "F1 of the samples nearer than 0.01 to the exact other surface",
            ),
            Metric(
                "d1_psnr_bbox",
                "D1 PSNR (dB, peak = box)",
                1.0,
                "higher",
                "dB",
                "PSNR between nearest samples, 10 log10(3 p²/MSE), p = longest side of the original, worse direction",
            ),
            Metric(
                "d2_psnr_bbox",
                "D2 PSNR (dB, peak = box)",
                1.0,
                "higher",
                "dB",
                "as D1, with the error projected on the normal of the nearest sample (point to plane)",
            ),
        )
    }
)
"""Every metric of `measure` by name, in the order of tables. Floors are columns of their own, named by ``floor``."""
