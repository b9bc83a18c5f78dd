"""The losses of a run over its steps, from `metrics.csv`, or from its captures where that was not written."""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.report.runs import Run
from src.tracking import names as keys
from src.tracking.names import METRICS
from src.tracking.points import numbers, read_lines

PREFIX = "loss/"


@dataclass(frozen=True)
class Curve:
    """Losses at steps: the total, weighted, and each term, unweighted, by its name without `loss/`. NaN: not known."""

    steps: list[int]
    seconds: list[float]
    total: list[float]
    terms: dict[str, list[float]]


def read(run: Run, most: int, warn: Callable[[str], None]) -> Curve | None:
    """Return the losses of a run at `most` steps at most, evenly spaced on a logarithmic axis, both ends included.

    None where nothing was logged or captured. A file that cannot be read is left out with a warning.
    """
    rows: list[dict[str, float]] = []
    path = run.folder / METRICS
    try:
        if path.is_file():
            rows = _logged(path, most)
    except (OSError, ValueError, csv.Error) as error:
        warn(f"{path} is left out: {error}")
    rows = rows or _captured(run)
    if not rows:
        return None
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(PREFIX) and name != keys.TOTAL)
    return Curve(
        [int(row["step"]) for row in rows],
        [row.get(keys.SECONDS, math.nan) for row in rows],
        [row[keys.TOTAL] for row in rows],
        {name.removeprefix(PREFIX): [row.get(name, math.nan) for row in rows] for name in names},
    )


def _logged(path: Path, most: int) -> list[dict[str, float]]:
    """Return the rows that hold a step and a loss.

    Raises:
        ValueError: the file is not text, or a step is not a whole number.
    """
    lines = read_lines(path)
    if len(lines) > most:
        lines = [lines[at - 1] for at in np.unique(np.geomspace(1, len(lines), most).round().astype(int))]
    rows = [numbers(line) for line in lines]
    for row in rows:
        if not (0 <= row.get("step", math.nan) < 2**63 and row["step"] == int(row["step"])):
            raise ValueError("a step is not a whole number")
    return [row for row in rows if keys.TOTAL in row]


def _captured(run: Run) -> list[dict[str, float]]:
    captures = [capture for capture in run.record.captures if keys.TOTAL_TERM in capture.losses]
    rows: list[dict[str, float]] = []
    if run.record.initial_loss is not None and all(capture.step for capture in captures):
        rows.append({"step": 0, keys.TOTAL: run.record.initial_loss, keys.SECONDS: 0.0})
    for capture in captures:
        seconds = math.nan if capture.seconds is None else capture.seconds
        losses = {PREFIX + name: value for name, value in capture.losses.items()}
        rows.append({"step": capture.step, keys.SECONDS: seconds, **losses})
    return rows
