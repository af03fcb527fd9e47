"""NeCGS, neural compression of geometry sets, as a library of its own: knows meshes and tensors, nothing of bench.

The road of a mesh: ``placement`` into the cube, ``tsdf`` and ``fit`` to a volume (``dmc`` is the way back); ``train``
with ``network`` and ``loss``, to symbols; ``entropy`` and ``bitstream``, to bytes. ``compression`` walks it both ways.
"""

#: Goes up with every change that gives other bytes, or other meshes, for the same input.
VERSION = "1"
