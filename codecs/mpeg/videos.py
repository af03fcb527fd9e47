"""The streams of several sequences in one: the numbers of frames and bytes of each, then the streams of the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gcbench.codecs.base import StreamLayout
from gcbench.entropy.container import Fields, Writer
from gcbench.errors import BitstreamError

MAX_FRAMES = (1 << 16) - 1
_LEAST_FRAME_BYTES = 8  # of a stream of V3C units; a frame has at least the heads of its units


@dataclass(frozen=True)
class Video:
    """The frames of one motion, or one mesh, as the program codes them."""

    frames: int
    stream: bytes


def pack(videos: Sequence[Video]) -> bytes:
    """Write videos: their number; frames and bytes of each but the last; frames of the last; their bytes."""
    writer = Writer().number(len(videos))
    for video in videos[:-1]:
        writer.number(video.frames, len(video.stream))
    writer.number(videos[-1].frames)
    return writer.raw(b"".join(video.stream for video in videos)).data()


def unpack(contents: bytes) -> list[Video]:
    """Read what :func:`pack` wrote.

    Raises
    ------
    BitstreamError
        Numbers of frames or bytes that cannot be.
    """
    fields = Fields(contents)
    count = fields.number("number of videos", 1, MAX_FRAMES)
    frames, sizes = [], []
    left = MAX_FRAMES
    for place in range(count):
        frames.append(fields.number("number of frames", 1, left))
        left -= frames[-1]
        if place < count - 1:
            sizes.append(fields.number("size of a video"))
    sizes.append(fields.left - sum(sizes))
    for number, size in zip(frames, sizes, strict=True):
        if size < _LEAST_FRAME_BYTES * number:
            raise BitstreamError(f"{number} frames are declared in {max(size, 0)} bytes")
    return [Video(number, fields.raw("video", size)) for number, size in zip(frames, sizes, strict=True)]


def layout(stream_bytes: int, videos: Sequence[Video]) -> StreamLayout:
    """The bytes of a video count in equal parts for its frames, which are predicted from each other.

    Other bytes of the stream are shared.
    """
    of_frames: list[int] = []
    for video in videos:
        part, more = divmod(len(video.stream), video.frames)
        of_frames += [part + (place < more) for place in range(video.frames)]
    return StreamLayout(stream_bytes - sum(of_frames), tuple(of_frames))
