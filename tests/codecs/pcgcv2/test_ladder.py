"""Weight files: found, named by what is in them, complete or refused."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
import torch

from gcbench.codecs.pcgcv2 import ladder
from gcbench.codecs.pcgcv2.network import PCGCv2
from gcbench.codecs.pcgcv2.weights import read_tensors, save_weights
from gcbench.errors import CodecUnavailable
from gcbench.training.checkpoints import write_tensors
from gcbench.training.sparse.features import frequency_tables


def test_files_are_sorted_by_number(tmp_path, monkeypatch):
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path))
    assert ladder.files() == {}
    for name in (
        "r10.safetensors",
        "r2.safetensors",
        "r1.safetensors",
        "r1.checkpoint.safetensors",
        "notes.md",
        "rx.safetensors",
    ):
        (tmp_path / name).write_bytes(b"")
    assert list(ladder.files()) == ["r1", "r2", "r10"]
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path / "nowhere"))
    assert ladder.files() == {}
    monkeypatch.delenv(ladder.ENVIRONMENT)
    assert ladder.folder().parent.name == "pcgcv2"


def test_fingerprint_is_that_of_the_bytes(untrained, tmp_path):
    paths = ladder.files()
    assert ladder.fingerprint(paths["r1"]) == hashlib.sha256(paths["r1"].read_bytes()).digest()[:4]
    assert ladder.fingerprints() == {ladder.fingerprint(path): path for path in paths.values()}
    assert len(ladder.fingerprints()) == 3
    copy = tmp_path / "r1.safetensors"
    shutil.copy(paths["r1"], copy)
    assert ladder.fingerprint(copy) == ladder.fingerprint(paths["r1"])
    shutil.copy(paths["r2"], copy)
    assert ladder.fingerprint(copy) == ladder.fingerprint(paths["r2"]), "a changed file is read again"


def test_published_tables_are_of_the_weights_in_the_file(untrained):
    weights = ladder.load(ladder.files()["r1"])
    assert not weights.model.training
    np.testing.assert_array_equal(weights.tables, frequency_tables(weights.model.bottleneck))
    assert {parameter.dtype for parameter in weights.model.parameters()} == {torch.float32}
    _, card = read_tensors(ladder.files()["r1"])
    assert card == {"label": "r1"}
    exact = ladder.load(ladder.files()["r3"]).model.state_dict()
    for name, value in weights.model.state_dict().items():
        torch.testing.assert_close(value, exact[name].half().float(), rtol=0, atol=0)


def test_loading_twice_gives_the_same_object(untrained):
    path = ladder.files()["r1"]
    assert ladder.load(path) is ladder.load(path)


def test_what_is_no_published_file_is_refused(tmp_path, untrained):
    bare = tmp_path / "bare.safetensors"
    save_weights(bare, PCGCv2(), {})
    with pytest.raises(CodecUnavailable, match="publish"):
        ladder.load(bare)
    tensors, card = read_tensors(ladder.files()["r1"])
    for change in (
        {"tables": tensors["tables"][:, :-1]},
        {"tables": torch.zeros_like(tensors["tables"])},
        {"encoder.conv0.weight": torch.zeros(3)},
        {"surplus": torch.zeros(3)},
    ):
        path = tmp_path / "changed.safetensors"
        write_tensors(path, {**tensors, **change}, card)
        with pytest.raises(CodecUnavailable, match="changed"):
            ladder.load(path)
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(CodecUnavailable):
        ladder.load(tmp_path / "text.safetensors")


def test_publishing_needs_weights(tmp_path):
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(CodecUnavailable):
        ladder.publish(tmp_path / "text.safetensors", tmp_path / "r1.safetensors")
    assert not (tmp_path / "r1.safetensors").exists()


def test_shipped_files_are_complete():
    for label, path in ladder.files().items():
        weights = ladder.load(path)
        model, _ = load_weights_without_tables(path)
        assert model.keys() == weights.model.state_dict().keys(), label
        np.testing.assert_array_equal(weights.tables.sum(1, dtype=int), 65536)


def load_weights_without_tables(path):
    tensors, card = read_tensors(path)
    tensors.pop("tables")
    return tensors, card


@pytest.mark.parametrize("name", ["r²", "r٣", "r0", "r-1", "r1 copy", "r1\n", "r\udcff", "r12345"])
def test_files_with_odd_names_are_no_rates(tmp_path, monkeypatch, name):
    """``int("²")`` raises, although ``"²".isdigit()``."""
    monkeypatch.setenv(ladder.ENVIRONMENT, str(tmp_path))
    (tmp_path / f"{name}.safetensors").write_bytes(b"x")
    (tmp_path / "r2.safetensors").mkdir()
    assert ladder.files() == {}
    (tmp_path / "r1.safetensors").write_bytes(b"x")
    assert list(ladder.files()) == ["r1"]
    with pytest.raises(CodecUnavailable, match=r"the file of weights r1\.safetensors is not a whole safetensors file"):
        ladder.load(tmp_path / "r1.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    shipped = next(iter(ladder.files().values()))
    tensors, card = read_tensors(shipped)
    name = next(name for name in tensors if name.endswith("conv0.weight"))
    tensors[name][0, 0, 0] = torch.nan
    write_tensors(tmp_path / "r1.safetensors", tensors, card)
    with pytest.raises(CodecUnavailable, match=rf"has a value in {name} that is not finite"):
        ladder.load(tmp_path / "r1.safetensors")
