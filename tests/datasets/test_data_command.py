"""The commands of ``bench data``."""

import io
import json
import tarfile

import numpy as np
import pytest


@pytest.fixture
def data(tmp_path, bench):
    return lambda *args, code=0: bench("data", *args, "--data", tmp_path / "root", code=code)


def test_fetch_says_what_the_checksum_is_worth_then_verify(data, site, cube_obj):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("I_crane/meshes/mesh_0000.obj")
        info.size = len(cube_obj)
        archive.addfile(info, io.BytesIO(cube_obj))
    site.files["I_crane.tar"] = stream.getvalue()
    done = data("fetch", "ama", "--part", "crane", "--url-base", site.url)
    assert "no published checksum; trusted on first use, and recorded in CHECKSUMS" in done.stderr
    assert done.stdout == "next: bench data verify ama\n"
    done = data("fetch", "ama", "--part", "crane", "--url-base", site.url)
    assert "I_crane.tar: here already, 1 files" in done.stderr
    done = data("verify", "ama", "--format", "json")
    report = json.loads(done.stdout)
    assert (report["meshes"], report["matching"], report["exit_code"]) == (1, 1, 0)
    done = data("verify", "ama")
    assert "1 in 1 files; 1 files usable, 0 not" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["fetch", "ama", "--url-base", "http://127.0.0.1:9/x", "--part", "yoga"], 2, "no sequence 'yoga'"),
        (["fetch", "dt4d"], 2, "form"),
        (["fetch", "thingi10k", "--part", "crane"], 2, "--part chooses sequences of ama"),
        (["import", "ama", "."], 2, "bench data fetch ama"),
        (["import", "dt4d", "/no/such/folder"], 3, "no .anime file under"),
        (["verify", "nothing"], 2, "neither a dataset nor a folder"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(data, args, code, says):
    done = data(*args, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_import_and_verify_with_a_bad_file(data, tmp_path, anime_bytes, cube):
    animation = anime_bytes(np.stack([cube[0], cube[0] * 2]).astype(np.float32), cube[1])
    for name, content in {"bear_a": animation, "deer_b": animation[:-1]}.items():
        (tmp_path / "got" / name).mkdir(parents=True)
        (tmp_path / "got" / name / f"{name}.anime").write_bytes(content)
    done = data("import", "dt4d", tmp_path / "got", code=1)
    assert "deer_b.anime: has" in done.stderr
    assert "1 animations copied to" in done.stdout
    assert "1 bad; 2 frames in all" in done.stdout
    data("verify", "dt4d")
    data("verify", "thingi10k", code=3)
    placed = tmp_path / "root/dt4d/animals/bear_a/bear_a.anime"
    placed.write_bytes(animation[:-1])
    done = data("verify", "dt4d", code=1)
    assert "changed: dt4d/animals/bear_a/bear_a.anime" in done.stdout


@pytest.mark.parametrize("command", [[], ["fetch"], ["import"], ["verify"]])
def test_help_shows_examples(bench, command):
    done = bench("data", *command, "--help")
    assert f"bench data {' '.join(command)}".strip() in done.stdout.replace("Usage: bench data", "")
