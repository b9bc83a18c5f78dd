"""Medians of loss curves over image pairs, for the table and the figure of section `curves`."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from src.bench.results import Row

# Evaluations at which a curve is read.
MARKS = (0, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200)


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """Return medians of the curves of one optimiser over the pairs.

    Evaluations and seconds to the target are given if more than half of the pairs reached it.
    """
    reached = [row.values for row in rows if "evaluations_to_target" in row.values]
    found = {"end": statistics.median(row.values["end"] for row in rows), "pairs": len(rows), "reached": len(reached)}
    for name in ("evaluations_to_target", "seconds_to_target"):
        if 2 * len(reached) > len(rows):
            found[name] = statistics.median(row.values.get(name, float("inf")) for row in rows)
    return found


def median_curve(rows: Sequence[Row]) -> list[tuple[int, float, float]]:
    """Return evaluations, median seconds and median loss at the marks that every pair has passed."""
    values = [row.values for row in rows]
    marks = [mark for mark in MARKS if all(f"loss_at_{mark}" in each for each in values)]

    def median(name: str, mark: int) -> float:
        return statistics.median(each[f"{name}_at_{mark}"] for each in values)

    return [(mark, median("seconds", mark), median("loss", mark)) for mark in marks]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the median curves of all optimisers as a PNG: loss against evaluations and against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for way in dict.fromkeys(row.case["optimizer"] for row in rows):
        points = median_curve([row for row in rows if row.case["optimizer"] == way])
        for number, axis in enumerate(axes):
            axis.plot([point[number] for point in points], [point[2] for point in points], label=way, linewidth=1.4)
    for axis, name in zip(axes, ("evaluations", "seconds"), strict=True):
        axis.set(xlabel=name, yscale="log")
        axis.axhline(1.0, color="0.6", linewidth=0.8, linestyle="--")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("loss / that of 1000 steps of Adam 0.02")
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
