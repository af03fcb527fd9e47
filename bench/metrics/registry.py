"""All metric suites and their columns, by name. Other packages add suites by the entry point ``gcbench.metrics``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from gcbench.bench.metrics.base import Column, Suite
from gcbench.errors import UsageError
from gcbench.registry import Registry

log = logging.getLogger(__name__)

SUITES: Registry[Suite[Any]] = Registry(
    base=Suite,  # type: ignore[type-abstract]  # a registry of subclasses is what an abstract base is for
    noun="metric suite",
    builtins={
        "paper": "gcbench.bench.metrics.paper:Paper",
        "surface": "gcbench.bench.metrics.surface:Surface",
        "psnr": "gcbench.bench.metrics.psnr:Psnr",
        "topology": "gcbench.bench.metrics.topology:Topology",
        "volume": "gcbench.bench.metrics.volume:Volume",
        "points": "gcbench.bench.metrics.points:Points",
        "mpeg-grid": "gcbench.bench.metrics.mpeg_grid:MpegGrid",
        "render": "gcbench.bench.metrics.render:Render",
    },
    group="gcbench.metrics",
)

DEFAULT_SUITES = ("paper", "surface", "psnr", "topology")
"""The suites that ``bench run`` measures without ``--suite``."""


@lru_cache(maxsize=1)
def columns() -> Mapping[str, Column]:
    """Every column of every suite that can be imported, by name, in the order of the registry.

    Raises
    ------
    UsageError
        Two suites have a column, or a floor, of the same name.
    """
    owner: dict[str, str] = {}
    found: dict[str, Column] = {}
    for name in SUITES:
        try:
            suite = SUITES.get(name)
        except UsageError as error:  # a broken suite of another package must not break all tables
            log.warning("%s", error)
            continue
        for column in suite.columns:
            for key in filter(None, (column.name, column.floor)):
                if key in owner:
                    raise UsageError(f"the metric suites '{owner[key]}' and '{name}' both have a column '{key}'")
                owner[key] = name
            found[column.name] = column
    return MappingProxyType(found)


def floors() -> Mapping[str, Column]:
    """The column that each floor belongs to, by the name of the floor."""
    return {column.floor: column for column in columns().values() if column.floor}


def suite_of(column: str) -> str:
    """Name of the suite that has a column.

    Raises
    ------
    UsageError
        No suite has it.
    """
    for name in SUITES:
        with contextlib.suppress(UsageError):  # a suite that cannot be imported has no columns
            if any(c.name == column for c in SUITES.get(name).columns):
                return name
    raise UsageError(f"no metric suite has a column '{column}'; see: bench list metrics")


def ranking(present: Iterable[str]) -> str | None:
    """The column that ranks codecs by default: the first ranking column among those present, or None."""
    names = set(present)
    return next((name for name, column in columns().items() if column.ranks and name in names), None)
