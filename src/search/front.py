"""The front of a study: the trials that no other beats in both of its aims, for reading and as CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.tables import number, title, to_csv

FRONT = "front.csv"


@dataclass(frozen=True)
class Point:
    """A finished trial: which, what it was run with, what came of it.

    Attributes:
        trial: its number, which its record has too.
        folder: of its run.
        options: what was searched, by the names of the options.
        aims: what was measured, by key.
    """

    trial: int
    folder: Path
    options: dict[str, Any]
    aims: dict[str, float]


def shown(value: Any, written: Callable[[float], str] = number) -> str:
    """Return an option's value as on the command line, rounded for reading unless told otherwise."""
    return f"[{','.join(map(written, value))}]" if isinstance(value, list) else written(value)


def front_csv(points: Sequence[Point]) -> str:
    """Return the table, every number to its last digit, options as on the command line."""
    return to_csv([_row(point, repr, str) for point in points])


def front_table(points: Sequence[Point]) -> str:
    """Return the table for a terminal, in columns."""
    rows = [_row(point, number, title) for point in points]
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _row(point: Point, written: Callable[[float], str], named: Callable[[str], str]) -> dict[str, str]:
    row = {"trial": str(point.trial)}
    row |= {named(name): written(value) for name, value in point.aims.items()}
    row |= {name: shown(value, written) for name, value in point.options.items()}
    return {**row, "folder": point.folder.name}
