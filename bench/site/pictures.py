"""Figures of a set as small PNG files, each with the fingerprint of the records that it shows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gcbench import plain_text
from gcbench.bench.analysis.coverage import Common
from gcbench.bench.analysis.equal_quality import at_quality, common_quality
from gcbench.bench.analysis.figures import Kind, drawn, stem
from gcbench.bench.analysis.figures.curves import panels
from gcbench.bench.analysis.frame import BLOCK
from gcbench.bench.analysis.measured import ranking_column
from gcbench.bench.site.sets import Reference
from gcbench.bench.store import safe_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: tuple[Kind, ...] = ("rd", "pareto", "amortisation")
ALT = {
    "rd": "Quality against compression ratio",
    "pareto": "Decoding time and memory against size, at equal quality",
    "amortisation": "Compression ratio against the number of meshes in the set",
}
_DPI = 110
_KEY = "gcbench-results"


def names(reference: Reference, kind: Kind) -> list[str]:
    """File names of the figures of a kind: ``SET-rd.png``; with several blocks, one for each: ``SET-rd-BLOCK.png``.

    A block without data for the kind has no figure, as in :func:`gcbench.bench.analysis.figures.save_figures`.
    """
    summary = reference.compared if _shared(reference, kind) is reference.common else reference.compared_in_time
    blocks = [(tuple(map(str, key)), part) for key, part in summary.groupby(BLOCK, sort=True)]
    if kind == "amortisation":
        sets = reference.quality[(reference.quality["kind"] == "set") & (reference.quality["status"] == "ok")]
        with_sets = {tuple(map(str, key)) for key in sets[BLOCK].itertuples(index=False)}
        return [_name(reference, kind, block) for block, _ in blocks if block in with_sets]
    return [_name(reference, kind, block) for block, part in blocks if _has_data(kind, part)]


def _has_data(kind: Kind, summary: pd.DataFrame) -> bool:
    if kind == "rd":
        return bool(panels(summary))
    metric = ranking_column(summary)
    quality = None if metric is None else common_quality(summary, metric.name)
    return metric is not None and quality is not None and len(at_quality(summary, metric.name, quality)) > 1


def _name(reference: Reference, kind: Kind, block: tuple[str, ...]) -> str:
    alone = len(reference.compared[BLOCK].drop_duplicates()) == 1
    return f"{plain_text.as_file_name(reference.name)}-{kind}" + ("" if alone else f"-{stem(*block)}") + ".png"


def _shared(reference: Reference, kind: Kind) -> Common:
    """The records that a figure shows: times are of the timing pass, over its meshes, if there was one."""
    return reference.common_in_time if kind == "pareto" and not reference.timed.empty else reference.common


def pictures(reference: Reference, kinds: Sequence[Kind] = KINDS) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the figures of a set."""
    for kind in kinds:
        shared = _shared(reference, kind)
        rows = reference.rows if shared is reference.common else reference.timed
        of_stem = {f"{kind}-{stem(*key)}": key for key in rows[BLOCK].drop_duplicates().itertuples(index=False)}
        for drawn_stem, figure in drawn(rows, reference.name, [kind], shared=shared):
            yield _name(reference, kind, of_stem[drawn_stem]), _png(figure, reference.fingerprint)


def _png(figure: Figure, fingerprint: str) -> bytes:
    """A PNG of at most 256 colours: half the bytes, and no difference that an eye sees in line art."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()).quantize(256, dither=Image.Dither.NONE)
    info = PngInfo()
    info.add_text(_KEY, fingerprint)
    data = io.BytesIO()
    image.save(data, "png", pnginfo=info, optimize=True)
    return data.getvalue()


def fingerprint_of(path: Path) -> str:
    """The fingerprint in a PNG; empty if there is none, or no PNG."""
    from PIL import Image

    if not safe_files.is_file(path):
        return ""
    try:
        with Image.open(path) as image:
            return str(image.info.get(_KEY, ""))
    except (OSError, SyntaxError):  # a damaged file is drawn again
        return ""
