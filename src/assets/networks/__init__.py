"""A feed-forward network that comes with the program."""
