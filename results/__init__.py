"""Committed reference results and baselines, as data files. Runs land in ``results/runs`` of the working directory."""
