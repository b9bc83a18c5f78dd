"""The Pareto front of a study, as a table for the terminal and as CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.tables import number, title, to_csv

FRONT = "front.csv"


@dataclass(frozen=True)
class Point:
    """A finished trial: its number, the folder of its run, the searched options, and what was measured, by name."""

    trial: int
    folder: Path
    options: dict[str, Any]
    objectives: dict[str, float]


def format_option(value: Any, write: Callable[[float], str] = number) -> str:
    """Return the value of an option as on the command line, each number written by `write` (default: rounded)."""
    return f"[{','.join(map(write, value))}]" if isinstance(value, list) else write(value)


def front_csv(points: Sequence[Point]) -> str:
    """Return the front as CSV, with all digits of every number."""
    return to_csv([_row(point, repr, str) for point in points])


def front_table(points: Sequence[Point]) -> str:
    """Return the front in aligned columns, with rounded numbers."""
    rows = [_row(point, number, title) for point in points]
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _row(point: Point, write: Callable[[float], str], name: Callable[[str], str]) -> dict[str, str]:
    return {
        "trial": str(point.trial),
        **{name(key): write(value) for key, value in point.objectives.items()},
        **{key: format_option(value, write) for key, value in point.options.items()},
        "folder": point.folder.name,
    }
