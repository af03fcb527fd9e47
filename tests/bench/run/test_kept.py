"""Meshes of a run had again: a set is decoded once, a codec that failed at a stream is not asked again."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.run.kept import Decoder, KeptInputs, NotHere, chosen, load_unchanged
from gcbench.bench.store.run import Run

pytestmark = pytest.mark.usefixtures("counting_suites")


@pytest.fixture
def store(folder, go):
    """Three meshes and a broken one, one by one and as a set."""
    store = Run(folder.parent / "run")
    go(make_plan(str(folder), ["test-exact", "test-set"], rates=["d3", "only"]), store)
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
        alone = next(record for record in good if record.kind == "model" and record.mesh == "shape2")
        stream = store.path / "streams" / alone.stream_sha256[:2] / alone.stream_sha256
        content = stream.read_bytes()
        stream.write_bytes(content[:-1])
        shutil.rmtree(decoder._folders.spool.path)
        with pytest.raises(NotHere, match=r"decoding the stream failed: stream .* was changed"):
            decoder.mesh(alone)
        stream.write_bytes(content)
        with pytest.raises(NotHere, match="was changed"):
            decoder.mesh(alone)
    finally:
        decoder.close()
    assert not decoder._folders.scratch.exists()


def test_inputs_are_found_where_they_were_or_are_now_or_not_at_all(store, folder, tmp_path):
    record = next(r for r in store.records() if r.mesh == "shape0")
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(NotHere, match="the input meshes are not here"):
        KeptInputs(store).source(record)
    inputs = KeptInputs(store, folders={"shapes": moved})
    source = inputs.source(record)
    assert (source.dataset, source.path.parent) == ("shapes", moved)
    assert len(load_unchanged(source, record.input_sha256).faces) == record.faces
    shutil.copy(moved / "shape1.ply", moved / "shape0.ply")
    with pytest.raises(NotHere, match="has changed since the run was made"):
        load_unchanged(source, record.input_sha256)
    (moved / "shape0.ply").unlink()
    with pytest.raises(NotHere, match="no longer in shapes/all"):
        KeptInputs(store, folders={"shapes": moved}).source(record)


def test_records_are_chosen_by_dataset_codec_and_rate(store):
    records = store.records()
    assert chosen(records) == records
    assert {r.codec for r in chosen(records, codecs=["test-set"])} == {"test-set"}
    assert {r.rate for r in chosen(records, rates=["d3"])} == {"d3"}
    assert chosen(records, datasets=["shapes"]) == records
    assert chosen(records, datasets=["other"]) == []


def test_a_record_does_not_choose_the_folder_that_is_searched(store, monkeypatch):
    record = next(r for r in store.records() if r.mesh == "shape0")
    walked = []
    monkeypatch.setattr("os.walk", lambda folder, **_: walked.append(str(folder)) or [])
    for dataset in ("/", "/etc", "..", "../..", ".", "~", "~root", "a/../../..", "x" * 5000, "a\x1bb"):
        with pytest.raises(NotHere, match="the input meshes are not here"):
            KeptInputs(store, store.path / "data").source(dataclasses.replace(record, dataset=dataset))
    assert all(folder.startswith(str(store.path / "data")) for folder in walked)


def test_a_folder_that_only_the_run_names_is_said_and_must_be_small(store, folder, caplog, monkeypatch):
    record = next(r for r in store.records() if r.mesh == "shape0")
    assert KeptInputs(store).source(record).path.parent == folder
    assert f"the run says that the meshes of shapes are in {folder}; to look elsewhere, name their" in caplog.text
    monkeypatch.setattr("gcbench.bench.run.kept._MOST_ENTRIES", 3)
    with pytest.raises(NotHere, match=r"too many files to search; name their folder: --folder shapes=FOLDER"):
        KeptInputs(store).source(record)
    caplog.clear()
    assert KeptInputs(store, folders={"shapes": folder}).source(record).path.parent == folder
    assert not caplog.text
