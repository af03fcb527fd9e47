"""``bench points``: point codecs as such. A thin layer over `gcbench.bench.clouds`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcbench.errors import UsageError

if TYPE_CHECKING:
    from gcbench.bench.clouds import CodedCloud

_MEASURES = {"d1_psnr": "as decoded", "d1_psnr_voxels": "moved to the middle of their voxels"}


def points_command(
    *,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Names or folders, comma-separated; see: bench list datasets.")
    ] = "mixed",
    codec: Annotated[
        str, typer.Option("--codec", "-c", help="Codecs of points, comma-separated; the first is the anchor.")
    ] = "gpcc-octree,pcgcv2",
    split: Annotated[str | None, typer.Option(help="mini, paper or all. Default: mini; all for a folder.")] = None,
    effort: Annotated[str, typer.Option(help="quick, standard or paper: how many rates.")] = "paper",
    rates: Annotated[str, typer.Option(help="Keep only these rate labels, comma-separated.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N meshes of each dataset.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="For codecs and searches.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda, for codecs that can use it.")] = "cpu",
    data: Annotated[
        Path | None,
        typer.Option(help="Data root. Default: the environment variable BENCH_DATA, else the user's data folder."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without the meshes that a split names and that are not here.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write every cloud as a row of this CSV file.")] = None,
) -> None:
    """Compare codecs of points on voxelised meshes: bits per point, D1 PSNR, BD-rate. No surface is reconstructed.

    Meshes are voxelised as the codecs of points do it. The peak of the PSNR
    is 2^bits - 1: 1023 for the usual grid. Shipped weights are not in the bits.

    [bold]Examples[/bold]

        bench points -d ama --split all --limit 2
        bench points -d my/folder -c gpcc-octree,gpcc-trisoup,pcgcv2 --out clouds.csv

    [bold]Exit codes[/bold]

        0   done
        1   some clouds could not be coded
        2   wrong usage
        3   something is missing
    """
    from gcbench.bench.clouds import code_clouds
    from gcbench.bench.sweep import plan as make_plan
    from gcbench.registry import split_addresses

    addresses = split_addresses(codec)
    if "all" in addresses:
        raise UsageError("bench points takes codecs of points by name")
    plan = make_plan(
        [d.strip() for d in dataset.split(",") if d.strip()],
        addresses,
        split=split,
        effort=effort,
        seed=seed,
        rates=[r.strip() for r in rates.split(",") if r.strip()],
        limit=limit,
        data=data,
        allow_missing=allow_missing,
        device=device,
    )
    done: list[CodedCloud] = []
    for cloud in code_clouds(plan, threads=threads, progress=lambda what: typer.echo(what, err=True)):
        done.append(cloud)
        if out is not None:
            _write(out, done)
    for line in _lines(done, plan.codecs):
        typer.echo(line)
    if any(cloud.problem for cloud in done):
        raise typer.Exit(1)


def _write(path: Path, clouds: Sequence[CodedCloud]) -> None:
    """Write all rows, so that what is done survives an interruption."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(clouds[0])])
        writer.writeheader()
        writer.writerows(asdict(cloud) for cloud in clouds)


def _lines(clouds: Sequence[CodedCloud], codecs: Sequence[str]) -> Iterator[str]:
    from gcbench.bench.analysis.text import aligned
    from gcbench.bench.clouds import bd_rates

    rows = [["codec", "rate", "clouds", "bits/point", "D1 dB", "D1 dB, voxels", "encode s", "decode s"]]
    groups: dict[tuple[str, str], list[CodedCloud]] = {}
    for cloud in clouds:
        if not cloud.problem:
            groups.setdefault((cloud.codec, cloud.rate), []).append(cloud)
    for (codec, rate), group in groups.items():
        means = [
            sum(getattr(cloud, name) for cloud in group) / len(group)
            for name in ("bits_per_point", "d1_psnr", "d1_psnr_voxels", "encode_s", "decode_s")
        ]
        digits = (4, 2, 2, 2, 2)
        rows.append([codec, rate, str(len(group)), *(f"{m:.{d}f}" for m, d in zip(means, digits, strict=True))])
    yield from aligned(rows)
    for codec in codecs[1:]:
        for measure, words in _MEASURES.items():
            found = bd_rates(clouds, codecs[0], codec, measure)
            values = [delta.percent for delta in found.values() if delta.percent is not None]
            mean = f"{sum(values) / len(values):+.1f} % over {len(values)} meshes" if values else "none"
            yield ""
            yield f"BD-rate of {codec} against {codecs[0]}, points {words}: {mean}"
            yield from (f"  {mesh}: {delta}" for mesh, delta in found.items())
    for cloud in clouds:
        if cloud.problem:
            yield f"{cloud.codec} {cloud.rate} on {cloud.dataset}/{cloud.mesh}: {cloud.problem}"
