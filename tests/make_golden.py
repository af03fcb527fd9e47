"""Make a golden stream of a codec: ``python tests/make_golden.py ADDRESS NAME [RATE]``.

``python tests/make_golden.py 'ni[steps=200]' torus`` codes a torus of 200 faces; a set codec gets a box too, a codec of
points a bar. The name ``motion`` stands for a torus between frames of a tube that bends. A stream that is there
is never replaced. After a change of a format, the old streams of that codec are
removed by hand, and the changelog says why.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import trimesh
from bending import motion
from common import make_golden, torus

from gcbench.codecs import CODECS, SetCodec
from gcbench.codecs.implicit import nglod, perceptron_codec
from gcbench.codecs.points import PointCodec


def main(address: str, name: str, rate: str | None = None) -> None:
    """Make one stream and say how large it is."""
    for fits in (nglod.FITS, perceptron_codec.FITS):  # a mesh of the resolution of a rate would have 100 000 faces
        fits["quick"] = replace(fits["quick"], resolution=32)
    codec = CODECS.create(address)
    meshes = [torus()]
    if name == "motion":
        first, *others = motion(5)
        meshes = [first, torus(), *others]
    elif isinstance(codec, SetCodec):
        meshes.append(trimesh.creation.box((2, 1, 1)).subdivide())
    elif isinstance(codec, PointCodec):  # of few voxels
        meshes = [trimesh.creation.box((2, 0.04, 0.06))]
    file = make_golden(address, name, meshes, rate)
    sys.stdout.write(f"{file}: {file.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
