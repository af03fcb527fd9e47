"""NeCGS as a codec of the benchmark; :mod:`gcbench.necgs` does the coding."""

from __future__ import annotations

from gcbench.codecs.sets import NecgsCodec


class Necgs(NecgsCodec):
    """Neural compression of geometry sets: TSDF-Def volumes, a quantised auto-decoder, entropy coding.

    The rates of the published design differ in the width of the decoder. The effort decides resolution and training.
    Each parameter makes one ablation.

    Parameters
    ----------
    design : {"convolution", "latent_mlp", "sparse"}
        How features become surfaces; the paper has ``convolution``. The rates of ``sparse`` differ in the price of a
        bit, λ.
    k : int
        Resolution of the volumes; 0 takes the effort's.
    representation : {"", "tsdf-def", "tsdf"}
        Volumes with or without deformation (Table 2, Fig. 7), for ``convolution`` and ``sparse``; "" takes the
        design's: with it for ``convolution``, without for ``sparse``.
    objective : {"", "closest-point", "render", "none"}
        Loss that fits the volumes to the meshes; "" takes the effort's.
    encoder : {"auto-decoder", "autoencoder"}
        Features are optimised directly, or an encoder makes them (Fig. 8a); for ``convolution`` only.
    ssim : float
        Weight of the structural similarity (λ2 of Eq. 3, Fig. 8b); for ``convolution`` only.
    epochs : int
        Training epochs; 0 takes the effort's.
    tree : bool
        Whether latents are coded as differences to those of other meshes; for ``sparse`` only.
    optimiser : {"muon", "adam"}
        Of the matrices of the decoder; for ``sparse`` only.
    learning_rate : float
        Of the decoder, relative to the size of its weights; 0 takes the effort's; for ``sparse`` only.
    coder : {"range", "huffman"}
        Entropy coder; the paper has Huffman.

    Source: Ren et al., NeCGS: Neural Compression for 3D Geometry Sets, arXiv 2405.15034.
    """

    name = "necgs"

    def __init__(
        self,
        *,
        design: str = "convolution",
        k: int = 0,
        representation: str = "",
        objective: str = "",
        encoder: str = "auto-decoder",
        ssim: float = 10.0,
        epochs: int = 0,
        tree: bool = True,
        optimiser: str = "muon",
        learning_rate: float = 0.0,
        coder: str = "range",
    ) -> None:
        published = {"representation": "", "encoder": "auto-decoder", "ssim": 10.0}
        published |= {"tree": True, "optimiser": "muon", "learning_rate": 0.0}
        own = {"representation": representation, "encoder": encoder, "ssim": ssim, "tree": tree, "optimiser": optimiser}
        own |= {"learning_rate": learning_rate}
        changed = {name: value for name, value in own.items() if value != published[name]}  # other designs refuse them
        super().__init__(design, coder, k=k, objective=objective, epochs=epochs, **changed)
