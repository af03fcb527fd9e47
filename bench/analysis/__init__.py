"""Analysis of records: data frames, tables, curves, figures, and the choice of a codec."""
