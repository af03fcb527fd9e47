"""Sparse networks of voxels, and the coding of their latent features, for learned codecs such as ``pcgcv2``.

- ``voxels``: sets of voxels and convolutions over them. ``layers``: these convolutions as modules of torch.
- ``bottleneck``: the learnt distributions of latent features. ``features``: their integer tables, and the coding.
"""
