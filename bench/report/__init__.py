"""``bench report``: a run, or two side by side, as one HTML file that needs no network.

content.py   records → plain values             cases.py       which codings to show in 3-D, in which order
spread.py    quantiles over the meshes          carried.py     which records of a large run the page carries
pair.py      two runs: one frame, and changes   failures.py    failures, meshes that failed alike together
styles.py    how codecs are drawn               scenes.py      inputs and decoded meshes within a budget
packing.py   meshes → few bytes                 preparing.py   one mesh, made ready in a process of its own
budget.py    bytes of meshes                    page.py        everything → one HTML file
assets/      the page's HTML, CSS and scripts
"""

from gcbench.bench.report.page import Built, build

__all__ = ["Built", "build"]
