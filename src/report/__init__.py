"""What a report consists of: figures, tables of runs, the study beside them, and the page."""
