"""Workers: calls in other processes, their limits, their ends, and the templates that they are forked from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from operator import neg
from time import sleep

import numpy as np
import psutil
import pytest
from processes import code, wait_until_gone

from gcbench.bench.run.process import (
    CallFailed,
    CallLimits,
    DeadlineExceeded,
    MemoryExceeded,
    Template,
    Worker,
    WorkerDied,
)
from gcbench.bench.run.tree import tree_rss_bytes


def test_calls_in_the_same_other_process(worker):
    assert worker.call(neg, 3)[0] == -3
    pid = worker.call(eval, "__import__('os').getpid()")[0]
    assert pid == worker.pid != os.getpid()
    assert worker.call(eval, "__import__('os').getpid()")[0] == pid


def test_arrays_survive_the_way(worker):
    array = np.random.default_rng(0).normal(size=(100_000, 3))
    np.testing.assert_array_equal(worker.call(np.negative, array)[0], -array)


def test_threads_are_set_before_any_import(worker):
    assert worker.call(os.getenv, "OMP_NUM_THREADS")[0] == "1"


WORKS = """
import resource
import numpy as np
{work}
everyone, this = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_THREAD))
answer = (everyone.ru_utime - this.ru_utime) / everyone.ru_utime
"""
BLAS = "a = np.random.default_rng(0).normal(size=(1500, 1500))\nfor _ in range(3): a @ a"
IGL = """
import igl
vertices = np.random.default_rng(0).normal(size=(3000, 3))
faces = np.arange(3000).reshape(-1, 3)
igl.point_mesh_squared_distance(np.random.default_rng(1).normal(size=(20_000, 3)), vertices, faces)
"""
TBB = """
import manifold3d
ball = manifold3d.Manifold.sphere(1, 400)
(ball + ball.translate((0.5, 0, 0))).num_tri()
"""


@pytest.mark.parametrize(("work", "pinned"), [(BLAS, False), (IGL, False), (TBB, True)])
def test_no_other_thread_works(template, work, pinned):
    worker = Worker(template, cores=(min(os.sched_getaffinity(0)),) if pinned else None)
    share, _ = worker.call(eval, code(WORKS.format(work=work)))
    worker.kill()
    assert share < 0.05


def test_an_exception_keeps_the_worker(worker, tmp_path):
    with pytest.raises(CallFailed, match=r"^TypeError: bad operand type for unary -: 'str'$"):
        worker.call(neg, "x")
    pid = worker.pid
    assert worker.call(neg, 1)[0] == -1
    assert worker.pid == pid
    assert "Traceback" in (tmp_path / "log").read_text()


SAYS = """(
__import__('logging').getLogger('gcbench.progress').warning('%d %% of %s', 40, 'it'),
[__import__('time').sleep(0.01) for _ in range(3000) if not __import__('os').path.exists({file!r})],
)"""


def test_progress_arrives_during_the_call(worker, tmp_path):
    answers = []
    go_on = tmp_path / "go on"
    text = SAYS.format(file=str(go_on))
    calling = threading.Thread(target=lambda: answers.append(worker.call(eval, text)[0]))
    calling.start()
    try:
        end = time.monotonic() + 20
        while not worker.says and time.monotonic() < end:
            time.sleep(0.01)
        assert worker.says == "40 % of it"
    finally:
        go_on.touch()
        calling.join()
    assert answers[0][0] is None
    assert worker.says == ""
    assert "40 % of it" in (tmp_path / "log").read_text()


def test_much_progress_does_not_hold_up_a_call_or_its_deadline(worker):
    text = "[__import__('logging').getLogger('gcbench.progress').warning('x' * 1000) for _ in range({})][0]"
    assert worker.call(eval, text.format(2000))[0] is None
    with pytest.raises(DeadlineExceeded):
        worker.call(eval, text.format(10**9), CallLimits(deadline_s=0.5))


def test_a_hang_is_killed_at_the_deadline(worker):
    worker.call(neg, 1)
    pid, begin = worker.pid, time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
        worker.call(sleep, 60, CallLimits(deadline_s=0.3))
    assert time.monotonic() - begin < 2
    assert wait_until_gone(pid)
    assert worker.call(neg, 2)[0] == -2  # a new one


def test_programs_die_with_the_worker(worker):
    code = "__import__('subprocess').Popen(['sleep', '600']).pid"
    grandchild = worker.call(eval, code)[0]
    assert psutil.pid_exists(grandchild)
    with pytest.raises(DeadlineExceeded):
        worker.call(sleep, 60, CallLimits(deadline_s=0.2))
    assert wait_until_gone(grandchild)


def test_memory_is_limited_even_when_the_interpreter_is_held(worker):
    worker.call(neg, 1)
    limit = 400 << 20
    with pytest.raises(MemoryExceeded, match="limit is 400 MiB"):
        worker.call(
            eval, "[bytes(1 << 20) + b'x' for _ in range(10**6)]", CallLimits(memory_bytes=limit, deadline_s=60)
        )


def test_memory_of_programs_counts(worker):
    program = "x = bytearray(500 << 20); import time; time.sleep(60)"
    code = f"__import__('subprocess').run([{sys.executable!r}, '-c', {program!r}])"
    with pytest.raises(MemoryExceeded):
        worker.call(eval, code, CallLimits(memory_bytes=400 << 20, deadline_s=60))


def test_peak_memory_is_seen_from_outside(worker):
    _, peak = worker.call(eval, "(bytearray(300 << 20), __import__('time').sleep(0.3))[1]")
    assert 300 << 20 < peak < 600 << 20


@pytest.mark.parametrize(
    ("sign", "outside"), [(signal.SIGSEGV, False), (signal.SIGABRT, False), (signal.SIGKILL, True)]
)
def test_a_crash_is_named(worker, sign, outside):
    with pytest.raises(WorkerDied, match=sign.name) as caught:
        worker.call(signal.raise_signal, sign)
    assert caught.value.from_outside is outside
    assert worker.call(neg, 1)[0] == -1


def test_an_exit_is_named(worker):
    with pytest.raises(WorkerDied, match="exit code 7"):
        worker.call(os._exit, 7)


def test_interrupt_from_another_thread(worker):
    worker.call(neg, 1)
    threading.Timer(0.2, worker.interrupt).start()
    begin = time.monotonic()
    with pytest.raises(WorkerDied):
        worker.call(sleep, 60)
    assert time.monotonic() - begin < 2


PARENT = """
from gcbench.bench.run.process import Template, Worker
import time
worker = Worker(Template())
worker.call(eval, "1")
print(worker.pid, flush=True)
worker.call(time.sleep, 600)
"""


def test_the_worker_dies_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until_gone(child)


def test_resident_memory_of_this_process_agrees_with_psutil():
    me = psutil.Process()
    both = [me, *me.children(recursive=True)]  # a browser, for example, that other tests share
    assert tree_rss_bytes(os.getpid()) == pytest.approx(sum(p.memory_info().rss for p in both), rel=0.05)
    assert tree_rss_bytes(2**30) == 0


def test_workers_of_one_template_are_apart(template):
    one, two = Worker(template), Worker(template)
    assert one.call(eval, "__import__('os').environ.setdefault('MARK', 'one')")[0] == "one"
    assert two.call(os.getenv, "MARK")[0] is None
    assert one.pid != two.pid
    one.kill()
    assert two.call(neg, 1)[0] == -1
    two.kill()


def test_a_worker_starts_in_milliseconds_with_imports_made(tmp_path):
    template = Template(preload=("decimal",))
    worker = Worker(template)
    assert worker.call(eval, "'decimal' in __import__('sys').modules")[0]
    begin = time.monotonic()
    for _ in range(10):
        worker.kill()
        worker.call(neg, 1)
    assert time.monotonic() - begin < 2
    template.close()


def test_a_killed_template_takes_its_workers_along_and_is_replaced(template):
    worker, other = Worker(template), Worker(template)
    pid = worker.call(eval, "__import__('os').getpid()")[0]
    parent = psutil.Process(pid).parent()
    parent.kill()
    assert wait_until_gone(pid)
    assert other.call(neg, 1)[0] == -1  # makes a new template before the first one's worker is reaped
    with pytest.raises(WorkerDied) as caught:
        worker.call(neg, 1)
    assert caught.value.from_outside
    assert worker.call(neg, 1)[0] == -1
    assert other.call(neg, 1)[0] == -1
    worker.kill()
    other.kill()
    template.close()
    assert worker.kill() == 0


def test_a_worker_outlived_by_nothing_is_still_reaped(template):
    worker, other = Worker(template), Worker(template)
    for one in (worker, other):
        one.call(neg, 1)
    psutil.Process(worker.pid).parent().kill()
    assert all(wait_until_gone(one.pid) for one in (worker, other))
    for one in (worker, other):  # neither finds the template that it came from
        with pytest.raises(WorkerDied, match="SIGKILL"):
            one.call(neg, 1)


def test_pinned_to_its_cores(template):
    core = min(os.sched_getaffinity(0))
    worker = Worker(template, cores=(core,))
    assert worker.call(os.sched_getaffinity, 0)[0] == {core}
    worker.kill()
