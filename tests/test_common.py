"""The checks of ``common.py`` find what they are for."""

from __future__ import annotations

import common
import pytest
import trimesh

from gcbench.codecs.raw_zstd import RawZstd
from gcbench.entropy import blocks
from gcbench.entropy.container import Container
from gcbench.errors import BitstreamError


class Trusting(RawZstd):
    """Takes a stream for a good one where the real codec would refuse it."""

    takes = staticmethod(lambda stream: False)

    def decode(self, stream, ctx):
        try:
            return super().decode(stream, ctx)
        except BitstreamError:
            if self.takes(stream):
                return [common.torus()]
            raise


@pytest.fixture
def stream():
    return common.encoded("raw-zstd", [common.torus()])


def test_a_codec_that_keeps_everything_passes():
    common.check_damage("raw-zstd", common.check_round_trip("raw-zstd", distance=1e-6))


@pytest.mark.parametrize(
    ("takes", "why"),
    [
        (lambda stream, good: stream == good[:100], "cut after 100 bytes"),
        (lambda stream, good: stream == good + b"\0", "an extra byte"),
        (lambda stream, good: stream[:3] == good[:3] and stream[3] != good[3], "version"),
        (lambda stream, good: stream.startswith(b"DRC"), "draco/"),
    ],
)
def test_what_a_codec_takes_wrongly_is_found(monkeypatch, stream, takes, why):
    monkeypatch.setattr(common.CODECS, "create", lambda _: Trusting())
    monkeypatch.setattr(Trusting, "takes", staticmethod(lambda bad: len(bad) > 8 and takes(bad, stream)))
    with pytest.raises(pytest.fail.Exception, match=why):
        common.check_damage("raw-zstd", stream)


@pytest.mark.parametrize("bad", [ValueError("index"), MemoryError()])
def test_another_error_behind_a_right_checksum_is_found(monkeypatch, stream, bad):
    def decode(self, damaged, ctx):
        if len(damaged) == len(stream) and damaged[:4] == stream[:4] and damaged != stream:
            self.container.open(damaged)  # the checksum is right
            raise bad
        return RawZstd.decode(self, damaged, ctx)

    monkeypatch.setattr(common.CODECS, "create", lambda _: type("Bad", (RawZstd,), {"decode": decode})())
    with pytest.raises(type(bad)):
        common.check_damage("raw-zstd", stream)


def test_a_surface_that_is_too_far_is_found(monkeypatch):
    far = trimesh.creation.icosphere(1)
    monkeypatch.setattr(RawZstd, "decode", lambda *_: [far])
    with pytest.raises(AssertionError):
        common.check_round_trip("raw-zstd", distance=0.1)


def test_streams_are_taken_apart_and_put_together():
    plain = Container(b"TCP", 1, "test-common").pack(b"body")
    assert common._parts(plain) == (b"TCP", 1, b"body")
    of_set = blocks.pack(Container(b"TCP", 2, "test-common"), b"head", [b"one", b"", b"three"])
    assert common._parts(of_set) == (b"TCP", 2, b"head", b"one", b"", b"three")
    for stream in (plain, of_set):
        assert common._joined(*common._parts(stream)) == stream
        assert common._parts(stream[:-1] + b"?") is None


def test_golden_streams_are_compared_and_never_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(common, "STREAMS", tmp_path)
    with pytest.raises(AssertionError, match="there is no golden stream"):
        common.check_golden("raw-zstd")
    file = common.make_golden("raw-zstd", "torus", [common.torus()])
    common.check_golden("raw-zstd")
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        common.make_golden("raw-zstd", "torus", [trimesh.creation.box()])
    assert file.read_bytes() == before
    file.write_bytes(common.encoded("raw-zstd", [trimesh.creation.box()]))
    for distance in (0.0, 0.01):
        with pytest.raises(AssertionError):
            common.check_golden("raw-zstd", distance=distance)
