"""Search for run settings with Optuna: its options, its study of trials, and the table of the best trials."""
