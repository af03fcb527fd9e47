"""gcbench: a benchmark suite for 3-D geometry codecs on sets of triangle meshes.

Folder ``X/`` of the repository is imported as ``gcbench.X``; see ``docs/architecture.md``.
"""

__version__ = "0.1.0"
