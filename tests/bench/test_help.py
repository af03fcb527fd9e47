"""The help fits one screen and groups the verbs; each verb opens with its use and examples; options have one name."""

from __future__ import annotations

import re

import pytest
import typer

from gcbench.bench.cli.verbs import app

COMMAND = typer.main.get_command(app)
VERBS = {
    "make and try": ["run", "measure", "list", "data", "check", "new"],
    "look": ["table", "plot", "report", "site"],
    "decide and use": ["choose", "encode", "decode"],
    "trust": ["verify", "compare", "gate", "submit", "merge"],
}
SHORT = {"--format": "-f", "--out": "-o", "--dataset": "-d", "--codec": "-c", "--suite": "-s", "--jobs": "-j"}
REPLACED = {"--rates", "--json", "--measure", "--into", "--meshes-of", "--suites", "--codecs", "--datasets", "--output"}


def commands():
    """Every command with its name, those in groups included."""
    for name, command in COMMAND.commands.items():
        yield name, command
        for inner, one in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", one


def test_the_groups_fit_one_screen(bench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = bench("--help").stdout.rstrip().splitlines()
    assert len(lines) <= 30
    group, found = "", {}
    for line in lines:
        if title := re.match(r"╭─ ([\w ]+) ─", line):
            group = title[1]
            found[group] = []
        elif verb := re.match(r"│ (\w+)  ", line):
            found[group].append(verb[1])
    assert found == VERBS
    assert set(COMMAND.commands) == {verb for verbs in VERBS.values() for verb in verbs}
    assert "Exit codes: 0 done" in "\n".join(lines)


@pytest.mark.parametrize("verb", [verb for verbs in VERBS.values() for verb in verbs])
def test_the_help_of_a_verb_opens_with_its_use_and_examples(bench, verb):
    lines = [line.strip() for line in bench(verb, "--help").stdout.splitlines() if line.strip()]
    assert lines[0].startswith(f"Usage: bench {verb}")
    examples = lines.index("Examples")
    assert examples <= 3, "after one sentence"
    assert all(line.startswith(f"bench {verb}") for line in lines[examples + 1 : examples + 3])


def test_the_same_option_has_the_same_name_everywhere():
    seen = 0
    for name, command in commands():
        for param in command.params:
            options = {*param.opts, *param.secondary_opts}
            assert not options & REPLACED, name
            for long, short in SHORT.items():
                if long in options:
                    assert short in options, f"{name} {long}"
                    seen += 1
                else:
                    assert short not in options or (name, short) == ("", ""), f"{name} {short}"
    assert seen > 30


def test_a_misspelt_verb_is_suggested(bench):
    assert "'choose'" in bench("chose", code=2).stderr
    assert "No such command" in bench("train", code=2).stderr
