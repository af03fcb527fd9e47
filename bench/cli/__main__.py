"""Run the command ``bench`` as ``python -m gcbench.bench.cli``."""

from gcbench.bench.cli import main

main()
