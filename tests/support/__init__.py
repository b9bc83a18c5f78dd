"""Helpers of the tests: nothing in here is imported by the package itself."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
