"""SIR-SNC as a codec of the benchmark: a sparse autoencoder of the signed distance in a narrow band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gcbench import extras
from gcbench.codecs.base import Availability, Context, Effort, ModelCodec, Rate, decoded_mesh
from gcbench.codecs.sirsnc import weights as files
from gcbench.codecs.sirsnc.blocks import SIDE, Blocks, around, blocks_of, morton
from gcbench.codecs.sirsnc.stream import (
    BUDGET,
    CONTAINER,
    FEATURE_CODERS,
    MOST_SIDE,
    Stream,
    check_blocks,
    depth,
    unpack,
)
from gcbench.codecs.sirsnc.surface import mesh_of, volume_of
from gcbench.entropy.budget import Work
from gcbench.errors import BitstreamError, CodecFailed, UsageError
from gcbench.geometry.grid import Grid
from gcbench.training.placement import placed
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh


_LADDER = tuple((side, "q1") for side in (64, 96, 128, 192, 256)) + ((256, "q2"), (256, "q3"), (256, "q4"))
_QUICK = ((128, "q1"), (192, "q1"))


class SirSncCodec(ModelCodec):
    """SIR-SNC: a sparse convolutional autoencoder of the truncated signed distance in a narrow band.

    encode: mesh → signed distance on a grid of R³ → blocks of 4³ vertices near the surface → network → coordinates of
    the blocks (octree) + 16 features each (rounded, arithmetic code) + number of octants;
    decode: coordinates, features → network, which keeps as many octants of 2³ vertices as counted and gives their
    signed distances → marching cubes.

    Winding numbers give the sign, so that open meshes can be coded; the decoded surface is closed. A rate ``r128q3``
    is a resolution, 128, and one of four steps of the quantiser, q1 (coarse) to q4 (fine); one network serves all. The
    environment variable GCBENCH_SIRSNC_WEIGHTS names another file of weights.

    Entropy decoding uses integers only, so that every machine decodes the same numbers. The network after it is not
    exact to the last bit: two machines may move a vertex a little, or keep another one of two octants.

    Parameters
    ----------
    features : {"tables", "mixed"}
        How features are coded: "tables" has one table for each channel, as published; "mixed", our own, mixes the
        tables with neighbours, other channels and occupied places, which only makes streams smaller.

    Source: SIR-SNC (ICLR 2026), OpenReview AzsN1qdLwv; implemented from its description, without the authors' code.
    """

    name = "sirsnc"
    container = CONTAINER
    decode_budget = BUDGET
    deterministic = False
    packages = ("torch", "constriction", "numba", "scipy", "libigl", "scikit-image")
    decoder_bytes = files.path().stat().st_size if files.path().is_file() else 0

    def __init__(self, *, features: str = "tables") -> None:
        if features not in FEATURE_CODERS:
            raise UsageError(f"sirsnc[features={features}]: possible are {', '.join(FEATURE_CODERS)}")
        self._features = features

    def version(self) -> str:
        """Version of the format, modules and packages, and the fingerprint of the weights."""
        name = files.fingerprint(files.path()).hex() if files.path().is_file() else "none"
        return f"{source_version(CONTAINER.version, __name__, packages=self.packages)}+weights-{name}"

    def availability(self) -> Availability:
        """Whether torch, the weights and the packages of the conversions are installed."""
        if missing := extras.first_missing((*self.packages, "safetensors")):
            return Availability(False, *missing)
        if not files.path().is_file():
            return Availability(
                False,
                f"there are no weights {files.path().name}",
                f"train them with python -m gcbench.codecs.sirsnc.command, and name the file in {files.ENVIRONMENT}",
            )
        return Availability(ok=True)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Two rates for ``quick``; a ladder of eight for the others."""
        ladder = _QUICK if effort == "quick" else _LADDER
        return [Rate(f"r{side}{label}", {"resolution": side, "step": label}) for side, label in ladder]

    def prepare(self) -> None:
        """Import torch, compile the coders (or load the compiled ones), and read the weights."""
        super().prepare()
        import trimesh

        sphere = trimesh.creation.icosphere(1)
        for coder in FEATURE_CODERS:
            ctx = Context()
            self.decode_mesh(self._encoded(blocks_of(sphere, 16), 16, 0, coder, ctx), ctx)

    def encode_mesh(self, mesh: trimesh.Trimesh, rate: Rate, ctx: Context) -> bytes:
        """Encode one normalised mesh.

        Raises
        ------
        CodecFailed
            The network's features are not finite, or a decoder would refuse the stream.
        BadMesh
            The mesh has no faces, a coordinate is not finite, or a vertex is outside [-1, 1]³.
        """
        resolution, step = int(rate.params["resolution"]), str(rate.params["step"])
        if resolution % SIDE or not 2 * SIDE <= resolution <= SIDE * MOST_SIDE or step not in files.LABELS:
            raise UsageError(f"sirsnc has no rate of resolution {resolution} and step {step}")
        with ctx.stage("distance"):
            blocks = blocks_of(mesh, resolution, ctx.threads)
        ctx.check_deadline()
        with ctx.stage("network"):
            return self._encoded(blocks, resolution, files.LABELS.index(step), self._features, ctx)

    def _encoded(self, blocks: Blocks, resolution: int, rate: int, coder: str, ctx: Context) -> bytes:
        from gcbench.entropy.octree import encode_octree
        from gcbench.entropy.voxel_features import LARGEST

        weights = files.load()
        octants = int(blocks.band.sum())
        with placed(weights.model, ctx.device, ctx.threads) as model:
            y = model.encode(blocks, rate)
        if not np.isfinite(y).all():
            raise CodecFailed("the network gives features that are not finite")
        order = np.lexsort(blocks.places.T[::-1])  # the octree's order
        places = blocks.places[order]
        latent = y[order].clip(-LARGEST, LARGEST).astype(np.int64)
        side = resolution // SIDE
        coordinates = encode_octree(places, depth(side))
        features = _encode_features(coder, latent, places, weights.tables[rate])
        packed = Stream(weights.fingerprint, coder, rate, side, octants, coordinates, features).pack()
        try:
            check_blocks(len(places), octants, unpack(packed)[1])
        except BitstreamError as error:
            raise CodecFailed(f"a decoder would refuse the mesh: {error}") from error
        return packed

    def decode_mesh(self, stream: bytes, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh.

        Raises
        ------
        BitstreamError
            The stream is short, corrupt or foreign, its weights are missing, or it has no surface.
        """
        from gcbench.entropy.octree import decode_octree

        parts, work = unpack(stream)
        weights = files.load()
        if parts.fingerprint != weights.fingerprint:
            raise BitstreamError(
                f"the stream was made with weights {parts.fingerprint.hex()}; here are {weights.fingerprint.hex()}"
            )
        most = min(parts.octants, parts.side**3)
        with ctx.stage("network"):
            places = decode_octree(parts.places, depth(parts.side), most)
            check_blocks(len(places), parts.octants, work)
            if places.max() >= parts.side:
                raise BitstreamError("a block is outside of the grid")
            ctx.check_deadline()
            latent = _decode_features(parts.coder, parts.features, places, weights.tables[parts.rate])
            order = np.argsort(morton(places))
            places, y_hat = places[order], latent[order].astype(np.float32)
            with placed(weights.model, ctx.device, ctx.threads) as model:
                values = model.decode(places, around(places), y_hat, parts.rate, parts.octants)
        if not np.isfinite(values).all():
            raise BitstreamError("the network gives distances that are not finite")
        ctx.check_deadline()
        with ctx.stage("surface"):
            return _surface(places, values, parts.resolution, work)


def _surface(places: NDArray[np.int32], values: NDArray[np.float32], resolution: int, work: Work) -> trimesh.Trimesh:
    grid = Grid(resolution)
    return decoded_mesh(*mesh_of(volume_of(places, values, resolution), grid, work))


def _encode_features(
    coder: str, features: NDArray[np.integer], places: NDArray[np.int32], tables: NDArray[np.uint16]
) -> bytes:
    from gcbench.entropy import voxel_features
    from gcbench.training.sparse.features import ESCAPE, encode_features

    if coder == "mixed":
        return voxel_features.encode_features([features], [voxel_features.Level(places, tables[:, :ESCAPE])])
    return encode_features(features, tables)


def _decode_features(
    coder: str, stream: bytes, places: NDArray[np.int32], tables: NDArray[np.uint16]
) -> NDArray[np.int32]:
    from gcbench.entropy import voxel_features
    from gcbench.training.sparse.features import ESCAPE, decode_features

    if coder == "mixed":
        return voxel_features.decode_features(stream, [voxel_features.Level(places, tables[:, :ESCAPE])])[0]
    return decode_features(stream, len(places), tables)
