"""NeCGS, neural compression of geometry sets, as a library of its own: knows meshes and tensors, nothing of bench.

The road of a mesh: ``placement`` into the cube, ``tsdf`` and ``fit`` to a volume (``dmc`` is the way back); ``train``
with ``network`` and ``loss``, to symbols; ``entropy`` and ``bitstream``, to bytes. ``compression`` walks it both ways.
"""

#: Number of the format, and of whatever gives other bytes or meshes though no line of these modules changes.
VERSION = "1"

#: Modules that decide a volume, and the mesh of one.
VOLUME_MODULES = (
    *("gcbench.necgs.dmc", "gcbench.necgs.fit", "gcbench.necgs.grid", "gcbench.necgs.marching_cubes_tables"),
    *("gcbench.necgs.placement", "gcbench.necgs.quantise", "gcbench.necgs.rasteriser", "gcbench.necgs.render"),
    *("gcbench.necgs.settings", "gcbench.necgs.surface", "gcbench.necgs.tsdf", "gcbench.necgs.volumes"),
)
#: Modules that decide a stream, and what it decodes to: all but the command line and its progress.
MODULES = (
    *VOLUME_MODULES,
    *("gcbench.necgs.bitstream", "gcbench.necgs.compression", "gcbench.necgs.encoder", "gcbench.necgs.entropy"),
    *("gcbench.necgs.huffman", "gcbench.necgs.loss", "gcbench.necgs.network", "gcbench.necgs.precision"),
    *("gcbench.necgs.range_coder", "gcbench.necgs.ranks", "gcbench.necgs.straight_through", "gcbench.necgs.train"),
)
#: Distributions whose numbers end in a stream or a mesh.
PACKAGES = ("torch", "constriction", "libigl", "numba", "scipy")
