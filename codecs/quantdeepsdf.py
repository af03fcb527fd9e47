"""QuantDeepSDF, the neural baseline of the NeCGS paper: the design ``latent_mlp`` of gcbench.necgs as a codec."""

from __future__ import annotations

from gcbench.codecs.sets import NecgsCodec


class QuantDeepSdf(NecgsCodec):
    """One perceptron (vertex, latent of a mesh) → TSDF-Def for the whole set; rates differ in its width.

    Parameters
    ----------
    k : int
        Resolution of the volumes; 0 takes the effort's.
    latent : int
        Length of the latent vector of a mesh.
    encoding : {"plain", "fourier"}
        How the perceptron gets coordinates.
    objective : {"", "closest-point", "render", "none"}
        Loss that fits the volumes to the meshes, as in ``necgs``; "" takes the effort's.
    bits : int
        Bits of a weight.
    epochs : int
        Training epochs; 0 takes the effort's.
    seconds : int
        Limit of the training's wall time; 0: none. When it ends the training, bytes depend on the machine and its load.

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
