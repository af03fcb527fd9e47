"""The change between two values of a column, in the unit that suits the column; positive is worse."""

from __future__ import annotations

import math

from gcbench.bench.metrics.registry import columns, floors

_SMALLEST_LENGTH = 1e-12  # a smaller distance is rounding: the normalised mesh spans 2


def worsening(name: str, old: float, new: float) -> float:
    """Signed change of a column, its floor, or ``bytes``; positive is worse.

    The change of bytes, lengths and counts is relative; the change of fractions, cosines, similarities and flags is a
    difference. A squared distance and a PSNR count as the relative change of the distance behind them, √(new/old) − 1
    and |10^(|ΔdB|/20) − 1|, so that one limit suits all three. A column that ranks nothing has no worse direction: its
    change is always positive.

    Parameters
    ----------
    name : str
        Name of a column, name of a floor, or ``bytes``. An unknown name, e.g. of a suite that is not installed, is
        treated as a length.
    old, new : float
        Values. If one is not finite, the change is infinite: worse if the new value is not finite, else better.
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
