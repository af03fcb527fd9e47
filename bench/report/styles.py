"""How the page draws a codec: the colour, marker and dash that the figures give the codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gcbench.bench.analysis.figures.style import MARKERS, looks

#: Of the first and the second of two runs.
DASHES = ("", "7 4")
_LINE_WIDTH = 1.8  # pixels; dashes of figures are in widths of the line
_DARK_PAGE = "#14161a"
_CONTRAST = 5.0  # of a colour to the dark page; WCAG AA asks for 4.5 for text and 3 for graphics


def styles(codecs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How to draw codecs, by address.

    ``colour`` and ``dark`` are hexadecimal, for a white and for a dark page; ``marker`` is the index
    in ``MARKER_PATHS``, ``dash`` is as in SVG.
    """
    return {
        codec: {
            "colour": look.color,
            "dark": lightened(look.color),
            "marker": MARKERS.index(look.marker),
            "dash": _dash(look.line),
        }
        for codec, look in looks(codecs).items()
    }


def lightened(colour: str) -> str:
    """Mix a colour with white until it stands out from the dark page."""
    rgb = _rgb(colour)
    for white in np.arange(0.0, 1.0, 0.02):
        mixed = rgb + white * (1 - rgb)
        if (luminance(mixed) + 0.05) / (luminance(_rgb(_DARK_PAGE)) + 0.05) >= _CONTRAST:
            break
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in mixed)


def luminance(rgb: np.ndarray) -> float:
    """Relative luminance of sRGB values from 0 to 1. Source: WCAG 2.1, "relative luminance"."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def _dash(line: str | tuple[int, tuple[float, ...]]) -> str:
    return "" if isinstance(line, str) else " ".join(f"{length * _LINE_WIDTH:.1f}" for length in line[1])
