"""How far two values of a column are apart, signed by which way is worse. Knows columns and units, no records."""

from __future__ import annotations

import math

from gcbench.bench.metrics.registry import columns, floors

_SMALLEST_LENGTH = 1e-12  # a distance under this is rounding: the normalised mesh spans 2


def worsening(name: str, old: float, new: float) -> float:
    """Signed change of a column, its floor, or ``bytes``; positive is worse.

    Bytes, lengths and counts change relatively; fractions, cosines, similarities and flags absolutely. So that one
    limit suits a distance, its square and its PSNR, the last two count as the relative change of the distance behind
    them: √(new/old) − 1, and |10^(|ΔdB|/20) − 1|. A column that ranks nothing has no worse direction: a change of it is
    positive either way.

    Parameters
    ----------
    name : str
        Of a column, of a floor of one, or ``bytes``. An unknown name, of a suite that is not installed, counts as a
        length.
    old, new : float
        Values; where one of them is not finite, the change is infinite, and is for the worse where the new one is not.
    """
    column = columns().get(name) or floors().get(name)
    unit, better = (column.unit, column.better) if column else ("length", "lower")
    if not (math.isfinite(old) and math.isfinite(new)):
        return 0.0 if old == new else -math.inf if math.isfinite(new) else math.inf
    if unit == "squared length":
        old, new = math.copysign(math.sqrt(abs(old)), old), math.copysign(math.sqrt(abs(new)), new)
    difference = abs(new - old) if better is None else new - old if better == "lower" else old - new
    match unit:
        case "dB":
            return math.copysign(10 ** (abs(difference) / 20) - 1, difference)
        case "length" | "squared length":
            return 0.0 if abs(difference) <= _SMALLEST_LENGTH else difference / max(abs(old), _SMALLEST_LENGTH)
        case "count":
            return difference / max(abs(old), 1.0)
        case _:
            return difference
