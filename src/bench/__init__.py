"""What the program costs, measured: `python -m src.bench`."""
