import contextlib
import io
import tarfile
from pathlib import PurePosixPath

import numpy as np
import pytest

from gcbench.datasets import unpack
from gcbench.datasets.unpack import RESERVE_BYTES, BadArchive, unpacked
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
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": RESERVE_BYTES + 3}))
    with pytest.raises(DownloadFailed, match="disk is full") as caught:
        _unpack(tmp_path, tar({"a.obj": b"1234"}))
    assert not isinstance(caught.value, BadArchive)


def _named(name, size=1, **fields):
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _refused(tmp_path, data, message):
    with pytest.raises(BadArchive, match=message) as caught:
        _unpack(tmp_path, data)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("name", ["zeros.obj", "unwanted.bin"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_small_archive_of_zeros_is_refused_before_it_is_unpacked(tmp_path, tar, monkeypatch, name, inside):
    """200 MB of zeros in 200 kB of gzip; what is not wanted costs time to decompress, too."""
    written = []
    monkeypatch.setattr(unpack.shutil, "copyfileobj", lambda content, file, size: written.append(content.read(size)))
    data = tar({name: bytes(200 << 20)}, "w:gz")
    assert len(data) < 300_000
    _refused(tmp_path, tar({"X/inner.tgz": data}) if inside else data, "unpacks to more than 100 times its size")
    assert sum(map(len, written)) < 100_000


def test_meshes_that_shrink_well_unpack(tmp_path, tar):
    text = b"".join(b"v %d 0 0\n" % n for n in range(300_000))
    assert _unpack(tmp_path, tar({"a.obj": text}, "w:gz")) == {"a.obj": text}


def test_a_header_that_would_fill_the_memory(tmp_path, tar):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_named("a.obj", 0, pax_headers={"comment": "x" * (8 << 20)}))
    _refused(tmp_path, stream.getvalue(), "an enormous header")


def test_a_sparse_member_counts_as_large_as_it_is(tmp_path, tar):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        headers = {"GNU.sparse.size": str(1 << 50), "GNU.sparse.numblocks": "0", "GNU.sparse.name": "a.obj"}
        headers |= {"GNU.sparse.map": "", "GNU.sparse.realsize": str(1 << 50)}
        archive.addfile(_named("a.obj", 0, pax_headers=headers))
    with pytest.raises(DownloadFailed):
        _unpack(tmp_path, stream.getvalue())
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize(
    "names", [("a.obj", "a.obj"), ("a.obj", "a.obj/b.obj"), ("b/a.obj", "./b/a.obj"), ("a.obj/b.obj", "a.obj")]
)
def test_two_files_in_one_place(tmp_path, names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            archive.addfile(_named(name), io.BytesIO(b"x"))
    _refused(tmp_path, stream.getvalue(), "twice")


@pytest.mark.parametrize("name", ["a\udcff.obj", "a\n.obj", "a\x1b[2J.obj", "a\u202e.obj"])
def test_names_that_no_file_should_have(tmp_path, tar, name):
    _refused(tmp_path, tar({name: b"x"}), r"is refused: the name 'a.*\.obj' has characters")


@pytest.mark.parametrize("headers", [{"mtime": "nan"}, {"mtime": "1e999"}, {"size": "-1"}, {"path": "a\0.obj"}])
def test_fields_with_odd_values(tmp_path, headers):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_named("a.obj", pax_headers=headers), io.BytesIO(b"x"))
    with contextlib.suppress(BadArchive):
        assert set(_unpack(tmp_path, stream.getvalue())) <= {"a.obj"}


def test_headers_upon_headers(tmp_path):
    """Each pax header describes the next one; the reader calls itself for each."""
    local = tarfile.TarInfo.create_pax_global_header({"comment": "x"})
    with contextlib.suppress(BadArchive):
        assert _unpack(tmp_path, local * 5000 + bytes(1024)) == {}


def test_too_many_members(tmp_path, tar, monkeypatch):
    monkeypatch.setattr(unpack, "MEMBERS", 3)
    monkeypatch.setattr(unpack._Room, "members_left", 3)
    monkeypatch.setattr(unpack._Room.__init__, "__defaults__", (3,))
    _refused(tmp_path, tar({f"{n}.obj": b"" for n in range(4)}), "more than 3 members")


@pytest.mark.parametrize("mode", ["w:xz", "w:bz2"])
def test_other_kinds_of_archives_are_not_opened(tmp_path, tar, mode):
    """The header of xz may ask for gigabytes of memory."""
    _refused(tmp_path, tar({"a.obj": b"a"}, mode), "not a readable archive")
