"""Read the logged points of a run from its `metrics.csv`."""

import csv
import math
from contextlib import suppress
from pathlib import Path


def read_lines(path: Path) -> list[dict[str, str]]:
    """Return the lines of a file by column; one that is being written, or was cut by a kill, is left out.

    Raises:
        OSError, ValueError, csv.Error: it cannot be read, or is not text.
    """
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [line for line in csv.DictReader(whole) if None not in line and None not in line.values()]


def numbers(line: dict[str, str]) -> dict[str, float]:
    """Return the finite values of a line by column; a cell is empty where nothing was measured at its step."""
    found = {}
    for name, text in line.items():
        with suppress(ValueError):
            found[name] = float(text)
    return {name: value for name, value in found.items() if math.isfinite(value)}
