"""A pack: the results of a run in one small folder, without its streams, to be kept in a repository.

    PACK/gcbench-pack.json   says that the folder is a pack; its counts, its codecs, what did not run and why
    PACK/records.json.zst    the content, see :mod:`gcbench.bench.store.pack_columns`

To read a pack without gcbench: ``json.loads(zstandard.decompress(data))``. `bench submit` makes a pack. Commands that
read a run read a pack, too. A pack may come from a stranger: both files are bounded and checked, links are not
followed, and a line with an impossible value is left out with a warning, as in a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from gcbench import __version__
from gcbench.bench.store import pack_columns, safe_files
from gcbench.bench.store.fields import LINE_BYTES, Kind, Named, Sha256, Text, Whole, read_line, require_shallow
from gcbench.bench.store.pack_columns import Content
from gcbench.bench.store.results import Results
from gcbench.errors import StoreError

#: Raised when a pack gets a meaning that older readers would get wrong. New fields are no reason.
FORMAT = 1
CONTENT = "records.json.zst"
_MARKER_BYTES = 4 << 20
_CONTENT_BYTES = LINE_BYTES  # of the JSON text
_REASONS = Named(Text(10_000, 1), 10_000, Text(1000, 1))
_ARCHIVE: Mapping[str, Kind] = {"file": Text(), "sha256": Sha256(), "bytes": Whole(), "url": Text(2000)}
_LINES = {
    "codings.jsonl": pack_columns.coding_lines,
    "measurements.jsonl": pack_columns.measurement_lines,
    "sessions.jsonl": pack_columns.session_lines,
}


def is_pack(path: Path) -> bool:
    """Whether a folder is a pack."""
    return safe_files.is_file(path / safe_files.PACK_MARKER)


@dataclass(frozen=True)
class Archive:
    """Where the streams of a pack are: a file beside the pack, and perhaps an address where the file can be had."""

    file: str
    sha256: str
    bytes: int
    url: str = ""


class Streams(Protocol):
    """Where streams can be read: a run, or :class:`gcbench.bench.store.archive.StreamArchive`."""

    def stream(self, sha256: str, size: int | None = None) -> bytes:
        """See :meth:`Results.stream`."""


@dataclass
class Pack(Results):
    """The results of a run without its streams, for reading only; ``streams`` says where to read streams, if known."""

    streams: Streams | None = field(default=None, repr=False, compare=False)

    @property
    def exists(self) -> bool:
        """See :class:`Results`."""
        return is_pack(self.path)

    def require_known_format(self) -> None:
        """See :class:`Results`."""
        try:
            made, by = Whole().take(self.marker.get("format", FORMAT)), Text().take(self.marker.get("gcbench", "?"))
        except ValueError as error:
            raise self._trouble(safe_files.PACK_MARKER, error) from None
        if made > FORMAT:
            raise StoreError(
                f"{self.path} was written by gcbench {by} in format {made}, and this is gcbench {__version__}, which "
                f"knows format {FORMAT} of packs: update gcbench"
            )

    @cached_property
    def marker(self) -> Mapping[str, Any]:
        """What ``gcbench-pack.json`` says. Raises StoreError if it cannot be read."""
        try:
            found = read_line(safe_files.read_file(self.path / safe_files.PACK_MARKER, _MARKER_BYTES))
            return _object(found)
        except (FileNotFoundError, ValueError) as error:
            raise self._trouble(safe_files.PACK_MARKER, error) from None

    @property
    def not_run(self) -> Mapping[str, str]:
        """See :class:`Results`. Raises StoreError."""
        try:
            return _REASONS.take(self.marker.get("not_run", {}))
        except ValueError as error:
            raise self._trouble(f"{safe_files.PACK_MARKER}: 'not_run'", error) from None

    @property
    def archive(self) -> Archive | None:
        """The archive of streams that was made with the pack; None if the pack does not say. Raises StoreError."""
        if (found := self.marker.get("streams")) is None:
            return None
        try:
            facts = _object(found)
            return Archive(**{name: kind.take(facts.get(name, "")) for name, kind in _ARCHIVE.items()})
        except ValueError as error:
            raise self._trouble(f"{safe_files.PACK_MARKER}: 'streams'", error) from None

    def lines(self, name: str) -> Iterator[bytes]:
        """See :class:`Results`. Raises StoreError."""
        self.require_known_format()
        try:
            yield from _LINES[name](self._content)
        except ValueError as error:
            raise self._trouble(CONTENT, error) from None

    @property
    def keyed(self) -> bool:
        """A pack has no keys."""
        return False

    def stream(self, sha256: str, size: int | None = None) -> bytes:
        """See :class:`Results`; a pack alone has no streams. Raises StoreError or BitstreamError."""
        if self.streams is not None:
            return self.streams.stream(sha256, size)
        raise StoreError(f"no stream {sha256[:12]} in {self.path}: a pack has no streams")

    @cached_property
    def _content(self) -> Content:
        import zstandard

        path = self.path / CONTENT
        try:
            packed = safe_files.read_file(path, _CONTENT_BYTES)
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed) as reader:
                text = reader.read(_CONTENT_BYTES + 1)
            content = _object(read_line(text))
        except (FileNotFoundError, ValueError, zstandard.ZstdError) as error:
            raise self._trouble(CONTENT, error) from None
        if self.marker.get("content_sha256", found := hashlib.sha256(packed).hexdigest()) != found:
            raise self._trouble(CONTENT, ValueError("it was changed after it was written"))
        return content

    def _trouble(self, what: str, error: Exception) -> StoreError:
        why = "it is missing" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        return StoreError(f"cannot read the pack {self.path}: {what}: {why}")


def _object(value: Any) -> dict[str, Any]:
    """A JSON object that is not nested deeply. Raises ValueError."""
    require_shallow(value)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def write(
    folder: Path, content: Content, facts: Mapping[str, Any], *, not_run: Mapping[str, str], archive: Archive | None
) -> int:
    """Write a pack; equal content gives equal bytes. Returns the size of both files in bytes.

    Parameters
    ----------
    folder : Path
        Made if it does not exist; a pack that is there is replaced.
    content : mapping
        From :func:`gcbench.bench.store.pack_columns.content_of`.
    facts : mapping
        What the marker says for people, such as counts.
    not_run : mapping
        Codec → why it did not run.
    archive : Archive, optional
        Where the streams are.

    Raises
    ------
    StoreError
        The folder cannot be written, or holds a run or other files.
    """
    import zstandard

    safe_files.require_folder_or_link(folder)
    if folder.is_dir() and not is_pack(folder) and (others := sorted(path.name for path in folder.iterdir())):
        raise StoreError(f"{folder} is no pack: it holds {others[0]!r}; name a new or an empty folder")
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > _CONTENT_BYTES:
        raise StoreError(f"a pack holds at most {_CONTENT_BYTES >> 20} MiB of JSON, this one {len(text) >> 20} MiB")
    packed = zstandard.ZstdCompressor(level=19).compress(text)
    marker = {"format": FORMAT, "gcbench": __version__, **facts}
    marker |= {"content_sha256": hashlib.sha256(packed).hexdigest(), "not_run": dict(sorted(not_run.items()))}
    if archive is not None:
        marker["streams"] = {name: value for name, value in vars(archive).items() if value != ""}
    said = json.dumps(marker, indent=1, ensure_ascii=False).encode() + b"\n"
    safe_files.write_file(folder / CONTENT, packed)
    safe_files.write_file(folder / safe_files.PACK_MARKER, said)
    return len(packed) + len(said)
