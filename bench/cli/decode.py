"""``bench decode``: stream files, or kept streams of a run, to mesh files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gcbench.bench.cli.encode import slot
from gcbench.bench.cli.options import AllThreads, Data, Deadline, Device, Memory, limit_of, names
from gcbench.bench.cli.output import say
from gcbench.bench.cli.runs import opened, run_path
from gcbench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from gcbench.bench.use.stream_file import StreamFile


def decode_command(
    streams: Annotated[
        list[str], typer.Argument(help="Files that bench encode wrote; or one run.", metavar="STREAM|RUN")
    ],
    *,
    mesh: Annotated[str, typer.Option("--mesh", help="Only these meshes, comma-separated; needed for a run.")] = "",
    codec: Annotated[str, typer.Option("--codec", "-c", help="Of a run: only these codecs, comma-separated.")] = "",
    rate: Annotated[str, typer.Option("--rate", help="Of a run: only these rate labels, comma-separated.")] = "",
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Of a run: only these datasets, comma-separated.")
    ] = "",
    format_: Annotated[
        Literal["obj", "ply", "stl", "glb"], typer.Option("--format", "-f", help="Of the mesh files.")
    ] = "obj",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the mesh files.")] = Path(),
    normalised: Annotated[
        bool, typer.Option("--normalised", help="Keep the mesh centred, its longest side 2 wide.")
    ] = False,
    data: Data = None,
    threads: AllThreads = None,
    device: Device = "cpu",
    deadline: Deadline = "3600",
    memory: Memory = None,
) -> None:
    """Decode stream files into meshes; or bring decoded meshes out of a run, for MeshLab or Blender.

    [bold]Examples[/bold]

        bench decode out/bunny.draco.q10.gcb -o meshes --format ply
        bench decode my-run --mesh crane/mesh_0002 -c draco-qem --rate d0140

    A stream file says how to decode it, and where the mesh was: the decoded mesh is in the coordinates of the original
    file. A set becomes a folder of meshes. A file of another version of a codec is refused, unless it decodes to the
    same mesh. Of a run, the place of a mesh comes from its original, which must be on this machine (--data); else the
    mesh stays normalised.

    [bold]Exit codes[/bold]

        0 all are decoded   2 wrong usage
        3 a file is damaged, its codec is missing or of another version
    """
    from gcbench.bench.run import machine
    from gcbench.bench.use.decoding import FileDecoder, read_stream_file
    from gcbench.bench.use.mesh_file import write_mesh

    of_run = len(streams) == 1 and not Path(streams[0]).is_file()
    if not of_run and (codec or rate or dataset):
        raise UsageError("--codec, --rate and --dataset choose in a run; a stream file has one codec and rate")
    failed: BenchError | None = None
    with slot(limit_of(deadline, memory, 1), threads or machine.cores()) as running:
        decoder = FileDecoder(running, device)
        if of_run:
            for path, file, place in _of_run(
                streams[0], datasets=names(dataset), meshes=names(mesh), codec=codec, rates=names(rate), data=data
            ):
                (decoded,) = decoder.meshes(file, first=place)
                target = (out / path).with_name(f"{path.name}.{format_}")
                vertices = decoded.vertices if normalised else decoded.placement.restore(decoded.vertices)
                write_mesh(target, vertices, decoded.faces)
                say(f"{target}: {len(vertices)} vertices, {len(decoded.faces)} faces")
            return
        for text in streams:
            source = Path(text)
            try:
                file = read_stream_file(source)
                for decoded in decoder.meshes(file, names(mesh)):
                    stem = source.name.removesuffix(source.suffix)
                    target = out / (
                        f"{stem}.{format_}" if len(file.meshes) == 1 else f"{stem}/{decoded.name}.{format_}"
                    )
                    vertices = decoded.vertices if normalised else decoded.placement.restore(decoded.vertices)
                    write_mesh(target, vertices, decoded.faces)
                    say(f"{target}: {len(vertices)} vertices, {len(decoded.faces)} faces")
            except BenchError as error:
                failed = error
                say(f"error: {error}" if text in str(error) else f"error: {text}: {error}", err=True)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _of_run(
    run: str, *, datasets: list[str], meshes: list[str], codec: str, rates: list[str], data: Path | None
) -> Iterator[tuple[Path, StreamFile, int]]:
    """Names of files without suffix, streams, and places of meshes in them, of the chosen records of a run."""
    from gcbench.bench.run.kept import KeptInputs, chosen
    from gcbench.bench.use.decoding import kept_stream
    from gcbench.bench.use.stream_file import file_stem
    from gcbench.registry import split_addresses

    if not run_path(run).exists() and Path(run).suffix:
        raise UsageError(f"there is no file {run}")
    store = opened(run)
    if not meshes:
        raise UsageError("name the mesh of the run: --mesh NAME; see: bench table --per-mesh")
    records = chosen(store.records(), datasets=datasets, codecs=split_addresses(codec), rates=rates)
    found = {(r.dataset, r.mesh, r.codec, r.rate): r for r in records if r.mesh in meshes and not r.timing}
    if absent := [name for name in meshes if name not in {mesh for _, mesh, _, _ in found}]:
        raise UsageError(f"{store.path} has no mesh '{absent[0]}' of the chosen datasets, codecs and rates")
    inputs = KeptInputs(store, data)
    for record in found.values():
        if record.status != "ok" and record.decoded_sha256 is None:
            say(f"{record.mesh} {record.codec} {record.rate}: {record.status}: {record.error}", err=True)
            continue
        file, missing = kept_stream(store, record, inputs)
        if missing:
            say(f"{record.mesh} stays normalised: {missing}", err=True)
        yield Path(file_stem(record.mesh, record.codec, record.rate)), file, record.stream_place
