"""The search for settings: its options, its study of trials, the front of those that none beats."""
