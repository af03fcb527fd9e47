import shutil
import subprocess

import pytest

from gcbench.datasets.checksums import file_sha256, read_checksums, record_checksums
from gcbench.errors import DownloadFailed


def test_written_entries_are_merged_and_read_back(tmp_path):
    assert read_checksums(tmp_path) == {}
    record_checksums(tmp_path, {"b/two words.obj": "2" * 64, "a.obj": "1" * 64})
    record_checksums(tmp_path, {"a.obj": "3" * 64})
    assert read_checksums(tmp_path) == {"a.obj": "3" * 64, "b/two words.obj": "2" * 64}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CHECKSUMS"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_understands_the_file(tmp_path):
    (tmp_path / "a b.obj").write_bytes(b"x" * 100_000)
    record_checksums(tmp_path, {"a b.obj": file_sha256(tmp_path / "a b.obj")})
    done = subprocess.run(["sha256sum", "-c", "CHECKSUMS"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "a b.obj: OK\n")


def test_a_damaged_file_is_not_trusted(tmp_path):
    (tmp_path / "CHECKSUMS").write_text("1" * 64 + "  a\n" + "xyz\n")
    with pytest.raises(DownloadFailed, match=r"line 2 of .*CHECKSUMS is not a checksum"):
        read_checksums(tmp_path)
