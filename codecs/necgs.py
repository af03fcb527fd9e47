"""NeCGS as a codec of the benchmark: which settings an address and a rate stand for. The coding is gcbench.necgs's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, get_args

from gcbench.codecs.base import Context, Effort, Rate, SetCodec, StreamLayout, as_effort, check_index
from gcbench.errors import UsageError
from gcbench.necgs import PACKAGES, VERSION
from gcbench.necgs.settings import RESOLUTIONS, Coder, Encoder, Objective, Settings, effort_settings
from gcbench.versions import source_version

if TYPE_CHECKING:
    import trimesh

# Widths of the first module, low to high quality. 64 is the published one.
_TOPS = (16, 24, 32, 48, 64)
_LADDER: dict[Effort, tuple[int, ...]] = {"quick": (16, 32), "standard": (16, 32, 64), "paper": _TOPS}
_REPRESENTATIONS = ("tsdf-def", "tsdf")


class Necgs(SetCodec):
    """Neural compression of geometry sets: TSDF-Def volumes, a quantised auto-decoder, entropy coding.

    The ladder is over the width of the decoder. The effort decides resolution and training; the parameters change one
    thing each, for the ablations of the paper.

    Parameters
    ----------
    k : int
        Resolution of the volumes; 0 is the effort's.
    representation : {"tsdf-def", "tsdf"}
        Volumes with or without deformation (Table 2, Fig. 7).
    objective : {"", "closest-point", "render", "none"}
        What volumes are fitted to; "" is the effort's.
    encoder : {"auto-decoder", "autoencoder"}
        Features optimised directly or made by an encoder (Fig. 8a).
    ssim : float
        Weight of the structural similarity (λ2 of Eq. 3, Fig. 8b).
    epochs : int
        Of training; 0 is the effort's.
    coder : {"range", "huffman"}
        Entropy coder; the paper's is Huffman.

    Source: Ren et al., NeCGS: Neural Compression for 3D Geometry Sets, arXiv 2405.15034.
    """

    name = "necgs"
    deterministic = False
    packages = PACKAGES
    random_access = True

    def __init__(
        self,
        *,
        k: int = 0,
        representation: str = "tsdf-def",
        objective: str = "",
        encoder: str = "auto-decoder",
        ssim: float = 10.0,
        epochs: int = 0,
        coder: str = "range",
    ) -> None:
        for what, value, possible in (
            ("k", k, (0, *RESOLUTIONS)),
            ("representation", representation, _REPRESENTATIONS),
            ("objective", objective, ("", *get_args(Objective))),
            ("encoder", encoder, get_args(Encoder)),
            ("coder", coder, get_args(Coder)),
        ):
            if value not in possible:
                raise UsageError(f"necgs[{what}={value}]: possible are {', '.join(str(p) for p in possible if p)}")
        if ssim < 0 or epochs < 0:
            raise UsageError("necgs: ssim and epochs cannot be negative")
        self._k = k
        self._changes = {
            "deformation": representation == "tsdf-def",
            "objective": objective or None,
            "encoder": encoder,
            "ssim_weight": ssim,
            "epochs": epochs or None,
            "coder": coder,
        }

    def version(self) -> str:
        """NeCGS's own version, its modules, and the packages whose numbers end in stream or mesh."""
        return source_version(VERSION, __name__, packages=self.packages)

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """Resolution, and width of the decoder's first module, the others in proportion; the effort goes along.

        At a resolution that is not the effort's own its initial ends the label, since efforts train differently:
        ``k64w16`` is of ``standard``, ``k64w16q`` of ``quick`` at 64.
        """
        own = effort_settings(effort).architecture.resolution
        k = self._k or own
        mark = "" if k == own else effort[0]
        return [Rate(f"k{k}w{top}{mark}", {"top": top, "effort": effort}) for top in _LADDER[effort]]

    def prepare(self) -> None:
        """Import torch and what comes with it."""
        super().prepare()
        import_module("gcbench.necgs.compression")

    def settings(self, rate: Rate) -> Settings:
        """What a rate of this address stands for."""
        return effort_settings(as_effort(str(rate.params["effort"]))).with_(
            resolution=self._k or None,
            top=int(rate.params["top"]),
            **self._changes,  # type: ignore[arg-type]  # checked
        )

    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Fit, train, and write the stream; what a stopped encoding left in ``ctx.work`` is gone on from."""
        from gcbench.necgs.compression import compress

        def progress(done: float, message: str) -> None:
            ctx.check_deadline()
            ctx.progress(done, message)

        return compress(
            meshes,
            self.settings(rate),
            seed=ctx.seed,
            threads=ctx.threads,
            device=ctx.device,
            work=ctx.work,
            anew=True,
            progress=progress,
        )

    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh."""
        from gcbench.necgs.compression import decompress

        return [mesh for _, mesh in decompress(stream, threads=ctx.threads, device=ctx.device)]

    def decode_one(self, stream: bytes, index: int, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh; the features of others are not looked at."""
        from gcbench.necgs.bitstream import Reader
        from gcbench.necgs.compression import decompress

        check_index(index, Reader(stream).mesh_count)
        ((_, mesh),) = decompress(stream, [index], threads=ctx.threads, device=ctx.device)
        return mesh

    def layout(self, stream: bytes) -> StreamLayout:
        """Header and decoder are shared; features belong to one mesh each."""
        from gcbench.necgs.bitstream import Reader

        return StreamLayout(*Reader(stream).layout())
