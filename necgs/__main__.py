"""Lets ``python -m gcbench.necgs`` be the command ``necgs``, so that ``torchrun`` can start it too."""

from gcbench.necgs.cli import main

main()
