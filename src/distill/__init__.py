"""Train a network that stylises in one pass."""
