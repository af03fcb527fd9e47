"""The command ``python -m gcbench.codecs.sirsnc.command``, which trains the weights that ship with SIR-SNC."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from gcbench.interrupts import INTERRUPTED
from gcbench.training.command_line import run
from gcbench.training.progress import shown
from gcbench.training.sparse.meshes import read_meshes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command()
def training_command(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the training; a training in it is continued.")],
    meshes: Annotated[
        Path | None, typer.Option(help="Folder of mesh files to train on, beside made-up shapes.")
    ] = None,
    made_up: Annotated[int, typer.Option(min=0, help="Made-up shapes.")] = 60,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the descent.")] = 8000,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so long, with a checkpoint.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
) -> None:
    """Train the weights of SIR-SNC on meshes of yours and on made-up shapes.

    [bold]Examples[/bold]

        python -m gcbench.datasets.minis.variations --count 240 --seed 1 -o meshes
        python -m gcbench.codecs.sirsnc.command --meshes meshes -o w
        GCBENCH_SIRSNC_WEIGHTS=w/weights.safetensors bench run --codec sirsnc

    The linear coder is fitted in seconds, once the distances of the meshes are
    computed; the descent then trains the network that corrects it. Ctrl-C, a
    crash or --minutes may stop the training: the same command continues from
    the last checkpoint, at most half a minute old, to the same weights.

    [bold]Exit codes[/bold]

        0     done, or stopped by --minutes
        2     wrong usage, or the folder holds a training with other settings
        130   interrupted
    """
    import torch

    from gcbench.codecs.sirsnc.training import Settings, train

    torch.set_num_threads(threads)
    settings = Settings(steps=steps, made_up=made_up, built_in=meshes is not None, seed=seed)
    limit = math.inf if minutes is None else minutes
    try:
        with shown() as progress:
            done = train(out, settings, meshes=lambda: read_meshes(meshes), minutes=limit, progress=progress)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    file = out / "weights.safetensors"
    typer.echo(f"{'done' if done else 'stopped; the same command goes on'}: {file}", err=True)
    typer.echo(f"next: GCBENCH_SIRSNC_WEIGHTS={file} bench run --codec sirsnc", err=True)


if __name__ == "__main__":
    run(app)
