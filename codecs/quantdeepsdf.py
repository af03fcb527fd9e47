"""QuantDeepSDF, the neural baseline of the NeCGS paper: the design ``latent_mlp`` of gcbench.necgs as a codec."""

from __future__ import annotations

from gcbench.codecs.sets import NecgsCodec


class QuantDeepSdf(NecgsCodec):
    """A perceptron (vertex, latent of a mesh) → TSDF-Def for a whole set; its width is the rate.

    Parameters
    ----------
    k : int
        Resolution of the volumes; 0 is the effort's.
    latent : int
        Numbers in the latent of a mesh.
    encoding : {"plain", "fourier"}
        Of coordinates.
    objective : {"", "closest-point", "render", "none"}
        What volumes are fitted to; "" is the effort's. As ``necgs`` has it.
    bits : int
        Of a weight.
    epochs : int
        Of training; 0 is the effort's.
    seconds : int
        Of wall time that training may take; 0 is no bound. Where it binds, bytes depend on the machine and its load.

    Source: Ren et al., NeCGS, arXiv 2405.15034, appendix C.2 and Fig. 12; Park et al., DeepSDF, CVPR 2019.
    """

    name = "quantdeepsdf"

    def __init__(
        self,
        *,
        k: int = 0,
        latent: int = 32,
        encoding: str = "plain",
        objective: str = "",
        bits: int = 8,
        epochs: int = 0,
        seconds: int = 0,
    ) -> None:
        super().__init__(
            "latent_mlp",
            k=k,
            latent=latent,
            encoding=encoding,
            objective=objective,
            bits=bits,
            epochs=epochs,
            seconds=seconds,
        )
