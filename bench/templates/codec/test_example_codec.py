"""The codec keeps the contract of gcbench, and its quantiser has the right step."""

import numpy as np
import pytest
import trimesh
from example_codec import ExampleCodec
from scipy.spatial import KDTree

from gcbench.bench import check
from gcbench.codecs import Context


def test_keeps_the_contract():
    """Claims, round trip, decoding from the stream alone, determinism, hard meshes, damaged streams, ..."""
    report = check("example-codec")
    assert report.ok, f"\n{report}"


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_no_vertex_moves_by_more_than_half_a_step_in_each_coordinate(effort):
    """The longest side has length 2 and 2^bits - 1 steps."""
    codec, mesh = ExampleCodec(), trimesh.creation.icosphere(3)
    for rate in codec.rates(effort):
        decoded = codec.decode_mesh(codec.encode_mesh(mesh, rate, Context()), Context())
        moved, _ = KDTree(decoded.vertices).query(mesh.vertices, p=np.inf)
        assert moved.max() <= 1 / (2 ** rate.params["bits"] - 1) + 1e-12
