"""Committed reference results and baselines, as data files. Runs land in ``results/runs`` of the working directory.

``published.csv`` holds figures of papers, one a line: ``column`` is a column of a metric suite or of the tables
(``ratio``, ``kilobytes``), ``value`` is in that column's own unit. ``codec`` is ours of the same kind, empty where
there is none; ``beside_dataset`` and ``beside_rate`` (a pattern such as ``k64w*``) say which of our rows it may stand
beside, any where they are empty. A row with a pattern is shown beside its own rates only.
"""
