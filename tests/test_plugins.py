"""Plugins that hang, exit, crash or fork when they are imported: each is one sentence, and harms no other."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from gcbench import plugins
from gcbench.codecs import Codec
from gcbench.errors import UsageError
from gcbench.registry import BrokenPlugin, Registry

GOOD = """
from gcbench.codecs.raw_zstd import RawZstd
class Good(RawZstd):
    name = "{name}"
"""
WAYS = {
    "exits": ("import sys; sys.exit(0)", r"fails to import: SystemExit\(0\)"),
    "ends": ("import os; os._exit(0)", r"ends the process when it is imported \(exit code 0\)"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"crashes when it is imported \(SIGSEGV\)"),
    "hangs": ("import time; time.sleep(600)", "takes longer than 3 s to import"),
    "ignores": ("import signal, time; signal.pthread_sigmask(0, range(1, 60)); time.sleep(600)", "takes longer"),
    "raises": ("class Odd(BaseException): pass\nraise Odd('no')", "fails to import: Odd"),
    "interrupts": ("raise KeyboardInterrupt", "fails to import: KeyboardInterrupt"),
    "speechless": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "fails to import",
    ),
    "recurses": ("def f(): f()\nf()", "fails to import: RecursionError"),
    "lines": ("raise ValueError('a\\nb\\x1b[2J')", r"fails to import: ValueError\('a\\nb\\x1b\[2J'\)"),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put packages with one codec each on sys.path as pip would lay them out; return a registry that sees them."""
    modules: list[str] = []

    def put(sources: dict[str, str]) -> Registry:
        for name, source in sources.items():
            package, site = f"plugin_{name}", tmp_path / name
            info = site / f"{package}-1.0.dist-info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[gcbench.odd]\n{name} = {package}:Good\n")
            (site / f"{package}.py").write_text(source + GOOD.format(name=name))
            monkeypatch.syspath_prepend(str(site))
            modules.append(package)
        importlib.invalidate_caches()
        return Registry(base=Codec, noun="codec", builtins={}, group="gcbench.odd")

    monkeypatch.setattr(plugins, "DEADLINE_S", 3.0)
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path / "cache"))
    yield put
    for module in modules:
        sys.modules.pop(module, None)


def test_every_way_to_misbehave_is_one_sentence_and_the_good_one_is_found(install, capfd, monkeypatch):
    monkeypatch.setattr(plugins, "DEADLINE_S", 20.0)  # a busy machine
    registry = install({name: source for name, (source, _) in WAYS.items() if "takes longer" not in _} | {"good": ""})
    asked = registry.asked()
    assert list(asked) == sorted(asked)
    assert asked.pop("good") == {}
    for name, answer in asked.items():
        assert isinstance(answer, BrokenPlugin)
        assert answer.reason.startswith(f"codec '{name}' from plugin_{name} 1.0: plugin_{name}:Good ")
        assert "\n" not in answer.reason
        assert re.search(WAYS[name][1], answer.reason), answer.reason
        with pytest.raises(UsageError, match="from plugin_"):
            registry.create(name)
    assert registry.create("good").name == "good"
    assert capfd.readouterr().out == ""


@pytest.mark.long
@pytest.mark.parametrize("name", ["hangs", "ignores"])
def test_a_plugin_that_hangs_is_killed_with_what_it_started(install, tmp_path, name):
    file = tmp_path / "pid"
    source = "import os, subprocess, pathlib\np = subprocess.Popen(['sleep', '600'])\n"
    source += f"pathlib.Path({str(file)!r}).write_text(str(p.pid))\n" + WAYS[name][0]
    registry = install({name: source})
    begin = time.monotonic()
    with pytest.raises(UsageError, match="takes longer than 3 s to import"):
        registry.get(name)
    assert time.monotonic() - begin < 15
    if file.exists():  # on a very busy machine, the import did not begin
        pid = int(file.read_text())
        end = time.monotonic() + 5
        while time.monotonic() < end and psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
            time.sleep(0.05)
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
    again = time.monotonic()
    with pytest.raises(UsageError, match="takes longer"):
        Registry(base=Codec, noun="codec", builtins={}, group="gcbench.odd").get(name)
    assert time.monotonic() - again < 1, "what was found out is kept for a while"


def test_a_plugin_that_forks_or_prints_is_asked_once(install, capfd, monkeypatch):
    monkeypatch.setattr(plugins, "DEADLINE_S", 20.0)
    registry = install({"forks": "import os\nos.fork()\nprint('hello')\n"})
    assert registry.asked() == {"forks": {}}
    assert capfd.readouterr().out == ""


def test_a_changed_file_is_asked_about_again(install, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "DEADLINE_S", 20.0)
    registry = install({"late": "1 / 0\n"})
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        registry.get("late")
    registry = install({"late": ""})
    file = tmp_path / "late" / "plugin_late.py"
    os.utime(file, ns=(1, 1))
    assert registry.get("late").name == "late"
    asked = []
    monkeypatch.setattr(plugins, "ask", lambda *given: asked.append(given) or {})
    registry.refresh()
    assert registry.get("late").name == "late"
    assert asked == [], "no child for a plugin that is known"


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, 2]}', "[" * 100_000, "\udcff"])
def test_a_damaged_file_of_answers_is_as_none(tmp_path, monkeypatch, content):
    monkeypatch.setenv("GCBENCH_CACHE", str(tmp_path))
    (tmp_path / "plugins.json").write_bytes(content.encode(errors="surrogateescape"))
    assert plugins._read() == {}
    plugins._keep({"k": plugins.Answer("no")})
    assert plugins._read() == {"k": plugins.Answer("no")}


@pytest.mark.slow
def test_a_listing_goes_on_after_plugins_that_end_and_hang(install, tmp_path):
    for name in ("ends", "exits", "crashes"):
        install({name: WAYS[name][0]})
    for file in tmp_path.glob("*/*.dist-info/entry_points.txt"):
        file.write_text(file.read_text().replace("gcbench.odd", "gcbench.codecs"))
    command = [sys.executable, "-m", "gcbench.bench.cli", "list", "codecs", "--format", "json"]
    path = os.pathsep.join([*(str(folder) for folder in tmp_path.glob("*")), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["codec"]: row for row in json.loads(done.stdout)}
    assert rows["draco"]["available"]
    assert rows["test-exact"]["available"]
    assert "ends the process" in rows["ends"]["error"]
    assert "crashes" in rows["crashes"]["error"]
    assert "SystemExit" in rows["exits"]["error"]
