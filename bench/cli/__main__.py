"""Lets ``python -m gcbench.bench.cli`` be the command ``bench``."""

from gcbench.bench.cli import main

main()
