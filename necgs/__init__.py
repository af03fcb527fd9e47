"""NeCGS, neural compression of geometry sets, as a library that does not need the benchmark.

The modules, in the order in which a mesh passes them:

- ``placement``      into the cube [-1, 1]³, and out of it
- ``designs``        how features become meshes: ``base`` is the seam, ``convolution`` the published design,
                     ``latent_mlp`` QuantDeepSDF's; each has ``*_network`` (decoding) and ``*_training``
- ``volumes, fit``   dense volumes of a set, for designs that train on them; ``closest_points`` and ``render`` say how
                     far a surface is from its mesh, ``loss`` how far a decoded volume is from a fitted one
- ``bitstream``      symbols of decoder and features to bytes, one block for each mesh
- ``compression``    all steps: ``compress``, ``decompress``, ``add``
- ``settings, job``  what can be chosen about every design, and how one piece of work is done
- ``cli``            the command ``necgs``
"""

#: Number of the format, and of whatever gives other bytes or meshes though no line of these modules changes.
VERSION = "2"

#: Distributions whose numbers end in a stream or a mesh.
PACKAGES = ("torch", "constriction", "libigl", "numba", "scipy")
