"""The base of set codecs that use :mod:`gcbench.necgs`: it turns an address and a rate into a plan for the library."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

from gcbench.codecs.base import EFFORTS, Context, Effort, Rate, SetCodec, StreamLayout, as_effort, check_index
from gcbench.errors import UsageError
from gcbench.necgs import PACKAGES, VERSION, designs
from gcbench.necgs.budget import BUDGET
from gcbench.necgs.settings import Coder, one_of
from gcbench.versions import file_digest, source_version

if TYPE_CHECKING:
    import trimesh

    from gcbench.necgs.designs.base import Plan
    from gcbench.necgs.job import Job


class NecgsCodec(SetCodec):
    """A codec whose streams are those of :mod:`gcbench.necgs`.

    Parameters
    ----------
    design : str
        Name of the design.
    coder : {"range", "huffman"}
        Entropy coder.
    **choices
        Settings of the design; see :mod:`gcbench.necgs.designs`.
    """

    deterministic = False
    packages = PACKAGES
    random_access = True
    decode_budget = BUDGET

    def __init__(self, design: str, coder: str = "range", **choices: object) -> None:
        self._design = design
        self._choices = choices
        shipped = designs.named(design).shipped if design in designs.DESIGNS else None
        self.decoder_bytes = shipped.stat().st_size if shipped else 0
        try:
            self._coder = one_of("coder", coder, get_args(Coder))
            for effort in EFFORTS:
                self.plan(self.rates(effort)[0])
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from error

    def version(self) -> str:
        """Version of the format, and of the modules, packages and weights that decide streams and meshes."""
        shipped = (design.shipped for design in designs.DESIGNS.values() if design.shipped)
        weights = "".join(f"+weights-{file_digest(path).hex()[:8]}" for path in shipped)
        return source_version(VERSION, type(self).__module__, packages=self.packages) + weights

    def rates(self, effort: Effort) -> Sequence[Rate]:
        """The ladder of the design. Each rate also carries the effort, which decides the training."""
        ladder = designs.named(self._design).rates(effort, int(str(self._choices.get("k", 0))))
        return [Rate(label, {**choices, "effort": effort}) for label, choices in ladder.items()]

    def prepare(self) -> None:
        """Import torch and the modules that the designs import only when they are used."""
        super().prepare()
        for module in ("necgs.compression", "geometry.deformable_marching_cubes"):
            import_module(f"gcbench.{module}")
        for name in designs.DESIGNS:
            import_module(f"gcbench.necgs.designs.{name}_training")

    def plan(self, rate: Rate) -> Plan[Any]:
        """The library's plan for a rate of this codec."""
        chosen = {name: value for name, value in rate.params.items() if name != "effort"}
        effort = as_effort(str(rate.params["effort"]))
        return designs.plan(self._design, effort, self._coder, **{**self._choices, **chosen})

    def encode_set(self, meshes: Sequence[trimesh.Trimesh], rate: Rate, ctx: Context) -> bytes:
        """Train and write the stream; training goes on from checkpoints of a stopped encoding in ``ctx.work``."""
        from gcbench.necgs.compression import compress

        return compress(meshes, self.plan(rate), _job(ctx))

    def decode_set(self, stream: bytes, ctx: Context) -> list[trimesh.Trimesh]:
        """Decode every mesh. A mesh whose volume has no surface has no faces."""
        from gcbench.necgs.compression import decompress

        return [mesh for _, mesh in decompress(stream, job=_job(ctx))]

    def decode_one(self, stream: bytes, index: int, ctx: Context) -> trimesh.Trimesh:
        """Decode one mesh without reading the features of the others."""
        from gcbench.necgs.bitstream import Reader
        from gcbench.necgs.compression import decompress

        check_index(index, Reader(stream).mesh_count)
        ((_, mesh),) = decompress(stream, [index], _job(ctx))
        return mesh

    def add(
        self, stream: bytes, meshes: Sequence[trimesh.Trimesh], ctx: Context, *, effort: Effort = "standard"
    ) -> bytes:
        """Add meshes to a stream with the settings of an effort; the bytes of earlier meshes do not change.

        Raises
        ------
        BadMesh
            A mesh cannot be coded.
        BitstreamError
            The stream is short, corrupt or foreign.
        """
        from gcbench.necgs.bitstream import Reader
        from gcbench.necgs.compression import add

        design = Reader(stream).design
        wanted = {"objective", "seconds"} & designs.choices(type(design)).keys() & self._choices.keys()
        choices = {name: self._choices[name] for name in wanted}
        plan = designs.plan(design.name, effort, self._coder, **choices)
        return add(stream, meshes, plan.training, _job(ctx))

    def layout(self, stream: bytes) -> StreamLayout:
        """The meshes share the head and the decoder; each mesh has features of its own."""
        from gcbench.necgs.bitstream import Reader

        return StreamLayout(*Reader(stream).layout())


def _job(ctx: Context) -> Job:
    from gcbench.necgs.job import Job

    def progress(done: float, message: str) -> None:
        ctx.check_deadline()
        ctx.progress(done, message)

    return Job(
        seed=ctx.seed,
        threads=ctx.threads,
        device=ctx.device,
        work=ctx.work,
        anew=True,
        progress=progress,
        watch=ctx.check_deadline,
        stage=ctx.stage,
    )
