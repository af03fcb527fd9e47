"""External programs: finding them, knowing which one was found, and running them so that nothing is left behind.

Knows nothing of what the programs code. A program stays in the process group of its caller, because that is what the
engine kills when a worker overruns its deadline or its memory.
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
_KEPT_LOG_BYTES = 1 << 18  # of each of the two outputs, the end; V-PCC prints 20 KiB for a frame
_TELLING = re.compile(r"error|fail|missing|cannot|can't|invalid|abort|terminate|exceed|what\(\)", re.IGNORECASE)
# Sent by people, schedulers and the kernel when it is short of memory: they say nothing of the program or its input.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Program:
    """An external program: what it is called, how it is told from others, and where to get it.

    Parameters
    ----------
    name : str
        File name, looked for on ``PATH``.
    variable : str
        Environment variable that goes before ``PATH``: the program, or with ``inside`` a folder that has it.
    banner : str
        Regular expression that what it prints without arguments matches; its first group is the version.
    minimum : tuple of int
        Oldest version whose options are those used here.
    upstream : str
        Where its source is.
    inside : str
        Where the program is in the folder that the variable names; empty if the variable names the program itself.
    """

    name: str
    variable: str
    banner: str
    minimum: tuple[int, int]
    upstream: str
    inside: str = ""

    @property
    def remedy(self) -> str:
        """How to get it, in one line."""
        what = "its folder" if self.inside else "the program"
        release = ".".join(map(str, self.minimum))
        return f"build release {release} of {self.upstream} and let {self.variable} name {what} (docs/mpeg.md)"

    def find(self) -> Installed:
        """Find the program that ``variable`` names, else that on ``PATH``, and ask it for its version.

        Raises
        ------
        CodecUnavailable
            There is none, it is another program, or it is too old.
        """
        named = os.environ.get(self.variable, "")
        wanted = str(Path(named) / self.inside) if named and self.inside else named or self.name
        # Workers change their directory: a relative path would be another file, or none, for them.
        if named and not Path(named).expanduser().is_absolute():
            raise self._unavailable(f"{self.variable}={named} is not an absolute path")
        found = shutil.which(Path(wanted).expanduser())
        if found is None:
            missing = f"{self.name} is not on PATH and {self.variable} is not set"
            raise self._unavailable(f"{self.variable} names {wanted}, which is not a program" if named else missing)
        path = Path(found).absolute()
        facts = path.stat()
        return _identify(self, path, facts.st_mtime_ns, facts.st_size)

    def availability(self) -> Availability:
        """Whether it can be found; never raises."""
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
    """What a program may take: a corrupt stream can make a decoder run for ever, or ask for any memory.

    Parameters
    ----------
    seconds : float
        Of wall time.
    memory_bytes : int or None
        Of address space; imposed where the system can (Linux), else the engine's limit remains.
    """

    seconds: float = float("inf")
    memory_bytes: int | None = None

    def impose_memory(self, pid: int) -> None:
        """Let allocations of a process fail beyond ``memory_bytes``."""
        if self.memory_bytes is not None and sys.platform == "linux":
            with contextlib.suppress(OSError):  # it has ended already, or we may not
                resource.prlimit(pid, resource.RLIMIT_AS, (self.memory_bytes, self.memory_bytes))


@dataclass(frozen=True)
class Installed:
    """A program that was found.

    Parameters
    ----------
    name : str
        Of the program.
    path : Path
        The file.
    version : str
        As it says itself.
    sha256 : str
        Of the file.
    """

    name: str
    path: Path
    version: str
    sha256: str

    @property
    def identity(self) -> str:
        """Name, version and the first twelve digits of the hash: what decides the bytes it writes."""
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
        """Run it in a folder, with one thread and no input, until it ends or the call's deadline comes.

        What it prints is logged if it does not do what it should.

        Parameters
        ----------
        arguments : sequence of str
            Of the command line; files are named relative to ``folder``.
        folder : Path
            Its working directory.
        ctx : Context
            Of the call, for the deadline.
        outputs : sequence of str
            Files in ``folder`` that must be there, and not empty, when it ends.
        failure : type
            What to raise if it does not do its work: CodecFailed for an encoder, BitstreamError for a decoder, whose
            input is the stream.
        bounds : Bounds, optional
            What it may take; over that it is killed, which is a ``failure``.

        Raises
        ------
        CodecTimeout
            The deadline came; the program and all that it started were killed.
        CodecFailed
            It could not be started, or somebody else killed it.
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
            bounds.impose_memory(process.pid)
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
    """Make a folder for the files of one run inside the call's scratch folder; it always goes away."""
    with tempfile.TemporaryDirectory(prefix="program-", dir=ctx.scratch, ignore_cleanup_errors=True) as folder:
        yield Path(folder).absolute()


@lru_cache(maxsize=32)
def _identify(program: Program, path: Path, _mtime_ns: int, _size: int) -> Installed:
    """Ask a program for its version and hash it: once for each state of the file."""
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
    """What a program prints: the end of each of its two outputs."""

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
        """Return the last line that speaks of a failure, else the last of stderr; not the parameters on stdout."""
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
    """Take what a program prints, until it ends; TimeoutError at ``until``, a ``time.monotonic()``.

    The pipes end with the process, at once; ``wait`` with a timeout would look only every 50 ms.
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
                return  # it has ended; something that it left behind holds its pipes
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
        process.suspend()  # so that it starts no other while we look
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


def found(*programs: Program) -> dict[str, str]:
    """Version and SHA-256 of those programs that are here, by name: for the provenance of a run."""
    here = {}
    for program in programs:
        with contextlib.suppress(CodecUnavailable, OSError):
            one = program.find()
            here[one.name] = f"{one.version} sha256:{one.sha256}"
    return here
