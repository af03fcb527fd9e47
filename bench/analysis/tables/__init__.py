"""What the tables of a run hold: one module for each kind of table, each makes `gcbench.bench.tabular.Table` values."""
