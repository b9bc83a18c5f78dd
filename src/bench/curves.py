"""Loss of the default objective against evaluations and seconds, by optimiser and schedule."""

import csv
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from src.bench.plan import Plan
from src.bench.results import Measured, Row
from src.config.composition import compose
from src.tracking import names as keys

TARGETS = Path(__file__).resolve().parent.parent / "assets" / "targets_default.json"
# Evaluations at which a curve is read.
MARKS = (0, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200)
# By name, the overrides of the defaults.
WAYS: dict[str, tuple[str, ...]] = {
    "the default": (),
    "adam 0.0125": ("steps=200",),
    "adam 0.02": ("steps=200", "optimizer.lr=0.02"),
    "adam 0.05": ("steps=200", "optimizer.lr=0.05"),
    "lbfgs": ("steps=200", "optimizer=lbfgs"),
    "adam 0.0125, 2 sizes": ("steps=200", "schedule=pyramid"),
    "adam 0.0125, 2 sizes, moments carried": ("steps=200", "schedule=pyramid", "schedule.carry=true"),
    "adam 0.0125, averaged": ("steps=200", "schedule.average=0.9"),
}


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield each way's curve for each pair, as shares of the loss that 1000 steps of plain Adam at 0.02 reach."""
    from src.bench.target import read_targets

    for pair, target in list(read_targets(TARGETS).items())[: plan.curve_pairs]:
        for name, overrides in WAYS.items():
            yield Measured({"pair": "-".join(pair), "optimizer": name}, _curve(plan, pair, target, overrides))


def _curve(plan: Plan, pair: tuple[str, str], target: float, overrides: tuple[str, ...]) -> dict[str, float]:
    from src.run import run

    content, style = pair
    case = (f"content={content}", f"style={style}", f"edge={plan.curve_edge}", "precision=32", "trainer.compile=never")
    seen = ("logger=csv", "log_every=1", "captures=[1.0]")
    with tempfile.TemporaryDirectory() as folder:
        record = run(compose([*case, *seen, *plan.overrides, *overrides, *plan.curve_overrides]), folder)
        rows = list(csv.DictReader((Path(folder) / "metrics.csv").read_text().splitlines()))
    points = [{key: float(row[key]) for key in (keys.EVALUATIONS, keys.SECONDS, keys.TOTAL)} for row in rows]
    values = {"end": record.captures[-1].losses["total"] / target, "evaluations": float(record.evaluations)}
    for mark in MARKS:
        if passed := next((point for point in points if point[keys.EVALUATIONS] >= mark), None):
            values |= {f"loss_at_{mark}": passed[keys.TOTAL] / target, f"seconds_at_{mark}": passed[keys.SECONDS]}
    if reached := next((point for point in points if point[keys.TOTAL] <= target), None):
        values |= {f"{key}_to_target": reached[key] for key in (keys.EVALUATIONS, keys.SECONDS)}
    return values


def summary(rows: Sequence[Row], way: str) -> dict[str, float]:
    """Return the medians of a way over the pairs; of the evaluations to the target only where most reached it."""
    mine = [row.values for row in rows if row.case["optimizer"] == way]
    reached = [each for each in mine if "evaluations_to_target" in each]
    found = {"end": statistics.median(each["end"] for each in mine), "pairs": len(mine), "reached": len(reached)}
    for name in ("evaluations_to_target", "seconds_to_target"):
        if 2 * len(reached) > len(mine):
            found[name] = statistics.median(each.get(name, float("inf")) for each in mine)
    return found


def medians(values: Sequence[Mapping[str, float]]) -> list[tuple[int, float, float]]:
    """Return evaluations, seconds and loss of the marks that every pair has passed."""
    marks = [mark for mark in MARKS if all(f"loss_at_{mark}" in each for each in values)]

    def middle(name: str, mark: int) -> float:
        return statistics.median(each[f"{name}_at_{mark}"] for each in values)

    return [(mark, middle("seconds", mark), middle("loss", mark)) for mark in marks]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the curves of all ways as a PNG, medians over the pairs: against evaluations, and against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for way in dict.fromkeys(row.case["optimizer"] for row in rows):
        points = medians([row.values for row in rows if row.case["optimizer"] == way])
        for number, axis in enumerate(axes):
            axis.plot([point[number] for point in points], [point[2] for point in points], label=way, linewidth=1.4)
    for axis, name in zip(axes, ("evaluations", "seconds"), strict=True):
        axis.set(xlabel=name, yscale="log")
        axis.axhline(1.0, color="0.6", linewidth=0.8, linestyle="--")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("loss / that of 1000 steps of Adam 0.02")
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
