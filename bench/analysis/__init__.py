"""From records to answers: pandas in, tables and figures out. Knows nothing of how records are made."""
