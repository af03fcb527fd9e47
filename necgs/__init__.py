"""NeCGS, neural compression of geometry sets, as a library of its own: knows meshes and tensors, nothing of bench.

The road of a mesh: ``placement`` into the cube, ``tsdf`` and ``fit`` to a volume (``dmc`` is the way back); ``train``
with ``network`` and ``loss``, to symbols; ``entropy`` and ``bitstream``, to bytes. ``compression`` walks it both ways.
"""

#: Number of the format, and of whatever gives other bytes or meshes though no line of these modules changes.
VERSION = "1"

#: Distributions whose numbers end in a stream or a mesh.
PACKAGES = ("torch", "constriction", "libigl", "numba", "scipy")
