"""``bench encode`` and ``bench decode``: codecs as tools, for mesh files outside of a run."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench import plain_text
from gcbench.bench.cli.options import AllThreads, Deadline, Device, Memory, limit_of
from gcbench.bench.cli.output import say
from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.run.slot import Slot
    from gcbench.bench.run.work import TaskLimits
    from gcbench.bench.use.encoding import Bounds, Encoder, Trial

_POLL_S = 1.0


def encode_command(
    meshes: Annotated[list[Path], typer.Argument(help="OBJ, STL, PLY, OFF, glTF or 3MF files.", metavar="MESH...")],
    *,
    codec: Annotated[
        str, typer.Option("--codec", "-c", help="Name, or with parameters: NAME\\[key=value]; see: bench list codecs.")
    ],
    rate: Annotated[str, typer.Option("--rate", help="Label of the rate; see: bench list codecs.")] = "",
    max_kb: Annotated[
        float | None,
        typer.Option(min=0, help="Find the best rate of at most so many 1000 bytes a file; of a set, a mesh."),
    ] = None,
    max_p2s: Annotated[
        float | None,
        typer.Option(
            min=0, help="Find the smallest rate whose mean distance to the surface is at most this; the box is 2 wide."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the stream files.")] = Path(),
    effort: Annotated[
        str, typer.Option(help="Search the rates of this effort: quick, standard or paper.")
    ] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    threads: AllThreads = None,
    device: Device = "cpu",
    deadline: Deadline = "3600",
    memory: Memory = None,
) -> None:
    """Encode mesh files with a codec into stream files, which `bench decode` turns back into meshes.

    [bold]Examples[/bold]

        bench encode bunny.ply -c draco-qem --rate d0140 -o out
        bench encode scans/*.obj -c draco-qem --max-kb 20 -o out

    Each mesh becomes a file out/NAME.CODEC.RATE.gcb; a set codec codes all meshes into one file. Each stream is
    decoded and measured at once: p2s is the exact point-to-surface distance that `bench run` records, of meshes
    normalised to a longest side of 2. The ratio is to the normalised mesh as OBJ.

    [bold]Find a rate[/bold]

        --max-kb 20                    the best rate that fits; of a set, on average
        --max-p2s 0.002                the smallest rate that is as close
        --max-p2s 0.002 --max-kb 20    the same, if it fits

    The rates of the ladder are tried by bisection; each mesh gets its own rate. If no rate meets the bounds, the exit
    code is 1 and nothing is written for that mesh.
    """
    from gcbench.bench.run import machine
    from gcbench.bench.store.safe_files import write_file
    from gcbench.bench.use.encoding import Bounds, Encoder, codec_here, planned, rate_named
    from gcbench.bench.use.stream_file import SUFFIX, file_stem
    from gcbench.codecs.base import as_effort

    bounds = Bounds(None if max_kb is None else 1000 * max_kb, max_p2s)
    if bool(rate) == (bounds != Bounds()):
        raise UsageError("give either --rate, or --max-kb, --max-p2s or both; rates are in: bench list codecs")
    address, chosen = codec_here(codec)
    one = rate_named(rate, address, chosen) if rate else None
    inputs = planned(meshes)
    good = True
    with slot(limit_of(deadline, memory, 1), threads or machine.cores()) as running:
        encoder = Encoder(address, chosen, running, as_effort(effort), seed, device)
        for group in encoder.groups(inputs):
            name = group[0].source.mesh if chosen.kind == "model" else f"set-of-{len(group)}"
            if one is not None:
                found: Trial | None = encoder.encode(group, one, measure=True)
                tried = [found]
            else:
                search = encoder.search(group, bounds, lambda trial: None)
                found, tried = search.chosen and encoder.measured(search.chosen), list(search.tried)
            if found is None or found.failed:
                say(f"{name}: {_why(encoder, tried, bounds)}", err=True)
                good = False
                continue
            path = out / f"{file_stem(name, address, found.rate)}{SUFFIX}"
            write_file(path, found.data)
            say(_said(path, found))
            if one is None:
                say(f"    tried: {'; '.join(map(str, tried))}")
    if not good:
        raise typer.Exit(1)
    say(f"next: bench decode {plain_text.shell_word(path)} -o {plain_text.shell_word(out)}")


def _said(path: Path, trial: Trial) -> str:
    each = "" if len(trial.unit.meshes) == 1 else f" for {len(trial.unit.meshes)} meshes"
    worst = "p2s" if len(trial.unit.meshes) == 1 else "p2s of the worst"
    return (
        f"{path}: {len(trial.data)} bytes{each}, {len(trial.stream)} of them the stream; ratio {trial.ratio:.1f}; "
        f"{worst} {max(trial.distances):.4g}"
    )


def _why(encoder: Encoder, tried: list[Trial | None], bounds: Bounds) -> str:
    """Why there is no stream: one line with the best value that was found."""
    trials = [trial for trial in tried if trial is not None]
    worked = [trial for trial in trials if not trial.failed]
    if not worked:
        return f"{encoder.address} {'; '.join(map(str, trials))}"
    if bounds.distance is None:
        best = min(worked, key=lambda trial: trial.mean_bytes)
        return f"no rate of {encoder.address} has at most {(bounds.file_bytes or 0) / 1000:g} kB; smallest is {best}"
    close = [trial for trial in worked if max(trial.distances) <= bounds.distance]
    if close:
        best = min(close, key=lambda trial: trial.mean_bytes)
        return f"no rate of {encoder.address} meets both bounds; the smallest of --max-p2s is {best}"
    best = min(worked, key=lambda trial: max(trial.distances))
    return f"no rate of {encoder.address} has a p2s of at most {bounds.distance:g}; the closest is {best}"


@contextlib.contextmanager
def slot(limit: TaskLimits, threads: int) -> Iterator[Slot]:
    """A slot for tasks outside of a run, with its progress on stderr; its folders are removed at the end."""
    from rich.console import Console
    from rich.markup import escape

    from gcbench.bench.run.slot import Folders, Slot

    folders = Folders.temporary()
    made: Slot | None = None
    ended = threading.Event()
    console = Console(stderr=True)
    try:
        with console.status("starting") if console.is_terminal else contextlib.nullcontext() as status:
            made = Slot(folders, limit, threads)

            def follow() -> None:
                while not ended.wait(_POLL_S):
                    if status is not None:
                        status.update(escape((made and made.under_way()) or "working"))

            follower = threading.Thread(target=follow, daemon=True)
            follower.start()
            try:
                yield made
            finally:
                ended.set()
                follower.join()
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folders.scratch, ignore_errors=True)
