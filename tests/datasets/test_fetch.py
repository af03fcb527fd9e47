import hashlib
import io
import shutil
import tarfile

import pytest

from gcbench.datasets import lists
from gcbench.datasets.ama import OFFICIAL_NAMES, Ama
from gcbench.datasets.checksums import read_checksums
from gcbench.datasets.fetch import fetch
from gcbench.datasets.lists import OfficialList
from gcbench.datasets.thingi10k import Thingi10k
from gcbench.datasets.verify import verify
from gcbench.errors import DownloadFailed, UsageError


def _tar(members, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _sequence(official, obj):
    """A tar as the official ones are described: inner .tgz files that unpack in place."""
    meshes = _tar({"meshes/mesh_0000.obj": obj, "meshes/mesh_0001.obj": obj + b"# 1\n"}, "w:gz")
    images = _tar({"images/Image1_0000.png": b"png"}, "w:gz")
    return _tar({f"{official}/meshes.tgz": meshes, f"{official}/images.tgz": images, f"{official}/README": b"r"})


@pytest.fixture
def go(site, tmp_path):
    """Fetch from the test server into tmp_path/root."""

    def call(name, **kwargs):
        return list(fetch(name, tmp_path / "root", url_base=site.url, pause_s=0, **kwargs))

    return call


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def _tree(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_ama_sequence_from_tar_to_dataset(go, site, root, cube_obj):
    site.files["I_crane.tar"] = _sequence("I_crane", cube_obj)
    site.break_after = [3000]
    (crane,) = go("ama", parts=["crane"])
    sha256 = hashlib.sha256(site.files["I_crane.tar"]).hexdigest()
    assert (crane.file, crane.sha256, crane.trust, crane.files) == ("I_crane.tar", sha256, "first use", 2)
    assert _tree(root) == ["CHECKSUMS", "ama/I_crane/meshes/mesh_0000.obj", "ama/I_crane/meshes/mesh_0001.obj"]
    assert read_checksums(root) == {
        "ama/I_crane/meshes/mesh_0000.obj": hashlib.sha256(cube_obj).hexdigest(),
        "ama/I_crane/meshes/mesh_0001.obj": hashlib.sha256(cube_obj + b"# 1\n").hexdigest(),
        "downloads/I_crane.tar": sha256,
    }
    assert [s.mesh for s in Ama().select("all", root).sources] == ["crane/mesh_0000", "crane/mesh_0001"]
    report = verify(Ama(), root)
    assert (report.matching, report.exit_code) == (2, 0)


def test_what_is_here_is_not_fetched_again_unless_forced(go, site, root, cube_obj):
    site.files["I_crane.tar"] = _sequence("I_crane", cube_obj)
    go("ama", parts=["crane"])
    asked = len(site.asked)
    (again,) = go("ama", parts=["crane"])
    assert (again.trust, again.files, len(site.asked)) == (None, 2, asked)
    (forced,) = go("ama", parts=["crane"], force=True)
    assert (forced.trust, len(site.asked)) == ("recorded", asked + 1)
    assert len(_tree(root)) == 3
    site.files["I_crane.tar"] = _sequence("I_crane", cube_obj + b"# changed\n")
    with pytest.raises(DownloadFailed, match="not the expected file"):
        go("ama", parts=["crane"], force=True)
    assert (root / "ama/I_crane/meshes/mesh_0000.obj").read_bytes() == cube_obj


def test_a_failure_keeps_the_sequences_before_it(go, site, root, cube_obj):
    for official in ("D_bouncing", "I_crane"):
        site.files[f"{official}.tar"] = _sequence(official, cube_obj)
    finished = []
    with pytest.raises(DownloadFailed, match=r"D_handstand\.tar: the server answers 404"):
        finished.extend(go("ama"))
    assert sorted(p.name for p in (root / "ama").iterdir()) == ["D_bouncing", "I_crane"]
    for official in set(OFFICIAL_NAMES.values()):
        site.files[f"{official}.tar"] = _sequence(official, cube_obj)
    assert [item.trust for item in go("ama")] == [None, None] + ["first use"] * 8


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>moved</html>", "not a readable archive"),
        (_tar({"I_crane/README": b"r"}), "holds no mesh_NNNN"),
        (_tar({"../../evil/mesh_0000.obj": b"v"}), "is refused"),
    ],
)
def test_a_bad_archive_leaves_nothing_behind_and_is_not_trusted_later(go, site, root, cube_obj, content, says):
    site.files["I_crane.tar"] = content
    with pytest.raises(DownloadFailed, match=says):
        go("ama", parts=["crane"])
    assert _tree(root) == []
    site.files["I_crane.tar"] = _sequence("I_crane", cube_obj)
    (crane,) = go("ama", parts=["crane"])
    assert crane.trust == "first use"


