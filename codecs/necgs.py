"""NeCGS as a codec of the benchmark; the coding is gcbench.necgs's."""

from __future__ import annotations

from gcbench.codecs.sets import NecgsCodec


class Necgs(NecgsCodec):
    """Neural compression of geometry sets: TSDF-Def volumes, a quantised auto-decoder, entropy coding.

    The ladder is over the width of the decoder. The effort decides resolution and training; the parameters change one
    thing each, for the ablations of the paper.

    Parameters
    ----------
    design : {"convolution", "latent_mlp"}
        How features become volumes; the paper's is ``convolution``.
    k : int
        Resolution of the volumes; 0 is the effort's.
    representation : {"tsdf-def", "tsdf"}
        Volumes with or without deformation (Table 2, Fig. 7); of ``convolution``.
    objective : {"", "closest-point", "render", "none"}
        What volumes are fitted to; "" is the effort's.
    encoder : {"auto-decoder", "autoencoder"}
        Features optimised directly or made by an encoder (Fig. 8a); of ``convolution``.
    ssim : float
        Weight of the structural similarity (λ2 of Eq. 3, Fig. 8b); of ``convolution``.
    epochs : int
        Of training; 0 is the effort's.
    coder : {"range", "huffman"}
        Entropy coder; the paper's is Huffman.

    Source: Ren et al., NeCGS: Neural Compression for 3D Geometry Sets, arXiv 2405.15034.
    """

    name = "necgs"

    def __init__(
        self,
        *,
        design: str = "convolution",
        k: int = 0,
        representation: str = "tsdf-def",
        objective: str = "",
        encoder: str = "auto-decoder",
        ssim: float = 10.0,
        epochs: int = 0,
        coder: str = "range",
    ) -> None:
        published = {"representation": "tsdf-def", "encoder": "auto-decoder", "ssim": 10.0}
        own = {"representation": representation, "encoder": encoder, "ssim": ssim}
        changed = {name: value for name, value in own.items() if value != published[name]}  # refused by other designs
        super().__init__(design, coder, k=k, objective=objective, epochs=epochs, **changed)
