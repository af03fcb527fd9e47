"""What `bench run` is asked for: the file, and the options that override it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gcbench.bench.cli.options import names
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.plan.experiment import Experiment


def asked_of(ctx: typer.Context, file: Path | None) -> Experiment:
    """The experiment of a file, or an empty one, with the options that were typed.

    Raises
    ------
    UsageError
        The file cannot be read, or names a codec that is not installed.
    """
    from gcbench.bench.plan.experiment import Experiment, read_experiment

    read = read_experiment(file) if file else Experiment()
    asked = read.overridden(_given(ctx, read))
    if file:
        _require_codecs(file, asked.codec)
    return asked


def _given(ctx: typer.Context, read: Experiment) -> dict[str, Any]:
    """The options that were typed, as fields of an experiment; suites that begin with + add to those of the file."""
    from gcbench.datasets import data_root
    from gcbench.datasets.registry import split_names
    from gcbench.registry import split_addresses

    given = {name: value for name, value in ctx.params.items() if _is_typed(ctx, name)}
    for name in {"dataset", "codec", "rate", "suite"} & set(given):
        parts: list[str] = []
        for text in [given[name]] if isinstance(given[name], str) else given[name]:  # -d a,b and -d a -d b
            if name == "dataset":
                parts += split_names(text, data_root(ctx.params.get("data")))
            else:
                parts += split_addresses(text) if name == "codec" else names(text)
        given[name] = tuple(parts)
    if read.suite and given.get("suite", ("",))[0].startswith("+"):
        given["suite"] = (*read.suite, given["suite"][0].removeprefix("+"), *given["suite"][1:])
    if "deadline" in given:
        with contextlib.suppress(ValueError):
            given["deadline"] = float(given["deadline"])
    return given


def _is_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _require_codecs(file: Path, addresses: Sequence[str]) -> None:
    """Raise UsageError if a file names a codec that is not installed."""
    from difflib import get_close_matches

    from gcbench.codecs import CODECS
    from gcbench.registry import split_address

    for address in addresses:
        name, _ = split_address(address, "codec")
        if name not in {"all", *CODECS.names()}:
            near = get_close_matches(name, CODECS.names(), 1)
            meant = f"did you mean {near[0]}? else " if near else ""
            raise UsageError(
                f"{file}: the codec '{name}' is not installed; {meant}install its package, or leave it out of the file"
            )
