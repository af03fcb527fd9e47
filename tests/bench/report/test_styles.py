"""A codec looks on the page as it does in figures, and stands out from a dark page too."""

from __future__ import annotations

import pytest

from gcbench.bench.analysis.figures.style import BUILT_IN, COLORS, LINES, looks
from gcbench.bench.report.styles import _dash, _rgb, lightened, luminance, styles


def test_colours_are_those_of_figures():
    names = [*BUILT_IN, "necgs[k=1]", "a-plugin"]
    assert {name: style["colour"] for name, style in styles(names).items()} == {
        name: look.color for name, look in looks(names).items()
    }


@pytest.mark.parametrize("colour", COLORS)
def test_a_colour_stands_out_from_the_dark_page_and_one_that_does_is_kept(colour):
    light = lightened(colour)
    assert (luminance(_rgb(light)) + 0.05) / (luminance(_rgb("#14161a")) + 0.05) >= 4.9
    assert lightened("#ffffff") == "#ffffff"
    assert lightened("#3ccb9f") == "#3ccb9f"


def test_dashes_are_in_pixels_and_a_solid_line_has_none():
    assert _dash("-") == ""
    assert _dash((0, (5, 1.6))) == "9.0 2.9"
    assert all(isinstance(_dash(line), str) for line in LINES)


def test_luminance_is_that_of_the_standard():
    assert luminance(_rgb("#ffffff")) == pytest.approx(1.0)
    assert luminance(_rgb("#000000")) == 0.0
    assert luminance(_rgb("#808080")) == pytest.approx(0.2159, abs=1e-4)
