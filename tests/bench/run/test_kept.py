"""Meshes of a run had again: a set is decoded once, a codec that failed at a stream is not asked again."""

from __future__ import annotations

import numpy as np
import pytest

from gcbench.bench.run.kept import Decoder, KeptInputs, NotHere, load_unchanged
from gcbench.bench.run.runner import run
from gcbench.bench.store.run import Run
from gcbench.bench.plan.planning import plan


@pytest.fixture
def store(folder):
    """Three meshes and a broken one, one by one and as a set."""
    store = Run(folder.parent / "run")
    run(plan(str(folder), ["test-exact", "test-set"], rates=["d3", "only"]), store, threads=1)
    return store


def test_inputs_and_decoded_meshes_belong_together(store):
    inputs, decoder = KeptInputs(store), Decoder(store)
    good = [record for record in store.records() if record.status == "ok"]
    assert [r.mesh for r in good if r.kind == "set"] == ["shape0", "shape1", "shape2"]
    try:
        for record in good:
            mesh = load_unchanged(inputs.source(record), record.input_sha256)
            vertices, faces = decoder.mesh(record)
            np.testing.assert_array_equal(faces, mesh.faces)
            np.testing.assert_allclose(vertices, mesh.vertices, atol=5.1e-4)
            if record.kind == "set":  # the others are there without the stream
                stream = store.path / "streams" / record.stream_sha256[:2] / record.stream_sha256
                stream.unlink(missing_ok=True)
        alone = next(record for record in good if record.kind == "model")
        stream = store.path / "streams" / alone.stream_sha256[:2] / alone.stream_sha256
        content = stream.read_bytes()
        stream.write_bytes(content[:-1])
        with pytest.raises(NotHere, match=r"decoding it again failed: stream .* was changed"):
            decoder.mesh(alone)
        stream.write_bytes(content)
        with pytest.raises(NotHere, match="was changed"):
            decoder.mesh(alone)
    finally:
        decoder.close()
