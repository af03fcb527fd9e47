"""How far two values of a metric are apart, signed by which way is worse. Knows names and units, nothing of cells."""

from __future__ import annotations

import math

from gcbench.bench.metrics.table import METRICS

_SMALLEST_LENGTH = 1e-12  # a distance under this is rounding: the normalised mesh spans 2


def worsening(name: str, old: float, new: float) -> float:
    """Signed change of a metric, its floor, or ``bytes``; positive is worse.

    Bytes and lengths change relatively, fractions and cosines absolutely. A PSNR counts as the relative change of the
    distance behind it, |10^(|ΔdB|/20) − 1|, so that one limit suits a distance and its PSNR.

    Parameters
    ----------
    name : str
        Of a metric in `METRICS`, of a floor of one, or ``bytes``.
    old, new : float
        Values; where one of them is not finite, the change is infinite, and is for the worse where the new one is not.
    """
    metric = METRICS.get(name) or _OF_FLOOR.get(name)
    unit, lower_is_better = (metric.unit, metric.better == "lower") if metric else ("length", True)
    if not (math.isfinite(old) and math.isfinite(new)):
        return 0.0 if old == new else -math.inf if math.isfinite(new) else math.inf
    difference = new - old if lower_is_better else old - new
    if unit == "dB":
        return math.copysign(10 ** (abs(difference) / 20) - 1, difference)
    if unit == "length":
        return 0.0 if abs(difference) <= _SMALLEST_LENGTH else difference / max(abs(old), _SMALLEST_LENGTH)
    return difference


_OF_FLOOR = {metric.floor: metric for metric in METRICS.values() if metric.floor}
