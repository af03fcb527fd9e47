"""Finds, identifies and runs external programs; a run leaves no process and no file behind.

A program stays in the process group of its caller, because the engine kills this group when a worker exceeds its time
or memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import resource
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gcbench.codecs.base import Availability, Context
from gcbench.errors import BenchError, CodecFailed, CodecTimeout, CodecUnavailable

log = logging.getLogger(__name__)

_BANNER_LIMIT_S = 10.0
_KEPT_LOG_BYTES = 1 << 18  # the end of each of the two outputs; V-PCC prints 20 KiB for a frame
_TELLING = re.compile(r"error|fail|missing|cannot|can't|invalid|abort|terminate|exceed|what\(\)", re.IGNORECASE)
# People, schedulers and a kernel without memory send these signals; the program and its input are not the cause.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Program:
    """An external program: its name, how to recognise it, and where to get it.

    Parameters
    ----------
    name : str
        File name to look for on ``PATH``.
    variable : str
        Environment variable that precedes ``PATH``; its value is the program, or a folder if ``inside`` is set.
    banner : str
        Regular expression for the program's output without arguments; its first group is the version.
    minimum : tuple of int
        Oldest version that has the options used here.
    upstream : str
        Repository of the source.
    inside : str
        Path of the program in the folder that the variable names; empty if the variable names the program itself.
    on_path : bool
        Whether the program is looked for on ``PATH``; False for a name that any program may have.
    """

    name: str
    variable: str
    banner: str
    minimum: tuple[int, int]
    upstream: str
    inside: str = ""
    on_path: bool = True

    @property
    def remedy(self) -> str:
        """How to get the program, in one line."""
        what = "its folder" if self.inside else "the program"
        release = ".".join(map(str, self.minimum))
        return f"build release {release} of {self.upstream} and let {self.variable} name {what} (docs/mpeg.md)"

    def find(self) -> Installed:
        """Find the program that ``variable`` names, or else is on ``PATH``, and ask the program for its version.

        Raises
        ------
        CodecUnavailable
            There is no such program, it is another program, or it is too old.
        """
        named = os.environ.get(self.variable, "")
        wanted = str(Path(named) / self.inside) if named and self.inside else named or self.name
        # Workers change their directory, where a relative path would name another file or none.
        if named and not Path(named).expanduser().is_absolute():
            raise self._unavailable(f"{self.variable}={named} is not an absolute path")
        found = shutil.which(Path(wanted).expanduser()) if named or self.on_path else None
        if found is None:
            missing = f"{self.name} is not on PATH and {self.variable} is not set"
            if not self.on_path:
                missing = f"{self.variable} is not set"
            raise self._unavailable(f"{self.variable} names {wanted}, which is not a program" if named else missing)
        path = Path(found).absolute()
        facts = path.stat()
        return _identify(self, path, facts.st_mtime_ns, facts.st_size)

    def availability(self) -> Availability:
        """Whether the program can be found; never raises."""
        try:
            self.find()
        except CodecUnavailable as error:
            return Availability(ok=False, reason=error.reason, remedy=error.remedy)
        except OSError as error:
            return Availability(ok=False, reason=f"{self.name} cannot be read: {error}", remedy=self.remedy)
        return Availability(ok=True)

    def _unavailable(self, reason: str) -> CodecUnavailable:
        return CodecUnavailable(reason, self.remedy)


@dataclass(frozen=True)
class Bounds:
    """Limits of a program: a corrupt stream can make a decoder run for ever or allocate any amount of memory.

    Parameters
    ----------
    seconds : float
        Wall time.
    memory_bytes : int or None
        Address space; set only on Linux; elsewhere only the engine's limit holds.
    file_bytes : int or None
        Size of each file that the program writes; set only on Linux.
    """

    seconds: float = float("inf")
    memory_bytes: int | None = None
    file_bytes: int | None = None

    def impose(self, pid: int) -> None:
        """Make allocations of a process fail beyond ``memory_bytes``, and writing beyond ``file_bytes``."""
        if sys.platform == "linux":
            for kind, most in ((resource.RLIMIT_AS, self.memory_bytes), (resource.RLIMIT_FSIZE, self.file_bytes)):
                if most is not None:
                    with contextlib.suppress(OSError):  # the process has ended, or may not be limited
                        resource.prlimit(pid, kind, (most, most))


@dataclass(frozen=True)
class Installed:
    """A program that was found, with the version that it prints and the hash of its file."""

    name: str
    path: Path
    version: str
    sha256: str

    @property
    def identity(self) -> str:
        """Name, version and the first twelve digits of the hash; programs of equal identity write equal bytes."""
        return f"{self.name}-{self.version}-{self.sha256[:12]}"

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        ctx: Context,
        *,
        outputs: Sequence[str],
        failure: type[BenchError],
        bounds: Bounds | None = None,
    ) -> None:
        """Run the program with one thread and no input, until it ends or the call's deadline comes.

        If the program fails, its output is logged.

        Parameters
        ----------
        arguments : sequence of str
            Arguments of the command line; files are relative to ``folder``.
        folder : Path
            Working directory of the program.
        ctx : Context
            Gives the deadline.
        outputs : sequence of str
            Files in ``folder`` that the program must write and that must not be empty.
        failure : type
            Error to raise if the program fails: CodecFailed for an encoder; BitstreamError for a decoder, whose input
            is the stream.
        bounds : Bounds, optional
            Limits; a program that exceeds them is killed, which is a ``failure``.

        Raises
        ------
        CodecTimeout
            The deadline came; the program and all its descendants were killed.
        CodecFailed
            The program could not be started, or was killed from outside.
        """
        ctx.check_deadline()
        bounds = bounds or Bounds()
        begin = time.monotonic()
        try:
            process = subprocess.Popen(
                [str(self.path), *arguments],
                cwd=folder,
                env={**os.environ, **_ONE_THREAD, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise CodecFailed(f"{self.name} cannot be started: {error}") from error
        said = _Said()
        try:
            bounds.impose(process.pid)
            _listen(process, said, min(begin + bounds.seconds, time.monotonic() + ctx.seconds_left()))
        except TimeoutError:
            late = ctx.seconds_left() <= 0
            killed = f"{self.name} was killed {'at the deadline' if late else f'after {bounds.seconds:g} s'}"
            said.log(killed, arguments)
            raise (CodecTimeout if late else failure)(killed) from None
        finally:
            if process.poll() is None:
                _kill_with_descendants(process.pid)
            with process:
                pass  # closes the pipes and waits
        problem = _problem(process.returncode, folder, outputs)
        if problem is not None:
            said.log(f"{self.name} {problem}", arguments)
            words = said.telling_line()
            outside = process.returncode < 0 and -process.returncode in _FROM_OUTSIDE
            raise (CodecFailed if outside else failure)(f"{self.name} {problem}" + (f": {words}" if words else ""))


@contextlib.contextmanager
def work_folder(ctx: Context) -> Iterator[Path]:
    """Make a folder for the files of one run in the call's scratch folder, and remove the folder afterwards."""
    with tempfile.TemporaryDirectory(prefix="program-", dir=ctx.scratch, ignore_cleanup_errors=True) as folder:
        yield Path(folder).absolute()


