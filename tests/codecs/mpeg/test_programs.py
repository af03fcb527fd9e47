"""Finding and running programs, with stand-ins that fail in every way programs do."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time

import psutil
import pytest

from gcbench.codecs import CODECS, Context
from gcbench.codecs.mpeg import programs
from gcbench.codecs.mpeg.programs import PCC_APP_DECODER, PCC_APP_ENCODER, TMC3, Bounds, Program, work_folder
from gcbench.errors import BitstreamError, CodecFailed, CodecTimeout, CodecUnavailable

PROGRAMS = (TMC3, PCC_APP_ENCODER, PCC_APP_DECODER)
EXAMPLE = Program(
    name="example",
    variable="GCBENCH_EXAMPLE",
    banner=r"^Example coder (\S+)",
    minimum=(2, 1),
    upstream="example.org/coder",
)
WRITES = "Path(option('out')).write_text('done')"


@pytest.fixture
def example(stand_ins, monkeypatch):
    """Put a stand-in for the example program and return it, found."""

    def put(body: str = ""):
        monkeypatch.setenv(EXAMPLE.variable, str(stand_ins.put("example", body)))
        return EXAMPLE.find()

    return put


@pytest.fixture
def work(ctx):
    with work_folder(ctx) as folder:
        yield folder


def run(program, folder, ctx, *arguments, failure=CodecFailed, outputs=("out",), bounds=None):
    program.run(["--out=out", *arguments], folder, ctx, outputs=outputs, failure=failure, bounds=bounds)


# Finding


def test_named_by_its_variable(stand_ins, monkeypatch):
    path = stand_ins.put("example", banner="Example coder 2.1-rc3-gabcdef")
    monkeypatch.setenv("GCBENCH_EXAMPLE", str(path))
    found = EXAMPLE.find()
    assert (found.name, found.path, found.version) == ("example", path, "2.1-rc3-gabcdef")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.identity == f"example-2.1-rc3-gabcdef-{found.sha256[:12]}"
    assert EXAMPLE.availability().ok


def test_on_the_path_unless_the_variable_names_another(stand_ins, monkeypatch, tmp_path):
    path = stand_ins.put("example")
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("GCBENCH_EXAMPLE", raising=False)
    assert EXAMPLE.find().path == path
    other = stand_ins.put("example", banner="Example coder 3.0", path=tmp_path / "with a blank" / "other")
    monkeypatch.setenv("GCBENCH_EXAMPLE", str(other))
    assert EXAMPLE.find().path == other
    monkeypatch.setenv("GCBENCH_EXAMPLE", str(tmp_path / "nothing"))  # what somebody asked for is not replaced
    assert not EXAMPLE.availability().ok


def test_inside_the_folder_that_the_variable_names(stand_ins, monkeypatch):
    path = stand_ins.put("PccAppEncoder")
    monkeypatch.setenv("GCBENCH_TMC2", str(path.parent.parent))
    assert PCC_APP_ENCODER.find().path == path
    monkeypatch.setenv("GCBENCH_TMC2", str(path))
    assert "GCBENCH_TMC2 names" in PCC_APP_ENCODER.availability().reason


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: root / "missing", "which is not a program"),
        (lambda root: root, "which is not a program"),
        (lambda root: _file(root / "text", b"hello", 0o644), "which is not a program"),
        (lambda root: _file(root / "junk", b"\x7fELF junk", 0o755), "cannot be run"),
        (lambda root: _file(root / "true", b"#!/bin/sh\n", 0o755), "does not say that it is example"),
        (lambda root: _file(root / "old", b"#!/bin/sh\necho Example coder 2.0\n", 0o755), "is version 2.0, not 2.1"),
        (lambda root: _file(root / "odd", b"#!/bin/sh\necho Example coder x\n", 0o755), "is version x, not 2.1"),
        (lambda root: _file(root / "slow", b"#!/bin/sh\nexec sleep 60\n", 0o755), "timed out"),
    ],
)
def test_why_a_named_program_cannot_be_used(make, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_BANNER_LIMIT_S", 1.0)
    monkeypatch.setenv("GCBENCH_EXAMPLE", str(make(tmp_path)))
    found = EXAMPLE.availability()
    assert not found.ok
    assert reason in found.reason
    assert "GCBENCH_EXAMPLE names" in found.reason
    with pytest.raises(CodecUnavailable, match=r"example\.org/coder"):
        EXAMPLE.find()


def _file(path, contents, mode):
    path.write_bytes(contents)
    path.chmod(mode)
    return path


def test_a_relative_name_is_refused_since_workers_change_their_directory(stand_ins, monkeypatch):
    path = stand_ins.put("example")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("GCBENCH_EXAMPLE", "./example")
    assert EXAMPLE.availability().reason == "GCBENCH_EXAMPLE=./example is not an absolute path"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_what_is_missing_is_said_in_one_line_with_the_remedy(program, monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = program.availability()
    assert found.reason == f"{program.name} is not on PATH and {program.variable} is not set"
    assert "github.com/MPEGGroup/mpeg-pcc-tmc" in found.remedy
    assert program.variable in found.remedy
    assert "\n" not in found.reason + found.remedy
    assert programs.found(program) == {}


def test_versions_of_tmc3_as_its_builds_say_them(stand_ins, monkeypatch):
    for said, ok in [
        ("release-v23.0-rc2-0-ga3d15c5", True),
        ("unconfirmed-release-23.0-rc2", True),
        ("release-v24.1-0-g1", True),
        ("release-v22.0-0-g1", False),
    ]:
        path = stand_ins.put("tmc3", banner=f"MPEG PCC tmc3 version {said}", path=stand_ins.root / said / "tmc3")
        monkeypatch.setenv("GCBENCH_TMC3", str(path))
        assert TMC3.availability().ok is ok, said


def test_it_is_asked_once_and_again_when_the_file_changes(stand_ins, monkeypatch):
    monkeypatch.setenv("GCBENCH_EXAMPLE", str(stand_ins.put("example")))
    first = [EXAMPLE.find() for _ in range(5)][-1]
    assert stand_ins.calls.read_text().count("\n") == 1
    stand_ins.put("example", banner="Example coder 9.0")
    os.utime(first.path, ns=(1, 1))
    assert EXAMPLE.find().version == "9.0"


def test_provenance_names_what_is_here_without_its_path(stand_ins, monkeypatch):
    path = stand_ins.put("tmc3")
    monkeypatch.setenv("GCBENCH_TMC3", str(path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setenv("GCBENCH_TMC2", "/nowhere")
    here = {"tmc3": f"release-v23.0-rc2-0-ga3d15c5 sha256:{sha256}"}
    assert programs.found(*PROGRAMS) == here
    assert CODECS.create("gpcc-trisoup").programs() == CODECS.create("gpcc-octree[bits=11]").programs() == here
    assert CODECS.create("vpcc").programs() == CODECS.create("draco").programs() == {}


# Running


def test_a_good_run(example, work, ctx):
    run(example(WRITES), work, ctx)
    assert (work / "out").read_text() == "done"


def test_no_shell_no_input_one_thread_and_its_own_folder(example, work, ctx, stand_ins, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    program = example(
        "facts = [os.getcwd(), sys.stdin.read(), os.environ['OMP_NUM_THREADS'], os.environ['LC_ALL']]\n"
        "Path('out').write_text(json.dumps(facts))"
    )
    odd = ["--a=$(touch pwned)", "; touch pwned", "*", "", "ä b"]
    run(program, work, ctx, *odd)
    assert stand_ins.called() == [["--out=out", *odd]]
    assert json.loads((work / "out").read_text()) == [str(work.resolve()), "", "1", "C"]
    assert [path.name for path in work.iterdir()] == ["out"]


@pytest.mark.parametrize("failure", [CodecFailed, BitstreamError])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "sys.stderr.write('Warning: nothing\\nmissing coordinates!\\n'); print('p : 1'); sys.exit(255)",
            "example ended with exit code 255: missing coordinates!",
        ),
        ("print('Error: bad input!'); print('time: 0 s'); sys.exit(1)", "ended with exit code 1: Error: bad input!"),
        ("print('parameters'); sys.exit(1)", "example ended with exit code 1$"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "example died of SIGSEGV$"),
        ("os.kill(os.getpid(), signal.SIGABRT)", "example died of SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 3)", r"example died of (signal \d+|SIG\S+)"),
        ("pass", "example wrote no out$"),
        ("Path('out').mkdir()", "example wrote no out$"),
        ("Path('out').touch(); print('Error: disk')", "example wrote an empty out: Error: disk"),
    ],
)
def test_failures(body, message, failure, example, work, ctx):
    with pytest.raises(failure, match=message):
        run(example(body), work, ctx, failure=failure)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_kill_from_outside_is_not_the_streams_fault(name, example, work, ctx):
    program = example(f"os.kill(os.getpid(), signal.{name})")
    with pytest.raises(CodecFailed, match=f"example died of {name}"):
        run(program, work, ctx, failure=BitstreamError)


def test_every_output_is_looked_for(example, work, ctx):
    with pytest.raises(CodecFailed, match="wrote no other"):
        run(example(WRITES), work, ctx, outputs=["out", "other"])


def test_a_program_that_has_gone_cannot_be_started(example, work, ctx):
    program = example(WRITES)
    program.path.unlink()
    with pytest.raises(CodecFailed, match="example cannot be started"):
        run(program, work, ctx, failure=BitstreamError)


def test_the_log_of_a_failure_is_kept_and_that_of_a_success_is_not(example, work, ctx, caplog):
    says = "print('on stdout'); sys.stderr.write('on stderr')"
    with caplog.at_level(logging.WARNING, "gcbench"):
        run(example(f"{says}\n{WRITES}"), work, ctx)
        assert caplog.text == ""
        with pytest.raises(CodecFailed):
            run(example(f"{says}; sys.exit(3)"), work, ctx)
    for part in ("example ended with exit code 3", "--out=out", "on stdout", "on stderr"):
        assert part in caplog.text


def test_a_huge_log_is_read_and_only_its_end_is_kept(example, work, ctx, caplog):
    body = "for _ in range(400): sys.stdout.write('x' * 100000 + chr(10))\nprint('Error: last'); sys.exit(1)"
    with pytest.raises(CodecFailed, match="Error: last"):
        run(example(body), work, ctx)
    assert 1 << 17 < len(caplog.text) < 1 << 20
    assert [path.name for path in work.iterdir()] == []


def _alive(work, name="pid"):
    return psutil.pid_exists(int((work / name).read_text()))


HANGS = {
    "silent": "time.sleep(60)",
    "talking": "while True: print('still at it', flush=True); time.sleep(0.01)",
    "with its outputs closed": "os.close(1); os.close(2); time.sleep(60)",
    "deaf to SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
}


@pytest.mark.parametrize("body", list(HANGS.values()), ids=list(HANGS))
def test_killed_at_the_deadline(body, example, work, ctx, caplog):
    program = example(f"Path('pid').write_text(str(os.getpid())); print('began', flush=True)\n{body}")
    ctx.deadline = time.monotonic() + 0.7
    begin = time.monotonic()
    with pytest.raises(CodecTimeout, match="example was killed at the deadline"):
        run(program, work, ctx, failure=BitstreamError)
    assert 0.6 < time.monotonic() - begin < 3
    assert not _alive(work)
    assert "began" in caplog.text


def test_killed_when_it_takes_longer_than_it_may(example, work, ctx):
    program = example("time.sleep(60)")
    with pytest.raises(BitstreamError, match=r"example was killed after 0\.5 s"):
        run(program, work, ctx, failure=BitstreamError, bounds=Bounds(seconds=0.5))


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of memory are Linux's")
def test_memory_runs_out_at_the_bound(example, work, ctx):
    program = example(f"time.sleep(0.2)\ntaken = bytearray(1 << 30)\n{WRITES}")
    run(program, work, ctx, bounds=Bounds(memory_bytes=4 << 30))
    with pytest.raises(BitstreamError, match="MemoryError"):
        run(program, work, ctx, failure=BitstreamError, bounds=Bounds(memory_bytes=1 << 30))


CHILD = "child = subprocess.Popen(['sleep', '60']); Path('child').write_text(str(child.pid))\n"


def test_killed_with_what_it_started(example, work, ctx):
    program = example(f"{CHILD}child.wait()")
    ctx.deadline = time.monotonic() + 0.7
    with pytest.raises(CodecTimeout):
        run(program, work, ctx)
    _soon(lambda: not _alive(work, "child") or psutil.Process(int((work / "child").read_text())).status() == "zombie")


def test_what_it_leaves_behind_does_not_hold_us_up(example, work, ctx):
    begin = time.monotonic()
    run(example(f"{CHILD}{WRITES}"), work, ctx)
    assert time.monotonic() - begin < 5
    psutil.Process(int((work / "child").read_text())).kill()


def test_it_is_in_our_process_group_which_the_engine_kills(example, work, ctx):
    run(example("Path('out').write_text(str(os.getpgid(0)))"), work, ctx)
    assert int((work / "out").read_text()) == os.getpgid(0)


def test_nothing_starts_after_the_deadline(example, work, ctx, stand_ins):
    program = example(WRITES)
    ctx.deadline = time.monotonic() - 1
    with pytest.raises(CodecTimeout):
        run(program, work, ctx)
    assert stand_ins.called() == []


def test_killed_when_we_are_interrupted(example, work, ctx, monkeypatch):
    program = example("Path('pid').write_text(str(os.getpid())); print('x', flush=True); time.sleep(60)")

    def interrupted(*_):
        _soon((work / "pid").exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "_listen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(program, work, ctx)
    assert not _alive(work)


def _soon(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_work_folder_always_goes_away(tmp_path):
    ctx = Context(scratch=tmp_path / "scratch")
    ctx.scratch.mkdir()

    def work(fail: bool) -> None:
        with work_folder(ctx) as folder:
            assert folder.is_absolute()
            assert folder.parent == ctx.scratch
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("x")
            if fail:
                raise CodecFailed

    work(fail=False)
    with pytest.raises(CodecFailed):
        work(fail=True)
    assert list(ctx.scratch.iterdir()) == []


def test_programs_have_names_of_their_own():
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert all(isinstance(program, Program) for program in PROGRAMS)
