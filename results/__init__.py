"""Committed reference results and baselines, as data files. Runs are in ``results/runs`` of the working directory.

``published.csv`` has results of papers, one in a line. ``column`` is a column of a metric suite or of the tables
(``ratio``, ``kilobytes``), and ``value`` has the unit of that column. ``codec`` is our codec of the same kind, or
empty. ``beside_dataset`` and ``beside_rate`` (a pattern such as ``k64w*``) name our rows that the result is shown
beside; empty means all rows.
"""
