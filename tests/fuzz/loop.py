"""Run fuzz targets for as long as one likes, and keep what they find: ``tox -e fuzz -- --seconds 600 --target obj``.

Each target runs in a process of its own under atheris (libFuzzer for Python): it counts the branches of the target's
modules that an input takes, and keeps inputs that take new ones. libFuzzer ends at the first finding; the loop keeps
the input, unless one with the same reason is there, and starts again.

A folder outside of the repository holds, for each target, ``corpus/`` (what the next call begins with) and ``found/``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import platformdirs

HERE = Path(__file__).resolve().parent
MOST_FINDINGS = 20  # of one target in one call
TIMEOUT_S, MEMORY_MIB, LONGEST_BYTES = 10, 2048, 1 << 16
_RAISED = re.compile(r"^([A-Za-z_.]*(?:Error|Exception|Warning|Timeout|Interrupt)\b.*)$", re.MULTILINE)
_FRAME = re.compile(r'File "[^"]*?([\w.]+)", line (\d+)')
_NATIVE = re.compile(r"ERROR: libFuzzer: (.*)")


def main(arguments: Sequence[str]) -> int:
    """Run the targets one after the other; 1 if something was found."""
    shape = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="tox -e fuzz --", description=__doc__, formatter_class=shape)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together (default: 600)")
    parser.add_argument("--target", action="append", default=[], help="only this one; may be given several times")
    parser.add_argument("--folder", type=Path, default=platformdirs.user_cache_path("gcbench") / "fuzz")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    sys.path.insert(0, str(HERE))
    from targets import TARGETS

    names = asked.target or sorted(TARGETS)
    for name in names:
        if name not in TARGETS:
            parser.error(f"there is no target '{name}'; there are {', '.join(sorted(TARGETS))}")
    if asked.child is not None:
        _fuzz(names[0], asked.child)
    found = {name: _search(name, asked.seconds / len(names), asked.folder) for name in names}
    if not any(found.values()):
        return 0
    _say("\nA finding becomes a test: copy the file to tests/fixtures/fuzz/TARGET under a name that says what it is.")
    _say("A stream of a codec belongs to tests/codecs/hostile_streams.py, as a builder. The test must fail; then mend.")
    return 1


def _search(name: str, seconds: float, folder: Path) -> int:
    """Run one target until its time is over; the number of findings."""
    corpus, found = folder / name / "corpus", folder / name / "found"
    for made in (corpus, found):
        made.mkdir(parents=True, exist_ok=True)
    reasons: set[str] = set()
    end, runs = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) >= 1 and len(reasons) < MOST_FINDINGS:
        before = set(found.iterdir())
        options = (f"-max_total_time={int(left)}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MIB}")
        done = subprocess.run(
            [sys.executable, __file__, "--target", name, "--child", *options, f"-max_len={LONGEST_BYTES}",
             f"-artifact_prefix={found}/", "-print_final_stats=1", str(corpus)],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        counted = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
        runs += int(counted[1]) if counted else 0
        if done.returncode == 0:
            break
        new = sorted(set(found.iterdir()) - before)
        why = reason(done.stderr + done.stdout)
        if not new:  # it could not start
            _say(f"{name}: the fuzzer ended with {done.returncode}: {why}")
            return 1
        for file in new:
            if why in reasons:
                file.unlink()
            else:
                _say(f"{name}: {why}\n    {file}\n    again: python {__file__} --target {name} --child {file}")
        reasons.add(why)
    _say(f"{name}: {runs} inputs, {len(reasons)} findings")
    return len(reasons)


def reason(output: str) -> str:
    """What ended the fuzzer, in one line: the exception and where it was raised, or what libFuzzer says."""
    raised, native = _RAISED.findall(output), _NATIVE.findall(output)
    if raised:
        frames = _FRAME.findall(output[: output.index(raised[-1])])
        return f"{raised[-1]} ({frames[-1][0]}:{frames[-1][1]})" if frames else raised[-1]
    return native[-1] if native else " ".join(output.split()[-20:])


def _fuzz(name: str, options: Sequence[str]) -> None:
    """Fuzz in this process; never returns."""
    import atheris
    from targets import TARGETS

    branches = TARGETS[name].modules
    with atheris.instrument_imports(include=list(branches)):
        for module in [one for one in sys.modules if one == "targets" or one.startswith(branches)]:
            del sys.modules[module]  # they are imported anew, with their branches counted
        import targets
    target = targets.TARGETS[name]
    corpus = [one for one in options if not one.startswith("-")]
    for seed in target.seeds if corpus and Path(corpus[0]).is_dir() else ():
        (Path(corpus[0]) / seed.name).write_bytes(seed.read_bytes())
    target.read(target.seeds[0].read_bytes())  # loads and compiles, which is not the time of an input
    atheris.Setup([sys.argv[0], *options], target.read)
    atheris.Fuzz()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
