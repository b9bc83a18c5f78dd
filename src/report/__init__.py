"""Reports of runs: figures, tables, the comparison with the published record, and the page."""
