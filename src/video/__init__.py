"""What `python -m src.video` consists of: a clip as a chain of runs, each starting from its warped predecessor."""
