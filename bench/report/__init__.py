"""``bench report``: a run as one HTML file that needs no network: curves, meshes, tables, coverage, provenance.

content.py   records → plain values          cases.py     which codings to show in 3-D
packing.py   meshes → few bytes              scenes.py    inputs and decoded meshes within a budget
page.py      everything → one HTML file      assets/      the page's HTML, CSS and scripts
"""

from gcbench.bench.report.page import Built, build

__all__ = ["Built", "build"]
