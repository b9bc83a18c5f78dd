"""Networks that stylise an image in one pass."""
