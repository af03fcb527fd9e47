"""``python -m gcbench.codecs.pcgcv2.command``: what reaches the training, and what is there after it."""

from __future__ import annotations

import sys

import pytest
import trimesh
from typer.testing import CliRunner

from gcbench.codecs.pcgcv2 import command, ladder, training
from gcbench.errors import BadMesh, UsageError
from gcbench.training.command_line import run as run_command
from gcbench.training.sparse.meshes import read_meshes

RUNNER = CliRunner()


@pytest.fixture
def asked(monkeypatch):
    """What the training is asked for, which ends as ``ends`` says."""
    seen = {"ends": True}

    def train(out, labels, settings, **options):
        seen.update(out=out, labels=labels, settings=settings, **options)
        out.mkdir(exist_ok=True)
        (out / "r4.safetensors").write_bytes(b"weights")
        if isinstance(seen["ends"], BaseException):
            raise seen["ends"]
        return seen["ends"]

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(ladder, "publish", lambda trained, path: path.write_bytes(trained.read_bytes()))
    return seen


def run(*arguments):
    return RUNNER.invoke(command.app, [str(argument) for argument in arguments])


def test_options_reach_the_training_and_weights_are_published(asked, tmp_path):
    out = tmp_path / "w"
    done = run("--out", out, "--rate", "r4, r5", "--steps", 70, "--batch", 2, "--minutes", 3, "--seed", 9)
    assert done.exit_code == 0, done.output
    assert (asked["out"], asked["labels"], asked["minutes"], asked["device"]) == (out, ["r4", "r5"], 3, "cpu")
    settings = asked["settings"]
    assert (settings.steps, settings.patches_per_step, settings.seed, settings.built_in) == (70, 2, 9, False)
    assert (out / "rates" / "r4.safetensors").read_bytes() == b"weights"
    assert f"done: {out / 'rates'}" in done.output
    assert f"GCBENCH_PCGCV2_WEIGHTS={out / 'rates'} bench run --codec pcgcv2" in done.output
    assert run("--out", out).exit_code == 0
    assert asked["labels"] == list(training.LAMBDAS)


def test_what_is_stopped_goes_on(asked, tmp_path):
    asked["ends"] = False
    assert "stopped; the same command goes on" in run("--out", tmp_path).output
    asked["ends"] = KeyboardInterrupt()
    done = run("--out", tmp_path)
    assert done.exit_code == 130
    assert "interrupted; the same command goes on" in done.output
    assert (tmp_path / "rates" / "r4.safetensors").exists()


def test_meshes_are_read_from_the_folder(asked, tmp_path):
    (tmp_path / "m/human").mkdir(parents=True)
    trimesh.creation.box().export(tmp_path / "m/human/samba.ply")
    (tmp_path / "m/notes.txt").write_text("x")
    assert run("--out", tmp_path / "w", "--meshes", tmp_path / "m").exit_code == 0
    assert asked["settings"].built_in
    ((name, vertices, faces),) = asked["meshes"]()
    assert (name, len(vertices), len(faces)) == ("human/samba", 8, 12)
    assert run("--out", tmp_path / "w").exit_code == 0
    assert not asked["settings"].built_in
    assert not list(asked["meshes"]())


def test_an_error_is_one_line(asked, tmp_path, monkeypatch, capsys):
    (tmp_path / "m").mkdir()
    with pytest.raises(UsageError, match="no mesh files"):
        list(read_meshes(tmp_path / "m"))
    (tmp_path / "m/a.ply").write_text("junk")
    with pytest.raises(BadMesh, match=r"a\.ply"):
        list(read_meshes(tmp_path / "m"))
    asked["ends"] = UsageError("other settings")
    monkeypatch.setattr(sys, "argv", ["training", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        run_command(command.app)
    assert ended.value.code == 2
    assert "error: other settings" in capsys.readouterr().err
