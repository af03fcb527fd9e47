"""The command ``necgs``: files in, a stream, files out. A thin layer: heavy imports happen inside commands."""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from gcbench import extras, native
from gcbench.errors import BadMesh, BenchError, UsageError
from gcbench.interrupts import INTERRUPTED
from gcbench.necgs import designs
from gcbench.necgs.settings import Coder, Effort, Objective
from gcbench.training.progress import shown, silent

if TYPE_CHECKING:
    import trimesh

    from gcbench.necgs.bitstream import Reader

COMMON = ("k", "width", "epochs", "objective", "adding_steps")  # choices of every design, which have their own options
MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off")

app = typer.Typer(
    name="necgs",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Compress sets of triangle meshes into one small stream, with a neural network that is part of it.

    [bold]Start here[/bold]

        necgs compress meshes/*.obj -o set.necgs       minutes to hours; stop it, and the same command goes on
        necgs info set.necgs                           where the bytes are
        necgs decompress set.necgs decoded/            or one mesh of it: --only 3
        necgs add set.necgs new/*.obj                  the old meshes decode to what they did

    The method: Ren et al., NeCGS: Neural Compression for 3D Geometry Sets (2024).

    [bold]Designs[/bold]

    A design is one way to turn features into meshes. The published one is convolution; --design latent_mlp is
    QuantDeepSDF's network; --design sparse weighs every bit against distance, for sets of like meshes. Each has
    choices of its own: --design "latent_mlp\\[latent=16,encoding=fourier]", --design "sparse\\[price=40]".
    An unknown choice lists the known ones.

    [bold]Exit codes[/bold]

        0     done
        2     wrong usage
        3     a mesh that cannot be used, a stream that is not one, something that cannot be written
        130   interrupted: what is done is kept, the same command goes on
    """,
)


def _designs() -> str:
    """The designs, and the choices that are each one's own."""
    lists = []
    for name, design in designs.DESIGNS.items():
        own = [f"{key}={value}" for key, value in designs.choices(design).items() if key not in COMMON]
        lists.append(f"{name}({', '.join(own)})")
    return "; ".join(lists)


Meshes = Annotated[list[Path], typer.Argument(help="OBJ, PLY, STL, OFF files, or folders of them.", show_default=False)]
Stream = Annotated[Path, typer.Argument(help="A stream.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="All randomness derives from it.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads, and meshes fitted side by side. Default: cores.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
EffortOption = Annotated[
    Effort,
    typer.Option(help="quick: K = 32, minutes; standard: K = 64; paper: K = 128, as published, for a GPU."),
]
Work = Annotated[
    Path | None,
    typer.Option(help="Folder for fitted volumes and checkpoints. Default: beside the output, removed when done."),
]


@app.command("compress")
def compress_command(
    *,
    meshes: Meshes,
    output: Annotated[Path, typer.Option("--output", "-o", help="The stream to write.")],
    design: Annotated[str, typer.Option("--design", "-d", help=f"{_designs()}.")] = "convolution",
    effort: EffortOption = "standard",
    resolution: Annotated[int | None, typer.Option("--resolution", "-k", help="32, 64, 128 or 256.")] = None,
    width: Annotated[
        int | None, typer.Option("--width", "-w", min=1, help="Of the network: the rate. The paper's is 64.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the set.")] = None,
    objective: Annotated[
        Objective | None, typer.Option(help="What volumes are fitted to; none takes the TSDF as it is.")
    ] = None,
    coder: Annotated[Coder, typer.Option(help="Entropy coder.")] = "range",
    start: Annotated[
        Path | None,
        typer.Option(
            help="sparse: start training from this stream of the same meshes in the same order, at another price."
        ),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    work: Work = None,
) -> None:
    """Compress meshes into one stream.

    Stop it at any moment: the same command goes on where it was.

    On several GPUs: torchrun --nproc-per-node 4 -m gcbench.necgs compress ... --effort paper --device cuda
    """
    from gcbench.necgs.compression import compress
    from gcbench.necgs.job import Job

    plan = designs.plan(design, effort, coder, k=resolution, width=width, epochs=epochs, objective=objective)
    files = _files(meshes)
    loaded = [_load(file) for file in files]
    typer.echo(f"{len(files)} meshes; {plan.design.describe()}", err=True)
    with _work(work, output) as folder, shown() if _is_first() else nullcontext(silent) as progress:
        job = Job(seed=seed, threads=threads or _cores(), device=device, work=folder, progress=progress)
        stream = compress(loaded, plan, job, _read(start) if start else None)
        _write(output, stream)
    if _is_first():
        typer.echo(f"{output}: {_summary(stream)}")
        typer.echo(f"next: necgs info {output}")


@app.command("decompress")
def decompress_command(
    *,
    stream: Stream,
    folder: Annotated[Path, typer.Argument(help="Where the meshes go.", show_default=False)],
    only: Annotated[list[int] | None, typer.Option(help="Decode this mesh alone, from 0. May be repeated.")] = None,
    suffix: Annotated[Literal["ply", "obj", "stl", "off"], typer.Option("--format", help="Of the files.")] = "ply",
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Decode the meshes of a stream."""
    from gcbench.necgs.compression import decompress
    from gcbench.necgs.job import Job

    data = _read(stream)
    count = 0
    start = time.perf_counter()
    for i, mesh in decompress(data, only or None, Job(threads=threads or _cores(), device=device)):
        if not len(mesh.faces):
            typer.echo(f"warning: mesh {i} decodes to nothing: it has no surface", err=True)
        content = mesh.export(file_type=suffix)
        assert isinstance(content, str | bytes)  # of these formats
        _write(folder / f"{i:04d}.{suffix}", content.encode() if isinstance(content, str) else content)
        count += 1
    elapsed = time.perf_counter() - start
    typer.echo(f"{folder}: {count} meshes in {elapsed:.1f} s, {1000 * elapsed / max(count, 1):.0f} ms a mesh")


@app.command("add")
def add_command(
    *,
    stream: Stream,
    meshes: Meshes,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The longer stream. Default: in place of the old one.")
    ] = None,
    effort: EffortOption = "standard",
    steps: Annotated[int | None, typer.Option(min=1, help="Of optimisation, for each new mesh.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "cpu",
    work: Work = None,
) -> None:
    """Add meshes to a stream; those that are in it decode to exactly what they did.

    Only the features of the new meshes are optimised, against the decoder of the stream.
    """
    from gcbench.necgs.bitstream import Reader
    from gcbench.necgs.compression import add
    from gcbench.necgs.job import Job

    old = _read(stream)
    training = designs.plan(Reader(old).design.name, effort, adding_steps=steps).training
    loaded = [_load(file) for file in _files(meshes)]
    output = output or stream
    with _work(work, output) as folder, shown() if _is_first() else nullcontext(silent) as progress:
        job = Job(seed=seed, threads=threads or _cores(), device=device, work=folder, progress=progress)
        longer = add(old, loaded, training, job)
        _write(output, longer)
    typer.echo(f"{output}: {_summary(longer)}; {len(longer) - len(old)} bytes more")


@app.command("info")
def info_command(stream: Stream) -> None:
    """Show where the bytes of a stream are, and how far each coder is from the entropy."""
    from gcbench.necgs.bitstream import Reader

    data = _read(stream)
    reader = Reader(data)
    typer.echo(f"{stream}: {_summary(data)}")
    for line in _info(reader):
        typer.echo(line)


def main() -> None:
    """Run the command line and exit with its code; one line for an error."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        native.require_cache()
        app()
    except BenchError as error:
        _end(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (missing := extras.explained(error)) is None:
            raise
        _end(missing, BenchError.exit_code)


def _end(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


def _info(reader: Reader) -> Iterator[str]:
    yield f"{reader.design.name}: {reader.design.describe()}; {reader.coder} coding"
    shared, each = reader.layout()
    yield f"shared {shared} bytes; per mesh {min(each)} to {max(each)}, {sum(each) / len(each):.0f} on average"
    for sets in (1, 10, 100, 1000):
        a_mesh = shared / sets + sum(each) / len(each)
        yield f"  with {sets:4d} meshes such a stream would take {a_mesh:9.0f} bytes a mesh"
    other = "huffman" if reader.coder == "range" else "range"
    heading = f"{'':24} {'symbols':>9} {'bytes':>10} {'bits each':>9} {'entropy':>10} {'gap':>7} {other:>10} {'gap':>7}"
    yield heading
    shares = reader.report()
    coded = [share for share in shares if share.symbols]
    total = replace(
        coded[0],
        name="all symbols",
        symbols=sum(share.symbols for share in coded),
        coded_bytes=sum(share.coded_bytes for share in coded),
        entropy_bytes=sum(share.entropy_bytes for share in coded),
        other_bytes=sum(share.other_bytes for share in coded),
    )
    for share in [*shares, total]:
        if not share.symbols:
            yield f"{share.name:24} {'':9} {share.coded_bytes:10.0f}"
            continue
        bits = 8 * share.coded_bytes / share.symbols
        other_gap = share.other_bytes / share.entropy_bytes - 1 if share.entropy_bytes else math.nan
        yield (
            f"{share.name:24} {share.symbols:9d} {share.coded_bytes:10.0f} {bits:9.3f} {share.entropy_bytes:10.0f} "
            f"{share.gap:+7.1%} {share.other_bytes:10.0f} {other_gap:+7.1%}"
        )
    yield "entropy: empirical, of order zero, without a model; the bytes include the model that the decoder needs"


def _files(arguments: Sequence[Path]) -> list[Path]:
    """Mesh files, those of a folder in the order of their names."""
    files: list[Path] = []
    for argument in arguments:
        if argument.is_dir():
            found = sorted(file for file in argument.rglob("*") if file.suffix.lower() in MESH_SUFFIXES)
            if not found:
                raise UsageError(f"{argument} holds no meshes ({', '.join(MESH_SUFFIXES)})")
            files += found
        elif argument.is_file():
            files.append(argument)
        else:
            raise UsageError(f"there is no {argument}")
    return files


def _load(file: Path) -> trimesh.Trimesh:
    import trimesh

    try:
        mesh = trimesh.load(file, force="mesh", process=False)
    except Exception as error:  # whatever a reader of one of four formats trips over
        raise BadMesh(f"{file}: not readable: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise BadMesh(f"{file}: no triangles in it")
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)  # that of a PLY file also holds the file's arrays


def _read(stream: Path) -> bytes:
    try:
        return stream.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {stream}: {error.strerror}") from error


def _is_first() -> bool:
    """Whether this is the process that writes, among those that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    if not _is_first():
        return
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BenchError(f"cannot write {path}: {error.strerror}") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _work(chosen: Path | None, output: Path) -> Iterator[Path]:
    """The folder for what stopped work leaves; one that was not asked for is removed at the end."""
    folder = chosen or output.with_name(output.name + ".work")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot write {folder}: {error.strerror}") from error
    try:
        yield folder
    except KeyboardInterrupt:
        typer.echo(f"interrupted: what is done is kept in {folder}; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if chosen is None and _is_first():
        shutil.rmtree(folder, ignore_errors=True)


def _summary(stream: bytes) -> str:
    from gcbench.necgs.bitstream import Reader

    reader = Reader(stream)
    shared, each = reader.layout()
    return f"{len(stream)} bytes, {reader.mesh_count} meshes: decoder {shared}, features {sum(each)}"
