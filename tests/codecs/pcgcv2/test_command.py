"""``bench train pcgcv2``: what reaches the training, and what is there after it."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from gcbench.codecs import CODECS
from gcbench.codecs.pcgcv2 import command, ladder, training

RUNNER = CliRunner()
MESHES = object()


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
    return RUNNER.invoke(command.app, [str(argument) for argument in arguments], obj=MESHES)


def test_options_reach_the_training_and_weights_are_published(asked, tmp_path):
    out = tmp_path / "w"
    done = run(
        "--out", out, "--rates", "r4, r5", "--steps", 70, "--batch", 2, "--minutes", 3, "--seed", 9, "--no-built-in"
    )
    assert done.exit_code == 0, done.output
    assert (asked["out"], asked["labels"], asked["minutes"], asked["device"]) == (out, ["r4", "r5"], 3, "cpu")
    settings = asked["settings"]
    assert (settings.steps, settings.patches_per_step, settings.seed, settings.built_in) == (70, 2, 9, False)
    assert asked["meshes"] is MESHES, "the built-in meshes come from who runs the command"
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


def test_bench_train_runs_the_command_that_a_codec_names(asked, tmp_path, monkeypatch):
    from gcbench.bench.cli import train

    assert CODECS.get("pcgcv2").training == "gcbench.codecs.pcgcv2.command:app"
    whole = typer.Typer()
    whole.add_typer(train.app, name="train")
    whole.command("other")(lambda: None)
    helped = RUNNER.invoke(whole, ["train", "--help"])
    assert "pcgcv2" in helped.output
    assert "draco" not in helped.output
    assert "--warm-share" in RUNNER.invoke(whole, ["train", "pcgcv2", "--help"]).output
    for unknown in ("draco", "nothing"):
        wrong = RUNNER.invoke(whole, ["train", unknown])
        assert wrong.exit_code == 2
        assert f"No such command '{unknown}'" in wrong.output
    assert RUNNER.invoke(whole, ["train", "pcgcv2", "--out", str(tmp_path)]).exit_code == 0
    name, vertices, faces = next(iter(asked["meshes"]()))
    assert name.startswith("human/")
    assert vertices.shape[1] == faces.shape[1] == 3


def test_a_codec_of_a_third_party_brings_its_own(monkeypatch):
    from gcbench.bench.cli import train

    monkeypatch.setattr(CODECS.get("draco"), "training", "gcbench.codecs.pcgcv2.command:app", raising=False)
    whole = typer.Typer()
    whole.add_typer(train.app, name="train")
    whole.command("other")(lambda: None)
    assert "--warm-share" in RUNNER.invoke(whole, ["train", "draco", "--help"]).output
