import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcbench.datasets.anime import AnimeFile
from gcbench.errors import BadMesh

FACES = np.array([[0, 1, 2], [0, 2, 3]])


def _frames(n):
    return np.random.default_rng(5).normal(size=(n, 4, 3)).astype(np.float32)


def test_frames_are_offsets_from_the_first_not_from_the_one_before(anime_bytes, tmp_path):
    header = struct.pack("<iii", 3, 3, 1)
    first = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    triangles = struct.pack("<3i", 2, 1, 0)
    offsets = struct.pack("<9f", *[10] * 9) + struct.pack("<9f", *[0.5] * 9)
    (tmp_path / "a.anime").write_bytes(header + first + triangles + offsets)
    anime = AnimeFile(tmp_path / "a.anime")
    base = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert (anime.n_frames, anime.n_vertices, anime.n_faces) == (3, 3, 1)
    for number, shift in enumerate([0, 10, 0.5]):
        frame = anime.frame(number)
        assert frame.vertices.tolist() == (base + shift).tolist()
        assert frame.faces.tolist() == [[2, 1, 0]]
        assert (frame.vertices.dtype, frame.faces.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_shares_add_up_to_the_file(anime_bytes, tmp_path, n):
    data = anime_bytes(_frames(n), FACES)
    (tmp_path / "a.anime").write_bytes(data)
    anime = AnimeFile(tmp_path / "a.anime")
    shares = [anime.frame(number).share_bytes for number in range(n)]
    assert sum(shares) == len(data)
    assert max(shares) - min(shares) <= 1


def test_hash_of_a_frame_depends_on_that_frame_only(anime_bytes, tmp_path):
    frames = _frames(3)
    (tmp_path / "a.anime").write_bytes(anime_bytes(frames, FACES))
    changed = frames.copy()
    changed[2] += 1
    (tmp_path / "b.anime").write_bytes(anime_bytes(changed, FACES))
    a, b = AnimeFile(tmp_path / "a.anime"), AnimeFile(tmp_path / "b.anime")
    same = [a.frame(k).sha256 == b.frame(k).sha256 for k in range(3)]
    assert same == [True, True, False]
    assert len({a.frame(k).sha256 for k in range(3)}) == 3


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes are too short"),
        (struct.pack("<3i", 1, 3, 1), "has 12 bytes, but its header declares 60"),
        (struct.pack("<3i", 2**31 - 1, 2**31 - 1, 2**31 - 1), "header declares"),
        (struct.pack("<3i", 0, 3, 1), "declares 0 frames"),
        (struct.pack("<3i", 2, -3, 1), "not an .anime file"),
    ],
)
def test_impossible_headers(tmp_path, data, says):
    (tmp_path / "a.anime").write_bytes(data)
    with pytest.raises(BadMesh, match=says):
        AnimeFile(tmp_path / "a.anime")


def test_check_reads_everything(anime_bytes, tmp_path):
    path = tmp_path / "a.anime"
    frames = _frames(3)
    path.write_bytes(anime_bytes(frames, FACES))
    AnimeFile(path).check()
    frames[1, 2, 0] = np.nan
    path.write_bytes(anime_bytes(frames, FACES))
    with pytest.raises(BadMesh, match="frame 1 has positions that are NaN"):
        AnimeFile(path).check()
    path.write_bytes(anime_bytes(_frames(2), FACES + 2))
    with pytest.raises(BadMesh, match="index outside the 4 vertices"):
        AnimeFile(path).check()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 200), piece=st.binary(max_size=6), cut=st.integers(0, 300))
def test_damaged_files_raise_nothing_but_bad_mesh(anime_bytes, tmp_path, at, piece, cut):
    data = bytearray(anime_bytes(_frames(3), FACES))
    data[at : at + len(piece)] = piece
    (tmp_path / "a.anime").write_bytes(bytes(data[:cut]))
    try:
        anime = AnimeFile(tmp_path / "a.anime")
        frame = anime.frame(anime.n_frames - 1)
    except BadMesh:
        return
    assert frame.vertices.shape == (anime.n_vertices, 3)
