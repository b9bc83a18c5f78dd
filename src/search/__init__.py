"""`python -m src.search`: multi-objective search over weights and learning rate, with Optuna."""
