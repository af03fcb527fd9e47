"""The registry of codecs. Built-in codecs are imported at first use; plugins register by entry point."""

from __future__ import annotations

from gcbench.codecs.base import Codec
from gcbench.registry import Registry

CODECS: Registry[Codec] = Registry(
    base=Codec,  # type: ignore[type-abstract]  # a registry of subclasses is what an abstract base is for
    noun="codec",
    builtins={
        "raw-zstd": "gcbench.codecs.raw_zstd:RawZstd",
        "draco": "gcbench.codecs.draco:Draco",
        "draco-qem": "gcbench.codecs.draco_qem:DracoQem",
        "meshopt": "gcbench.codecs.meshopt:Meshopt",
        "meshopt-simplify": "gcbench.codecs.meshopt_simplify:MeshoptSimplify",
        "blendshapes": "gcbench.codecs.blendshapes.codec:BlendShapes",
        "necgs": "gcbench.codecs.necgs:Necgs",
        "gpcc-octree": "gcbench.codecs.mpeg.gpcc:GpccOctree",
        "gpcc-trisoup": "gcbench.codecs.mpeg.gpcc:GpccTrisoup",
        "vpcc": "gcbench.codecs.mpeg.vpcc:Vpcc",
        "vdmc": "gcbench.codecs.mpeg.vdmc:Vdmc",
        "pcgcv2": "gcbench.codecs.pcgcv2.codec:PCGCv2Codec",
        "sirsnc": "gcbench.codecs.sirsnc.codec:SirSncCodec",
        "ni": "gcbench.codecs.implicit.ni:Ni",
        "keyspheres": "gcbench.codecs.implicit.keyspheres:KeySpheres",
        "pruned-mlp": "gcbench.codecs.implicit.pruned_mlp:PrunedMlp",
        "nglod": "gcbench.codecs.implicit.nglod:Nglod",
        "quantdeepsdf": "gcbench.codecs.quantdeepsdf:QuantDeepSdf",
    },
    group="gcbench.codecs",
)
