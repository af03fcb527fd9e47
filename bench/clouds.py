"""Codecs of points compared as such: bits per point and D1 PSNR of voxelised surfaces, with no mesh put through them.

Knows point codecs, clouds and sizes. Runs in this process, one cell after the other; keeps no streams and no runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench.bench.analysis.rate_distortion import BDRate, Curve, bd_rate, curve
from gcbench.bench.metrics.distortion import psnr_db
from gcbench.bench.metrics.nearest import PointTree, nearest
from gcbench.codecs import CODECS, Context
from gcbench.codecs.points.codec import PointCodec
from gcbench.datasets import cache_dir, load
from gcbench.errors import BenchError, UsageError
from gcbench.registry import split_address

if TYPE_CHECKING:
    from gcbench.bench.sweep import Cell, Plan

Voxels = NDArray[np.int32]


@dataclass(frozen=True)
class CodedCloud:
    """One voxelised mesh coded at one rate.

    Parameters
    ----------
    bits : int
        Of the grid: the peak of the PSNR is 2^bits − 1.
    points : int
        Of the original.
    decoded_points : int
        As many as came back; positions that occur twice count twice.
    stream_bytes : int
        Everything that decoding needs, shipped weights apart.
    bits_per_point : float
        8 · stream_bytes / points.
    d1_psnr : float
        dB, decoded points where the codec puts them.
    d1_psnr_voxels : float
        dB, decoded points in the middle of the voxels that they are in: clouds of integers.
    sampling_s, encode_s, decode_s : float
        Wall seconds; the voxels of a mesh are sampled once for all codecs.
    problem : str
        Why there are no numbers; empty where there are.
    """

    dataset: str
    mesh: str
    codec: str
    codec_version: str
    rate: str
    bits: int
    points: int
    decoded_points: int = 0
    stream_bytes: int = 0
    bits_per_point: float = math.nan
    d1_psnr: float = math.nan
    d1_psnr_voxels: float = math.nan
    sampling_s: float = math.nan
    encode_s: float = math.nan
    decode_s: float = math.nan
    problem: str = ""


def d1_psnr(original: NDArray[np.float64], decoded: NDArray[np.float64], peak: float, threads: int = 1) -> float:
    """PSNR of the distances to the nearest point of the other cloud, the worse of both directions, in dB.

    Parameters
    ----------
    original, decoded : (N, 3), (M, 3) float64
        Positions, in the units of `peak`.

    Source: MPEG ``pc_error`` (point-to-point, symmetric): 10 log10(3 peak² / MSE).
    """
    there, back = PointTree(original), PointTree(decoded)
    worse = max(float(np.mean(np.square(nearest(a, b, threads)[0]))) for a, b in ((there, back), (back, there)))
    return psnr_db(worse, peak)


def code_clouds(plan: Plan, *, threads: int = 1, progress: Callable[[str], None] | None = None) -> Iterator[CodedCloud]:
    """Code every mesh of a plan with its codecs, mesh by mesh.

    Streams are decoded by a codec that is created without parameters, as everywhere.

    Parameters
    ----------
    plan : Plan
        Of point codecs only.
    threads : int
        For codecs and searches.
    progress : callable, optional
        Told what is next.

    Raises
    ------
    UsageError
        A codec of the plan is none of points.
    """
    codecs = {address: CODECS.create(address) for address in plan.codecs}
    points = {address: codec for address, codec in codecs.items() if isinstance(codec, PointCodec)}
    if others := sorted(codecs.keys() - points.keys()):
        raise UsageError(f"{', '.join(others)}: not codecs of points")
    for codec in points.values():
        codec.prepare()
    by_mesh: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.cells:
        if not cell.meshes[0].problem:
            by_mesh.setdefault((cell.dataset, cell.meshes[0].source.mesh), []).append(cell)
    for (dataset, name), cells in by_mesh.items():
        mesh = load(cells[0].meshes[0].source, cache_dir()).mesh
        sampled: dict[int, tuple[Voxels, float]] = {}
        for cell in cells:
            if progress:
                progress(f"{cell.codec} {cell.rate.label} on {dataset}/{name}")
            codec, ctx = points[cell.codec], Context(device=cell.device, seed=cell.seed, threads=threads)
            bits = int(cell.rate.params.get("bits", 10))
            if bits not in sampled:
                voxels, _ = codec.sample(mesh, cell.rate, ctx)
                sampled[bits] = voxels, ctx.stage_s["sampling"]
            yield _code(cell, codec, bits, sampled[bits], ctx)


def _code(cell: Cell, codec: PointCodec, bits: int, sampled: tuple[Voxels, float], ctx: Context) -> CodedCloud:
    voxels, sampling_s = sampled
    mesh = cell.meshes[0].source.mesh
    who = (cell.dataset, mesh, cell.codec, cell.codec_version, cell.rate.label, bits, len(voxels))
    try:
        start = time.perf_counter()
        stream = codec.wrap(codec.encode_points(voxels, bits, cell.rate, ctx), bits)
        encoded = time.perf_counter()
        decoder = CODECS.create(split_address(cell.codec, "codec")[0])
        assert isinstance(decoder, PointCodec)
        decoded, _ = decoder.decode_cloud(stream, ctx)
        end = time.perf_counter()
    except BenchError as error:
        return CodedCloud(*who, problem=str(error))
    original, peak = voxels.astype(np.float64) + 0.5, 2.0**bits - 1
    return CodedCloud(
        *who,
        decoded_points=len(decoded),
        stream_bytes=len(stream),
        bits_per_point=8 * len(stream) / len(voxels),
        d1_psnr=d1_psnr(original, decoded, peak, ctx.threads),
        d1_psnr_voxels=d1_psnr(original, np.floor(decoded) + 0.5, peak, ctx.threads),
        sampling_s=sampling_s,
        encode_s=encoded - start,
        decode_s=end - encoded,
    )


def bd_rates(clouds: Sequence[CodedCloud], anchor: str, codec: str, measure: str = "d1_psnr") -> dict[str, BDRate]:
    """Bjøntegaard delta rate of a codec against another, in bits per point, for each mesh by itself.

    Parameters
    ----------
    clouds : sequence of CodedCloud
        Of any codecs.
    anchor, codec : str
        Addresses.
    measure : {"d1_psnr", "d1_psnr_voxels"}
        Quality.
    """
    meshes = dict.fromkeys(f"{cloud.dataset}/{cloud.mesh}" for cloud in clouds)
    return {
        mesh: bd_rate(_curve(clouds, mesh, anchor, measure), _curve(clouds, mesh, codec, measure)) for mesh in meshes
    }


def _curve(clouds: Sequence[CodedCloud], mesh: str, codec: str, measure: str) -> Curve:
    of = [cloud for cloud in clouds if cloud.codec == codec and f"{cloud.dataset}/{cloud.mesh}" == mesh]
    return curve(
        [cloud.bits_per_point for cloud in of],
        [getattr(cloud, measure) for cloud in of],
        "d1_psnr_bbox",
        labels=[cloud.rate for cloud in of],
    )
