"""Helpers of the tests: nothing in here is imported by the package itself."""
