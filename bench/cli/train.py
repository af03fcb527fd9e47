"""``bench train``: train codecs whose weights ship with them, on the built-in meshes; one command for each codec."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from gcbench.codecs.registry import CODECS
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Trainings(TyperGroup):
    """A command for each codec that names one in ``Codec.training``; imported when used."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return [name for name in CODECS if _training(name)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        training = _training(cmd_name)
        if not training:
            return None
        module, _, attribute = training.partition(":")
        return typer.main.get_command(getattr(import_module(module), attribute))


def _training(name: str) -> str | None:
    with contextlib.suppress(UsageError):  # no such codec, or a broken plugin
        return CODECS.get(name).training
    return None


app = typer.Typer(cls=_Trainings, no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def train_command(ctx: typer.Context) -> None:
    """Train a codec whose weights ship with it, on the built-in meshes.

    [bold]Examples[/bold]

        bench train NAME --help
        bench train NAME --out my-training
    """
    ctx.obj = _built_in


def _built_in() -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    from gcbench.datasets.minis import generate

    for family in ("humans", "animals", "cad"):
        yield from generate(family)
