"""What goes through the pipe between a process and its worker: large, odd, broken and interrupted."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import threading
import time
from datetime import UTC, datetime
from operator import neg
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from processes import code, wait_until_gone

from gcbench.bench.run.process import (
    BrokenAnswer,
    CallFailed,
    CallLimits,
    DeadlineExceeded,
    MemoryExceeded,
    Worker,
    WorkerDied,
    WorkerError,
)
from gcbench.errors import StoreError

FD = """
import os, socket, stat, threading, time
def is_pipe(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
fds = [fd for fd in range(3, 64) if is_pipe(fd)]
"""
TALKS = """
import logging, threading, time
from gcbench.bench.run import worker
log = logging.getLogger("gcbench.progress")
for handler in log.handlers:
    type(handler).emit.__globals__["PROGRESS_PERIOD_S"] = 0
def talk():
    end = time.monotonic() + 5
    while time.monotonic() < end:
        log.warning("still at it")
threading.Thread(target=talk, daemon=True).start()
answer = bytes(60 << 20)
"""


def test_progress_of_a_thread_does_not_get_into_a_large_answer(worker):
    for _ in range(2):
        assert worker.call(eval, code(TALKS), CallLimits(deadline_s=60))[0] == bytes(60 << 20)


@pytest.mark.parametrize(
    "text",
    [
        FD + "[os.write(fd, b'hello, world') for fd in fds]",
        FD + "[os.write(fd, b'gc') for fd in fds]",  # begins like a message
        FD + "[os.write(fd, b'gcb1' + bytes(17)) for fd in fds]",  # a call, from the worker
        FD + "[os.write(fd, b'gcb1' + bytes([9]) + bytes(16)) for fd in fds]",
        FD + "[os.write(fd, b'gcb1' + bytes([2]) + bytes(4) + b'\\xff' * 12) for fd in fds]",  # 2^64 bytes
        FD + "[os.write(fd, b'gcb1' + bytes([2]) + bytes(11) + b'\\x04' + bytes(4) + b'abcd') for fd in fds]",
        FD + "[os.write(fd, b'gcb1' + bytes([2, 0, 0, 0, 77]) + bytes(12)) for fd in fds]",  # another call's answer
        FD + "[os.write(fd, b'gcb1' + bytes([3]) + bytes(16)) for fd in fds]",  # an error without a text
        # into the middle of an answer, whose length stays right
        FD
        + "def late():\n time.sleep(0.05)\n for fd in fds: os.write(fd, bytes(1000))\n"
        + "threading.Thread(target=late).start()\nanswer = os.urandom(200 << 20)",
        FD + "[os.close(fd) for fd in fds]",
        FD + "import tempfile\nfile = tempfile.TemporaryFile()\n[os.dup2(file.fileno(), fd) for fd in fds]",
        FD + "[socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR) for fd in fds]",
    ],
)
def test_nonsense_in_the_pipe_is_told_and_the_worker_replaced(worker, text):
    with pytest.raises((BrokenAnswer, WorkerDied)):
        worker.call(eval, code(text), CallLimits(deadline_s=30))
    assert worker.pid is None
    assert worker.call(neg, 1)[0] == -1


ODD = """
class Odd:
    def __reduce__(self):
        return {reduce}
answer = Odd()
"""


@pytest.mark.parametrize(
    "reduce",
    [
        "int, ('x',)",  # raises when it is read
        "__import__('os')._exit, (3,)",  # would end this process
        "eval, ('1 / 0',)",
        "exec, ('while True: pass',)",
        "exit, ()",
        "__import__('numpy').frombuffer, (b'abc',)",
        "__import__('numpy').ndarray, (10**18,)",
        "__import__('argparse').Namespace, ()",
    ],
)
def test_an_answer_that_is_no_plain_data_is_broken(worker, reduce):
    with pytest.raises(BrokenAnswer, match="an answer that cannot be read"):
        worker.call(eval, code(ODD.format(reduce=reduce)))
    assert worker.call(neg, 1)[0] == -1


def test_plain_data_comes_back(worker):
    value = {
        "numbers": [1, 2.5, 3 + 1j, True, None, 10**30],
        "text": ("é", b"x", bytearray(b"y"), {1}, frozenset({2})),
        "numpy": [np.float64(0.1), np.int32(3), np.bool_(True), np.dtype("float32")],
        "array": np.arange(6, dtype=np.int64).reshape(2, 3, order="F"),
        "strings": np.array(["a", "bc"]),
        "ours": CallLimits(1.0, 2),
        "path": Path("a"),
        "date": datetime(2026, 11, 28, tzinfo=UTC),
    }
    back, _ = worker.call(dict, value)
    np.testing.assert_equal(back, value)
    assert back["ours"] == CallLimits(1.0, 2)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("answer = lambda: 1", "PicklingError|AttributeError"),
        ("answer = open('/dev/null')", "TypeError"),
        ("answer = []\nfor _ in range(10**5): answer = [answer]", "RecursionError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("raise MemoryError", "MemoryError"),
        ("class Mute(Exception):\n def __str__(self): 1 / 0\nraise Mute", r"Mute: \(an exception without a text\)"),
        ("class Odd(OSError):\n errno = open\nraise Odd('x')", "Odd: x"),
        ("class Bad:\n def __reduce__(self): raise SystemExit(2)\nanswer = Bad()", "SystemExit: 2"),
        ("raise ValueError('\\ud800 \\n' * 1000)", "ValueError"),
    ],
)
def test_what_cannot_be_sent_or_is_no_exception_is_an_error_and_keeps_the_worker(worker, text, kind):
    worker.call(neg, 1)
    pid = worker.pid
    with pytest.raises(CallFailed, match=kind):
        worker.call(eval, code(text))
    assert worker.call(neg, 1)[0] == -1
    assert worker.pid == pid


def test_the_errno_of_an_error_arrives(worker):
    with pytest.raises(CallFailed) as caught:
        worker.call(eval, "open('/nowhere')")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    "text",
    [
        "print('x' * 100_000)\nimport os\nos.write(2, b'y' * 100_000)\nanswer = 5",
        "import os\nos.close(0)\nos.close(1)\nos.close(2)\nanswer = 5",
        "import os\nos.fork()\nanswer = 5",  # the child answers too
        "import os\nif os.fork() == 0: raise SystemExit\nanswer = 5",
        "import os, time\nif os.fork() == 0: time.sleep(600)\nanswer = 5",
        "import logging\nlogging.getLogger('gcbench.progress').warning('%d', 'x')\nanswer = 5",
        "import logging\nlogging.getLogger('gcbench.progress').warning('\\ud800')\nanswer = 5",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nanswer = 5",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nanswer = 5",
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as p: answer = p.map(abs, [-5])[0]",
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nanswer = 5",
    ],
)
def test_bad_manners_do_not_spoil_the_answer(worker, text):
    assert worker.call(eval, code(text), CallLimits(deadline_s=30))[0] == 5
    assert worker.call(neg, 1, CallLimits(deadline_s=30))[0] == -1
    pid = worker.pid
    worker.kill()
    assert wait_until_gone(pid)


@pytest.mark.parametrize(
    "text",
    [
        "import os, time\nif os.fork() == 0: time.sleep(600)\nos._exit(7)",  # somebody may still hold the pipe
        "import subprocess\nsubprocess.Popen(['sleep', '600'], close_fds=False)\nimport os\nos._exit(7)",
        "import ctypes, os, time\nif ctypes.CDLL(None).fork() == 0: time.sleep(600)\nos._exit(7)",
    ],
)
def test_an_end_is_seen_whoever_holds_the_pipe(worker, text):
    begin = time.monotonic()
    with pytest.raises(WorkerDied, match="exit code 7"):
        worker.call(eval, code(text))
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "leave", ["os.setsid()", "os.setpgid(0, os.getppid())", "os.kill(0, 19)", "os.kill(os.getpid(), 19)"]
)
def test_a_deadline_holds_for_one_that_leaves_its_group_or_stops_itself(worker, leave):
    text = f"import os, time\ntry: {leave}\nexcept OSError: pass\ntime.sleep(600)"
    with pytest.raises(DeadlineExceeded):
        worker.call(eval, code(text), CallLimits(deadline_s=0.5))
    assert worker.call(neg, 1)[0] == -1


def test_programs_with_a_session_of_their_own_die_with_the_worker(worker):
    text = "import subprocess\nanswer = subprocess.Popen(['sleep', '600'], start_new_session=True).pid"
    grandchild = worker.call(eval, code(text))[0]
    worker.kill()
    assert wait_until_gone(grandchild)


BIG = bytes(64 << 20)


@pytest.mark.parametrize(("sign", "error"), [(signal.SIGSTOP, DeadlineExceeded), (signal.SIGKILL, WorkerDied)])
def test_a_big_argument_for_a_worker_that_does_not_read(worker, sign, error):
    worker.call(neg, 1)
    os.kill(worker.pid, sign)
    begin = time.monotonic()
    with pytest.raises(error):
        worker.call(len, BIG, CallLimits(deadline_s=0.5))
    assert time.monotonic() - begin < 3
    assert worker.call(len, BIG)[0] == len(BIG)


def test_a_worker_that_dies_while_it_is_sent_a_big_argument(worker):
    worker.call(neg, 1)
    os.kill(worker.pid, signal.SIGSTOP)
    threading.Timer(0.2, worker.interrupt).start()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        worker.call(len, BIG)


def test_memory_is_limited_while_an_argument_is_sent(worker):
    worker.call(neg, 1)
    with pytest.raises(MemoryExceeded):
        worker.call(len, bytes(400 << 20), CallLimits(deadline_s=60, memory_bytes=150 << 20))


def test_what_is_written_between_calls_is_not_blamed_on_the_next(worker):
    late = "def late():\n time.sleep(0.2)\n for fd in fds: os.write(fd, b'late')\nthreading.Thread(target=late).start()"
    worker.call(eval, code(FD + late))
    pid = worker.pid
    time.sleep(0.5)
    assert worker.call(neg, 1)[0] == -1
    assert worker.pid != pid


def test_an_argument_that_cannot_be_sent_is_the_callers_fault_and_keeps_the_worker(worker):
    worker.call(neg, 1)
    pid = worker.pid
    with pytest.raises((pickle.PicklingError, AttributeError)):
        worker.call(len, lambda: 1)
    assert worker.call(neg, 1)[0] == -1
    assert worker.pid == pid


def test_a_call_given_up_leaves_no_answer_for_the_next(worker, monkeypatch):
    worker.call(neg, 1)
    with monkeypatch.context() as patch:
        patch.setattr("gcbench.bench.run.process.tree_rss_bytes", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.call(sleep, 0.3)
    assert worker.call(neg, 1)[0] == -1


def _interrupt(pid):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("counts", "text", "out_of_memory"),
    [
        ([3, 4], "import os\nos.kill(os.getpid(), 9)", True),
        ([3, 3], "import os\nos.kill(os.getpid(), 9)", False),
        ([None, None], "import os\nos.kill(os.getpid(), 9)", False),
        ([3, 4], "import os\nos.abort()", False),  # somebody else's
        ([3, 4], "import os\nos._exit(1)", False),
    ],
)
def test_a_kill_for_lack_of_memory_is_told_by_the_kernels_count(template, counts, text, out_of_memory):
    worker = Worker(template, oom_kills=iter(counts).__next__)
    with pytest.raises(WorkerDied) as caught:
        worker.call(eval, code(text))
    assert caught.value.out_of_memory is out_of_memory
    assert ("memory ran out" in str(caught.value)) is out_of_memory


def test_random_damage_is_always_a_worker_error(template):
    """Whatever bytes a codec writes before or into its answer, what comes of it is an answer or a WorkerError."""
    random = np.random.default_rng(0)
    worker = Worker(template)
    for _ in range(30):
        noise = random.integers(0, 256, random.integers(1, 40), dtype=np.uint8).tobytes()
        start = [b"", b"gcb1", b"gcb1\x02", b"gcb1\x03\x00\x00\x00\x00"][random.integers(4)]
        with pytest.raises(WorkerError):
            worker.call(eval, code(FD + f"[os.write(fd, {start + noise!r}) for fd in fds]"), CallLimits(deadline_s=20))
    worker.kill()


def test_the_log_of_a_worker_is_no_link(template, tmp_path):
    """A run from outside may have a link in the place of a log: what it leads to is not written."""
    theirs = tmp_path / "theirs"
    theirs.write_text("as it was")
    (tmp_path / "slot.log").symlink_to(theirs)
    with pytest.raises(StoreError, match=r"slot\.log: it is a link"):
        Worker(template, log=tmp_path / "slot.log").call(neg, 3)
    assert theirs.read_text() == "as it was"
