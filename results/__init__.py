"""Committed reference results and baselines, as data files. Runs are in ``results/runs`` of the working directory.

``published.csv`` has one figure of a paper in a line: ``id`` names the method in its setting, ``quantity`` is a column
of a metric suite or one of :data:`gcbench.bench.analysis.published.QUANTITIES`, ``value`` has its unit, ``against`` is
the ``id`` that the figure is compared with, and ``order`` is the paper's order where there is no number.

``published_ours.csv`` says how ours is found: patterns of dataset, codec and rate, an earlier measurement (``quoted``)
for when no run answers, and the reasons for a difference and for a gap. A line without a quantity has the defaults of
its ``id``. ``published_quotes.csv`` says where the earlier measurements stand, of which meshes, by which command.
"""
