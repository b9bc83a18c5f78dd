"""`python -m src.report`: gallery, figures and tables of runs, from their records."""
