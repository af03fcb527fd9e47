"""Sets of meshes with the same faces: one control mesh, how it moves, and how much of each movement a mesh has.

``codec`` has the codec, ``encoding`` what it does in which order, ``simplification`` and ``control_mesh`` the control
mesh of a group, ``subdivision`` its surface, ``shapes`` the movements; ``prediction`` codes shapes, ``numbers`` poses
and weights, and ``stream`` all.
``docs/blendshapes.md`` explains the method and what was measured.
"""
