"""Errors, files, signals and platform: what every other package may use."""
