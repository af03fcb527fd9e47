import errno
import hashlib
import shutil
import socket
from collections import namedtuple

import numpy as np
import pytest

from gcbench.datasets.download import download
from gcbench.errors import DownloadFailed

DATA = np.random.default_rng(3).bytes(1_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def get(site, tmp_path):
    """Download /big from the test server, without pauses."""
    site.files["big"] = DATA

    def call(sha256=SHA256, **kwargs):
        return download(f"{site.url}/big", tmp_path / "to" / "big", sha256, pause_s=0, **kwargs)

    return call


def _left(tmp_path):
    return sorted(p.name for p in (tmp_path / "to").iterdir())


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_server_that_serves_well(get, site, tmp_path, sha256):
    seen = []
    path = get(sha256, progress=lambda file, done, total: seen.append((file, done, total)))
    assert path.read_bytes() == DATA
    assert seen[-1] == ("big", 1_000_000, 1_000_000)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert _left(tmp_path) == ["big"]
    get()
    assert len(site.asked) == 1  # it is here: nothing is asked again


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(get, site, tmp_path):
    site.break_after = [300_000, 0, 200_000]
    seen = []
    assert get(progress=lambda _f, done, _t: seen.append(done)).read_bytes() == DATA
    ranges = [asked for _, asked in site.asked]
    assert ranges[0] is None
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in ranges[1:]]
    assert len(starts) == 3
    assert 0 < starts[0] == starts[1] < starts[2] <= 500_000
    assert site.ranges_served == 3
    assert _left(tmp_path) == ["big"]


def test_a_later_call_goes_on_from_the_part(get, site, tmp_path):
    site.break_after = [400_000] + [0] * 5
    with pytest.raises(DownloadFailed, match=r"gave up after 5 attempts that brought nothing\. \d+ bytes are kept"):
        get()
    kept = (tmp_path / "to" / "big.part").stat().st_size
    assert 0 < kept <= 400_000
    assert DATA.startswith((tmp_path / "to" / "big.part").read_bytes())
    assert get().read_bytes() == DATA
    assert site.asked[-1][1] == f"bytes={kept}-"
    assert _left(tmp_path) == ["big"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(get, site, tmp_path):
    site.honours_ranges = False
    site.break_after = [300_000]
    assert get().read_bytes() == DATA
    assert site.asked[-1][1] is not None
    assert site.ranges_served == 0


def test_another_version_on_the_server_is_not_glued_to_the_old_part(get, site, tmp_path):
    site.break_after = [400_000] + [0] * 5
    with pytest.raises(DownloadFailed):
        get(None)
    site.files["big"], site.etag = DATA[::-1], '"v2"'
    assert get(None).read_bytes() == DATA[::-1]
    assert site.ranges_served == 5  # those of the first call, that brought nothing


def test_without_an_etag_a_part_of_another_file_does_not_pass_the_checksum(get, site, tmp_path):
    site.etag = ""
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "big.part").write_bytes(b"\0" * 1000)
    with pytest.raises(DownloadFailed, match="not the expected file"):
        get()
    assert _left(tmp_path) == []
    assert get().read_bytes() == DATA


def test_a_wrong_file_is_named_by_both_hashes_and_deleted(get, site, tmp_path):
    site.files["big"] = b"something else"
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(DownloadFailed, match=f"SHA-256 {found}, expected {SHA256}; it was deleted"):
        get()
    assert _left(tmp_path) == []


def test_a_part_that_is_already_the_whole_file(get, site, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "big.part").write_bytes(DATA)
    assert get().read_bytes() == DATA
    assert site.asked == [("/big", "bytes=1000000-")]


def test_a_part_longer_than_the_file_is_thrown_away(get, site, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "big.part").write_bytes(DATA + b"x")
    assert get().read_bytes() == DATA


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(get, site, tmp_path, status):
    site.statuses = [status]
    with pytest.raises(DownloadFailed, match=rf"/big: the server answers {status}"):
        get()
    assert len(site.asked) == 1
    assert _left(tmp_path) == []


def test_a_server_in_trouble_is_asked_again(get, site):
    site.statuses = [503, 500, 429]
    assert get().read_bytes() == DATA
    assert len(site.asked) == 4


def test_nobody_there_and_no_address(tmp_path):
    with pytest.raises(DownloadFailed, match="the connection broke off"):
        download("http://127.0.0.1:9/x", tmp_path / "x", None, pause_s=0)
    with pytest.raises(DownloadFailed, match="not a usable address"):
        download("nonsense", tmp_path / "x", None, pause_s=0)


def test_no_room_is_said_before_anything_is_written(get, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 10, 10))
    with pytest.raises(DownloadFailed, match=r"disk is full while writing .*resumes.*--data"):
        get()


def test_a_disk_that_fills_up_on_the_way_keeps_the_part(get, site, tmp_path, monkeypatch):
    def full(file, done, total):
        if done > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DownloadFailed, match="disk is full"):
        get(progress=full)
    assert (tmp_path / "to" / "big.part").stat().st_size > 500_000
    assert get().read_bytes() == DATA
    assert site.ranges_served == 1


def test_a_folder_that_cannot_be_written(get, tmp_path):
    (tmp_path / "to").write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match="cannot write"):
        get()


@pytest.mark.parametrize("said", [True, False])
def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(get, site, tmp_path, said, monkeypatch):
    """A server may say the size, or send bytes for ever."""
    if not said:
        monkeypatch.setattr("gcbench.datasets.download._content_range", lambda response: (None, None))
        monkeypatch.setattr("requests.models.CaseInsensitiveDict.get", _without_length, raising=False)
    with pytest.raises(DownloadFailed, match="has more than 100000 bytes, the most that this file may have"):
        get(most_bytes=100_000)
    assert _left(tmp_path) == []
    assert get(most_bytes=1_000_000).read_bytes() == DATA


def _without_length(headers, name, default=None):
    return default if name == "Content-Length" else dict.get(dict(headers.items()), name, default)


def test_no_network(tmp_path):
    """Nothing listens at the port: the error asks about the network, and promises no bytes that are not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadFailed, match=r"gave up after 5 attempts .* on the network, and does HTTPS_PROXY"):
        download(f"http://127.0.0.1:{port}/a.obj", tmp_path / "a.obj", None, pause_s=0)