def test_a_full_disk_while_unpacking_keeps_the_archive(go, site, root, cube_obj, monkeypatch):
    site.files["I_crane.tar"] = _sequence("I_crane", cube_obj)
    with monkeypatch.context() as patch:
        patch.setattr("gcbench.datasets.download._Resuming._require_room", lambda self, needed: None)
        patch.setattr(shutil, "disk_usage", lambda path: type("usage", (), {"free": 3}))
        with pytest.raises(DownloadFailed, match="disk is full while unpacking"):
            go("ama", parts=["crane"])
    assert _tree(root) == ["downloads/I_crane.tar"]
    asked = len(site.asked)
    go("ama", parts=["crane"])
    assert len(site.asked) == asked
    assert len(Ama().select("all", root).sources) == 2


def test_thingi10k(go, site, root, cube_obj):
    site.files["Thingi10K.tar.gz"] = _tar(
        {
            "Thingi10K/raw_meshes/32.obj": cube_obj,
            "Thingi10K/raw_meshes/._32.obj": b"resource fork",
            "Thingi10K/raw_meshes/9.stl": b"x",
            "Thingi10K/metadata/input_summary.csv": b"id\n",
            "Thingi10K/images/32.png": b"png",
        },
        "w:gz",
    )
    (fetched,) = go("thingi10k")
    assert (fetched.trust, fetched.files) == ("first use", 3)
    assert [s.mesh for s in Thingi10k().select("all", root).sources] == ["9", "32"]
    assert (root / "Thingi10K/metadata/input_summary.csv").is_file()
    assert "Thingi10K/raw_meshes/._32.obj" not in _tree(root)
    assert go("thingi10k")[0].trust is None


def test_lists_have_published_checksums(go, site, root, monkeypatch):
    texts = {"ama": b"crane,mesh_0000.obj\n", "dt4d": b"bear_a 0000.obj\n", "thingi10k": b"32.obj\n"}
    for name, text in texts.items():
        spec = OfficialList(lists.LISTS[name].file, hashlib.sha256(text).hexdigest(), 1)
        monkeypatch.setitem(lists.LISTS, name, spec)
        site.files[spec.file] = text
    site.files["DT4D.txt"] = b"another list\n"
    with pytest.raises(DownloadFailed, match=r"DT4D\.txt is not the expected file"):
        go("lists")
    site.files["DT4D.txt"] = texts["dt4d"]
    assert {item.trust for item in go("lists")} == {"published"}
    assert (root / "official_lists/DT4D.txt").read_bytes() == texts["dt4d"]
    assert len(Ama().select("paper", root).missing) == 1


@pytest.mark.parametrize(
    ("name", "parts", "says"),
    [
        ("dt4d", (), "form"),
        ("mixed", (), "bench data fetch ama thingi10k lists"),
        ("amaa", (), "there are: ama, thingi10k, lists"),
        ("ama", ("yoga",), "no sequence 'yoga'; it has: bouncing"),
        ("lists", ("crane",), "has no parts"),
    ],
)
def test_what_cannot_be_fetched(go, name, parts, says):
    with pytest.raises(UsageError, match=says):
        go(name, parts=parts)


def test_a_root_that_cannot_be_made(go, root):
    root.write_text("a file")
    with pytest.raises(DownloadFailed, match="cannot make the data root"):
        go("ama")