@lru_cache(maxsize=32)
def _identify(program: Program, path: Path, _mtime_ns: int, _size: int) -> Installed:
    """Ask a program for its version and hash its file, once for each state of the file."""
    shown = f"{program.variable} names {path}, which" if os.environ.get(program.variable) else f"{path}"
    try:
        with tempfile.TemporaryDirectory(prefix="program-") as folder:
            said = subprocess.run(
                [str(path)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_BANNER_LIMIT_S,
                check=False,
            ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError) as error:
        raise CodecUnavailable(f"{shown} cannot be run: {error}", program.remedy) from error
    banner = re.search(program.banner, said)
    if banner is None:
        raise CodecUnavailable(f"{shown} does not say that it is {program.name}", program.remedy)
    version = banner.group(1)
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < program.minimum:
        oldest = ".".join(map(str, program.minimum))
        raise CodecUnavailable(f"{shown} is version {version}, not {oldest} or later", program.remedy)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Installed(program.name, path, version, sha256)


class _Said:
    """The last part of a program's stdout and stderr."""

    def __init__(self) -> None:
        self._tails = {"stdout": bytearray(), "stderr": bytearray()}

    def hear(self, output: str, chunk: bytes) -> None:
        tail = self._tails[output]
        tail += chunk
        if len(tail) > 2 * _KEPT_LOG_BYTES:
            del tail[:-_KEPT_LOG_BYTES]

    def text(self, output: str) -> str:
        return self._tails[output][-_KEPT_LOG_BYTES:].decode(errors="replace")

    def telling_line(self) -> str:
        """Return the last line that names a failure, else the last line of stderr (stdout ends with parameters)."""
        errors = [line.strip() for line in self.text("stderr").splitlines() if line.strip()]
        prints = [line.strip() for line in self.text("stdout").splitlines() if line.strip()]
        for line in (*reversed(errors), *reversed(prints)):
            if _TELLING.search(line) and not line.lower().startswith("warning"):
                return line[:200]
        return errors[-1][:200] if errors else ""

    def log(self, what: str, arguments: Sequence[str]) -> None:
        log.warning(
            "%s\narguments: %s\nstdout: %s\nstderr: %s",
            what,
            shlex.join(arguments),
            self.text("stdout"),
            self.text("stderr"),
        )


def _listen(process: subprocess.Popen[bytes], said: _Said, until: float) -> None:
    """Collect a program's output until the program ends; TimeoutError at ``until``, a ``time.monotonic()``.

    The pipes close as soon as the process ends, whereas ``wait`` with a timeout looks only every 50 ms.
    """
    with selectors.DefaultSelector() as selector:
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, name)
        while selector.get_map():
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = selector.select(min(left, 1.0))
            if not ready and process.poll() is not None:
                return  # the process has ended, but a descendant still holds the pipes
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if chunk:
                    said.hear(key.data, chunk)
                else:
                    selector.unregister(key.fileobj)
    try:
        process.wait(None if until == float("inf") else max(until - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def _problem(exit_code: int, folder: Path, outputs: Sequence[str]) -> str | None:
    if exit_code < 0:
        try:
            return f"died of {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"died of signal {-exit_code}"
    if exit_code > 0:
        return f"ended with exit code {exit_code}"
    for output in outputs:
        if not (folder / output).is_file():
            return f"wrote no {output}"
        if not (folder / output).stat().st_size:
            return f"wrote an empty {output}"
    return None


def _kill_with_descendants(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        process.suspend()  # a suspended process cannot start more children
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                one.kill()


TMC3 = Program(
    name="tmc3",
    variable="GCBENCH_TMC3",
    banner=r"MPEG PCC tmc3 version (\S+)",
    minimum=(23, 0),
    upstream="github.com/MPEGGroup/mpeg-pcc-tmc13",
)
_TMC2 = "github.com/MPEGGroup/mpeg-pcc-tmc2"
PCC_APP_ENCODER = Program(
    name="PccAppEncoder",
    variable="GCBENCH_TMC2",
    banner=r"PccAppEncoder v(\S+)",
    minimum=(24, 0),
    upstream=_TMC2,
    inside="bin/PccAppEncoder",
)
PCC_APP_DECODER = Program(
    name="PccAppDecoder",
    variable="GCBENCH_TMC2",
    banner=r"PccAppDecoder v(\S+)",
    minimum=(24, 0),
    upstream=_TMC2,
    inside="bin/PccAppDecoder",
)
_VMESH = "V-DMC's test model (mpeg-vmesh-tm)"
VMESH_ENCODER = Program(
    name="vmesh-encode",
    variable="GCBENCH_VMESH",
    banner=r"MPEG VMESH version (?:vmesh\+)?(\S+)",
    minimum=(14, 0),
    upstream=_VMESH,
    inside="bin/encode",
    on_path=False,
)
VMESH_DECODER = Program(
    name="vmesh-decode",
    variable="GCBENCH_VMESH",
    banner=r"MPEG VMESH version (?:vmesh\+)?(\S+)",
    minimum=(14, 0),
    upstream=_VMESH,
    inside="bin/decode",
    on_path=False,
)


def available(*programs: Program) -> Availability:
    """Whether all of these programs are installed; else what the first missing one needs."""
    answers = (program.availability() for program in programs)
    return next((answer for answer in answers if not answer.ok), Availability(ok=True))


def found(*programs: Program) -> dict[str, str]:
    """Version and SHA-256 of the installed ones of these programs, by name, for the provenance of a run."""
    here = {}
    for program in programs:
        with contextlib.suppress(CodecUnavailable, OSError):
            one = program.find()
            here[one.name] = f"{one.version} sha256:{one.sha256}"
    return here
