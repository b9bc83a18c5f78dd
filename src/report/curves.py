"""How the losses of a run went, read from its `metrics.csv`; from its captures where it logged none."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.tracking import names as keys
from src.tracking.csv_logger import METRICS
from src.tracking.record import RunRecord


@dataclass(frozen=True)
class Curve:
    """Losses at steps: the total is weighted, those of the layers are not. NaN where a number is not known."""

    steps: list[int]
    seconds: list[float]
    total: list[float]
    layers: dict[str, list[float]]


def read(folder: Path, record: RunRecord, most: int) -> Curve | None:
    """Return the losses of a run at `most` steps at most; None where nothing was logged and nothing captured.

    The steps lie as dense on a logarithmic axis as there are; both ends are among them.
    """
    rows = _logged(folder / METRICS, most) or list(_captured(record))
    if not rows:
        return None
    taps = [tap for tap in record.style_layers if any(keys.layer_key(tap) in row for row in rows)]
    steps = [int(row["step"]) for row in rows]
    seconds = [row.get(keys.SECONDS, math.nan) for row in rows]
    return Curve(
        steps,
        seconds if not all(map(math.isnan, seconds)) else _between_captures(steps, record),
        [row[keys.TOTAL] for row in rows],
        {tap: [row.get(keys.layer_key(tap), math.nan) for row in rows] for tap in taps},
    )


def _logged(path: Path, most: int) -> list[dict[str, float]]:
    """Return rows of a metrics file that hold a step and a loss; a line cut by a kill is left out."""
    try:
        with path.open(newline="", errors="replace") as file:
            lines = csv.reader(file)
            head = next(lines, [])
            whole = [line for line in lines if len(line) == len(head)]
    except (OSError, csv.Error):
        return []
    rows = (_numbers(head, whole[at]) for at in _spread(len(whole), most))  # numbers of all would take long
    return [row for row in rows if {"step", keys.TOTAL} <= row.keys()]


def _spread(count: int, most: int) -> Iterable[int]:
    """Return places among `count`, at most that many, growing apart; both ends are among them."""
    if count <= most:
        return range(count)
    return sorted({round(math.expm1(at * math.log1p(count - 1) / (most - 1))) for at in range(most)})


def _numbers(head: Sequence[str], line: Sequence[str]) -> dict[str, float]:
    found = {}
    for name, text in zip(head, line, strict=True):
        try:
            value = float(text)
        except ValueError:  # empty: not measured at this step
            continue
        if math.isfinite(value):
            found[name] = value
    return found


def _captured(record: RunRecord) -> Iterable[dict[str, float]]:
    if record.initial_loss is not None and all(capture.step for capture in record.captures):
        yield {"step": 0, keys.TOTAL: record.initial_loss, keys.SECONDS: 0.0}
    for capture in record.captures:
        if capture.loss_total is not None:  # not finite: null in the file
            seconds = math.nan if capture.seconds is None else capture.seconds
            layers = {keys.layer_key(tap): value for tap, value in capture.layers.items() if value is not None}
            yield {"step": capture.step, keys.TOTAL: capture.loss_total, keys.SECONDS: seconds, **layers}


def _between_captures(steps: Sequence[int], record: RunRecord) -> list[float]:
    """Return the time of each step, in proportion between the captures, whose time the record has.

    For files of before the time was logged.
    """
    known = [(each.step, each.seconds) for each in record.captures if each.seconds is not None]
    known = sorted({0: 0.0, **dict(known)}.items())
    found = []
    for step in steps:
        before = max((each for each in known if each[0] <= step), default=known[0])
        after = min((each for each in known if each[0] > step), default=None)
        if step == before[0]:
            found.append(before[1])
        elif after is None:
            found.append(math.nan)
        else:
            share = (step - before[0]) / (after[0] - before[0])
            found.append(before[1] + share * (after[1] - before[1]))
    return found
