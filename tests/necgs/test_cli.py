from __future__ import annotations

import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import trimesh
from typer.testing import CliRunner

from gcbench.errors import BadMesh, BenchError, BitstreamError, UsageError
from gcbench.necgs import cli
from gcbench.necgs.bitstream import Reader

pytestmark = pytest.mark.long

FAST = ["--effort", "quick", "--width", "8", "--objective", "none", "--threads", "1"]


def necgs(*arguments: object):
    """Run a command in this process; an error of ours is raised, as main() would see it."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if isinstance(result.exception, BenchError | ValueError):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two meshes, of other sizes and places than the cube, in two formats."""
    folder = tmp_path_factory.mktemp("meshes")
    sphere = trimesh.creation.icosphere(3, radius=30)
    sphere.apply_translation((100, 0, -5))
    sphere.export(folder / "a.obj")
    trimesh.creation.torus(0.07, 0.03).export(folder / "b.stl")
    return folder


@pytest.fixture(scope="module")
def stream(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "set.necgs"
    result = necgs("compress", folder, "-o", path, "--epochs", 120, *FAST)
    assert result.exit_code == 0, result.output
    assert "2 meshes" in result.output
    assert not path.with_name("set.necgs.work").exists(), "removed when done"
    return path


def test_help_is_instant_and_names_the_commands():
    start = time.perf_counter()
    out = subprocess.run(
        [sys.executable, "-c", "from gcbench.necgs.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert time.perf_counter() - start < 3
    for command in ("compress", "decompress", "add", "info"):
        assert command in out


def test_help_does_not_import_torch():
    code = "import sys; import gcbench.necgs.cli; sys.exit('torch' in sys.modules or 'trimesh' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_meshes_come_back_where_they_were(stream, folder, tmp_path):
    result = necgs("decompress", stream, tmp_path / "out", "--format", "obj")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0000.obj", "0001.obj"]
    for name, original, scale in (("0000", "a.obj", 30), ("0001", "b.stl", 0.1)):
        decoded = trimesh.load_mesh(tmp_path / "out" / f"{name}.obj", process=False)
        expected = trimesh.load_mesh(folder / original)
        assert np.abs(decoded.bounds - expected.bounds).max() < 0.1 * scale
        assert decoded.volume == pytest.approx(expected.volume, rel=0.1)


def test_one_mesh_alone_is_the_same(stream, tmp_path):
    necgs("decompress", stream, tmp_path / "all")
    necgs("decompress", stream, tmp_path / "one", "--only", 1)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["0001.ply"]
    assert (tmp_path / "one" / "0001.ply").read_bytes() == (tmp_path / "all" / "0001.ply").read_bytes()


@pytest.mark.slow
def test_decoding_twice_gives_the_same_bytes_also_in_a_fresh_process(stream, tmp_path):
    necgs("decompress", stream, tmp_path / "here")
    code = "from gcbench.necgs.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", code, "decompress", str(stream), str(tmp_path / "there"), "--threads", "1"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    necgs("decompress", stream, tmp_path / "again", "--threads", 1)
    for name in ("0000.ply", "0001.ply"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_added_meshes_leave_the_old_ones_as_they_are(stream, folder, tmp_path):
    longer = tmp_path / "longer.necgs"
    result = necgs("add", stream, folder / "a.obj", "-o", longer, "--effort", "quick", "--steps", 20, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert Reader(longer.read_bytes()).mesh_count == 3
    necgs("decompress", stream, tmp_path / "old", "--threads", 1)
    necgs("decompress", longer, tmp_path / "new", "--threads", 1)
    for name in ("0000.ply", "0001.ply"):
        assert (tmp_path / "old" / name).read_bytes() == (tmp_path / "new" / name).read_bytes()
    assert (tmp_path / "new" / "0002.ply").exists()


def test_info_says_where_the_bytes_are(stream):
    out = necgs("info", stream).output
    assert str(stream.stat().st_size) in out
    assert "convolution: TSDF-Def volumes of 32³; decoder 8-6-4" in out
    assert "huffman" in out
    assert "entropy" in out


def test_stopped_work_is_kept_and_goes_on(folder, tmp_path, monkeypatch):
    """The stream is the same as without the interruption, and nothing is fitted twice."""

    def stop_late(done: float, _message: str) -> None:
        if done > 0.6:
            raise KeyboardInterrupt

    arguments = ["compress", folder, "--epochs", 10, *FAST]
    with monkeypatch.context() as patch:
        patch.setattr(cli, "shown", lambda: nullcontext(stop_late))
        result = necgs(*arguments, "-o", tmp_path / "set.necgs")
    assert result.exit_code == cli.INTERRUPTED
    work = tmp_path / "set.necgs.work"
    assert len(list((work / "volumes").iterdir())) == 2
    assert (work / "training.safetensors").exists()
    assert not (tmp_path / "set.necgs").exists()
    necgs(*arguments, "-o", tmp_path / "set.necgs")
    necgs(*arguments, "-o", tmp_path / "undisturbed.necgs")
    assert (tmp_path / "set.necgs").read_bytes() == (tmp_path / "undisturbed.necgs").read_bytes()
    assert not work.exists()


def test_errors_of_one_line(stream, folder, tmp_path):
    (tmp_path / "broken.obj").write_text("v 0 0 zero\nf 1 2 3\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.necgs").write_bytes(b"not a stream")
    (tmp_path / "short.necgs").write_bytes(b"NCG")
    out = ["-o", tmp_path / "x.necgs"]
    for arguments, error, message in (
        (["compress", tmp_path / "broken.obj", *out], BadMesh, "broken.obj"),
        (["compress", tmp_path / "nowhere.obj", *out], UsageError, "there is no"),
        (["compress", tmp_path / "empty", *out], UsageError, "holds no meshes"),
        (["compress", folder, "-k", 65, *out], UsageError, "k=65: possible are"),
        (["compress", folder, "--design", "x", *out], UsageError, "known: convolution, latent_mlp"),
        (["compress", folder, "--design", "latent_mlp[ssim=0]", *out], UsageError, "no parameter 'ssim'"),
        (["compress", folder, "--design", "latent_mlp[latent=999]", *out], UsageError, r"latent: 999 is not in"),
        (["compress", folder, "-o", tmp_path / "broken.obj" / "x", *FAST], BenchError, "cannot write"),
        (["decompress", tmp_path / "short.necgs", tmp_path / "out"], BitstreamError, "too short"),
        (["decompress", tmp_path / "no.necgs", tmp_path / "out"], BitstreamError, "not a stream of necgs"),
        (["decompress", tmp_path / "nowhere.necgs", tmp_path / "out"], UsageError, "cannot read"),
        (["decompress", stream, tmp_path / "out", "--only", 2], UsageError, "holds 2, from 0"),
        (["info", tmp_path / "no.necgs"], BitstreamError, "not a stream of necgs"),
    ):
        with pytest.raises(error, match=message):
            necgs(*arguments)
    assert not (tmp_path / "x.necgs").exists()


def test_main_turns_errors_into_a_line_and_a_code(tmp_path):
    code = "from gcbench.necgs.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "info", str(tmp_path / "no.necgs")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot read")
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_two_processes_of_torchrun_write_one_stream(folder, tmp_path):
    path = tmp_path / "set.necgs"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "-m",
        "gcbench.necgs",
    ]
    result = subprocess.run(
        [*command, "compress", str(folder), "-o", str(path), "--epochs", "5", *FAST],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert result.stdout.count("2 meshes") == 1, "one of them speaks"
    assert Reader(path.read_bytes()).mesh_count == 2
    assert not path.with_name("set.necgs.work").exists()


def test_a_full_disk_is_an_error_of_one_line(folder, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gcbench.training.checkpoints.save_file", full)
    with pytest.raises(BenchError, match=r"cannot write .*training.safetensors.*No space left"):
        necgs("compress", folder, "-o", tmp_path / "set.necgs", "--epochs", 2, *FAST)


@pytest.mark.slow
def test_every_command_knows_another_design(folder, tmp_path):
    """latent_mlp from files to files: compressed, described, added to, decoded whole and in part."""
    path, longer = tmp_path / "set.necgs", tmp_path / "longer.necgs"
    mlp = ["--design", "latent_mlp[latent=8]", "--epochs", 15]
    result = necgs("compress", folder, "-o", path, *mlp, *FAST[:3], 16, *FAST[4:])
    assert result.exit_code == 0, result.output
    out = necgs("info", path).output
    assert "latent_mlp: TSDF-Def volumes of 32³; perceptron of 8 layers, width 16" in out
    assert "7.bias" in out
    result = necgs("add", path, folder / "a.obj", "-o", longer, "--effort", "quick", "--steps", 20, "--threads", 1)
    assert result.exit_code == 0, result.output
    necgs("decompress", path, tmp_path / "old", "--threads", 1)
    necgs("decompress", longer, tmp_path / "new", "--threads", 1)
    necgs("decompress", longer, tmp_path / "one", "--only", 1, "--threads", 1)
    for name in ("0000.ply", "0001.ply"):
        assert (tmp_path / "old" / name).read_bytes() == (tmp_path / "new" / name).read_bytes()
    assert (tmp_path / "one" / "0001.ply").read_bytes() == (tmp_path / "new" / "0001.ply").read_bytes()
    sphere = trimesh.load_mesh(tmp_path / "new" / "0000.ply", process=False)
    np.testing.assert_allclose(sphere.bounds.mean(axis=0), (100, 0, -5), atol=3)  # where its file had it
