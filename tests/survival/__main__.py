"""``python -m tests.survival``: kill runs, fill their disks and move their clocks, and say what was lost.

Needs Linux; root for the disks (they are mounted), a C compiler for the clocks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from .rounds import Round, can_mount, clock_round, disk_round, kill_round
from .site import SCENARIOS, Site


def main() -> int:
    """Run the rounds and print a table; 1 if something was lost, doubled or changed."""
    asked = argparse.ArgumentParser(prog="python -m tests.survival", description=__doc__)
    asked.add_argument("--kills", type=int, default=100, help="rounds of kill -9")
    asked.add_argument("--disks", type=int, default=20, help="rounds with a disk that fills up")
    asked.add_argument("--clocks", type=int, default=5, help="rounds with a clock that jumps")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--keep", type=Path, help="where runs and results are kept; a second call goes on")
    given = asked.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="gcbench-survival-"))
    root.mkdir(parents=True, exist_ok=True)
    rounds = _survive(root.resolve(), given.seed, given.kills, given.disks, given.clocks)
    sys.stdout.write(table(rounds))
    if given.keep is None and not any(made.wrong for made in rounds):
        shutil.rmtree(root)
    return int(any(made.wrong for made in rounds))


def _survive(root: Path, seed: int, kills: int, disks: int, clocks: int) -> list[Round]:
    site, log = Site(root), root / "rounds.jsonl"
    rounds = [Round(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    done = Counter(made.kind for made in rounds)
    if disks and not can_mount():
        sys.stderr.write("no rounds with a full disk: this user may not mount file systems\n")
        disks = 0
    plan = [("kill", i) for i in range(kills)] + [("disk", i) for i in range(disks)]
    plan += [("clock", i) for i in range(clocks)]
    random.Random(seed).shuffle(plan)
    make = {"kill": kill_round, "disk": disk_round, "clock": clock_round}
    for kind, i in plan:
        if i < done[kind]:
            continue
        rng = random.Random(f"{seed} {kind} {i}")
        scenario = rng.choice(["jobs", "jobs", "training", "cluster"]) if kind == "kill" else "jobs"
        made = make[kind](site, scenario, f"{kind}-{i}-{os.getpid()}", rng)
        rounds.append(made)
        with log.open("a") as file:
            file.write(json.dumps(asdict(made)) + "\n")
        for wrong in made.wrong + [f"left behind: {name}" for name in made.left]:
            sys.stderr.write(f"{kind} {i} ({scenario}; {', '.join(made.disturbed)}): {wrong}\n")
    return rounds


def table(rounds: list[Round]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| disturbance | runs | rounds | disturbances | with a loss | with files left |",
        "|---|---|---:|---|---:|---:|",
    ]
    for kind in ("kill", "disk", "clock"):
        for scenario in SCENARIOS:
            of = [made for made in rounds if (made.kind, made.scenario) == (kind, scenario)]
            if of:
                what = Counter(one for made in of for one in made.disturbed if kind != "clock")
                said = ", ".join(f"{count} {one}" for one, count in sorted(what.items()))
                count = said or f"{sum(len(made.disturbed) for made in of)} jumps"
                lost, left = sum(bool(made.wrong) for made in of), sum(bool(made.left) for made in of)
                lines.append(f"| {kind} | {scenario} | {len(of)} | {count} | {lost} | {left} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
