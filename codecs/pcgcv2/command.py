"""The command ``python -m gcbench.codecs.pcgcv2.command``, which trains the weights that ship with PCGCv2."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from gcbench.errors import UsageError
from gcbench.interrupts import INTERRUPTED
from gcbench.training.command_line import run
from gcbench.training.progress import shown
from gcbench.training.sparse.meshes import read_meshes

_PUBLISHED = "rates"  # subfolder with the files that the codec reads

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command()
def training_command(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the training; a training in it is continued.")],
    meshes: Annotated[
        Path | None,
        typer.Option(help="Folder of mesh files: every other patch is cut from them, not from made-up shapes."),
    ] = None,
    rate: Annotated[str, typer.Option(help="Labels, comma-separated. Default: the whole ladder.")] = "",
    first: Annotated[str, typer.Option(help="The rate to begin with; the others start from it.")] = "r4",
    earlier: Annotated[
        Path | None,
        typer.Option(help="Folder of an earlier training whose weights the first rate starts from, not from nothing."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the first rate.")] = 6000,
    warm_share: Annotated[
        float, typer.Option(min=0.001, max=1, help="Steps of each later rate, as a share of --steps.")
    ] = 0.25,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so long, with a checkpoint.")] = None,
    patches: Annotated[int, typer.Option(min=1, help="Patches to cut from shapes, once.")] = 1600,
    batch: Annotated[int, typer.Option(min=1, help="Patches in a step.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
) -> None:
    """Train the weights of PCGCv2 on made-up shapes and on meshes of yours.

    [bold]Examples[/bold]

        python -m gcbench.datasets.minis.variations --count 200 -o meshes
        python -m gcbench.codecs.pcgcv2.command --meshes meshes -o w
        GCBENCH_PCGCV2_WEIGHTS=w/rates bench run --codec pcgcv2

    Training starts with one rate of the ladder; each further rate starts from its
    neighbour. Ctrl-C, a crash or --minutes may stop the training: the same command
    continues from the last checkpoint, at most a minute old, to the same weights.

    FOLDER/rates gets a file for each rate, FOLDER/log.jsonl the results of
    validation on held-out patches.

    [bold]Exit codes[/bold]

        0     done, or stopped by --minutes
        2     wrong usage, or the folder holds a training with other settings
        130   interrupted
    """
    import torch

    from gcbench.codecs.pcgcv2 import ladder
    from gcbench.codecs.pcgcv2.training import LAMBDAS, Settings, train

    labels = [label.strip() for label in rate.split(",") if label.strip()] or list(LAMBDAS)
    if device != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch sees no such device here")
    torch.set_num_threads(threads)
    settings = Settings(
        first_rate=first,
        steps=steps,
        warm_share=warm_share,
        patches=patches,
        patches_per_step=batch,
        built_in=meshes is not None,
        seed=seed,
    )
    limit = math.inf if minutes is None else minutes
    try:
        with shown() as progress:
            done = train(
                out,
                labels,
                settings,
                meshes=lambda: read_meshes(meshes),
                earlier=earlier,
                minutes=limit,
                device=device,
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        (out / _PUBLISHED).mkdir(parents=True, exist_ok=True)
        for trained in sorted(out.glob("r?.safetensors")):
            ladder.publish(trained, out / _PUBLISHED / trained.name)
    typer.echo(f"{'done' if done else 'stopped; the same command goes on'}: {out / _PUBLISHED}", err=True)
    typer.echo(f"next: GCBENCH_PCGCV2_WEIGHTS={out / _PUBLISHED} bench run --codec pcgcv2", err=True)


if __name__ == "__main__":
    run(app)
