import io
import tarfile
from pathlib import PurePosixPath

import numpy as np
import pytest

from gcbench.datasets.unpack import BadArchive, unpacked
from gcbench.errors import DownloadFailed


@pytest.fixture
def tar():
    """Bytes of a tar with these members; a value that is a TarInfo is added as it is."""

    def make(members, mode="w"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            for name, content in members.items():
                info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
                data = b"" if isinstance(content, tarfile.TarInfo) else content
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    return make


def _is_obj(path: PurePosixPath) -> bool:
    return path.suffix == ".obj"


def _unpack(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with unpacked(tmp_path / "a.tar", tmp_path, _is_obj) as folder:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_wanted_files_also_from_archives_inside(tmp_path, tar):
    inner = tar({"meshes/b.obj": b"bb", "images/c.png": b"c"}, "w:gz")
    data = tar({"X/a.obj": b"a", "X/readme.txt": b"r", "X/meshes.tgz": inner}, "w:gz")
    assert _unpack(tmp_path, data) == {"X/a.obj": b"a", "X/meshes/b.obj": b"bb"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def _link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "member",
    [
        ("../evil.obj", b"x"),
        ("X/../../evil.obj", b"x"),
        ("l", _link("l", "/etc", tarfile.SYMTYPE)),
        ("l", _link("l", "../..", tarfile.SYMTYPE)),
        ("l", _link("l", "../../secret", tarfile.LNKTYPE)),
        ("d", _link("d", "", tarfile.CHRTYPE)),
    ],
)
def test_an_archive_that_reaches_outside_is_refused_whole(tmp_path, tar, member, inside):
    data = tar({"good.obj": b"g", member[0]: member[1]})
    data = tar({"X/inner.tar": data}) if inside else data
    (tmp_path / "box").mkdir()
    with pytest.raises(BadArchive, match=r"a\.tar is refused"):
        _unpack(tmp_path / "box", data)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["box", "box/a.tar"]


def test_an_absolute_path_lands_inside(tmp_path, tar):
    assert _unpack(tmp_path, tar({"/etc/evil.obj": b"x"})) == {"etc/evil.obj": b"x"}


@pytest.mark.parametrize("cut", [0, 1, 100, 2000])
def test_broken_archives(tmp_path, tar, cut):
    data = tar({f"{n}.obj": np.random.default_rng(n).bytes(1000) for n in range(9)}, "w:gz")[:cut]
    with pytest.raises(BadArchive, match="not a readable archive"):
        _unpack(tmp_path, data)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_no_room(tmp_path, tar, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 3}))
    with pytest.raises(DownloadFailed, match="disk is full") as caught:
        _unpack(tmp_path, tar({"a.obj": b"1234"}))
    assert not isinstance(caught.value, BadArchive)
