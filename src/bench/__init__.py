"""`python -m src.bench`: measure speed, memory and start-up of the program."""
