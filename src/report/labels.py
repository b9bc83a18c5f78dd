"""What tells runs apart, in words and in order."""

from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from src.common.tables import plain_text
from src.tracking.record import Capture, RunRecord

Run = tuple[Path, RunRecord]
# How a row says what sets its run apart from the others; "{}" alone needs no further word.
WORDS = {
    "layers": "layers {}", "content_layer": "content {}", "loss": "{} loss", "alpha": "α = {:g}", "beta": "β = {:g}",
    "tv": "TV = {:g}", "backbone": "{}", "weights": "{} weights", "pool": "{} pooling", "optimizer": "{}",
    "lr": "lr {:g}", "init": "from {}", "edge": "{} px", "fit": "fit: {}", "steps": "{} steps", "seed": "seed {}",
    "precision": "precision {}",
}  # fmt: skip


def percent(capture: Capture, record: RunRecord) -> str:
    """Return how far along the run a capture is: "33 %"."""
    return f"{round(100 * capture.step / record.steps)} %" if record.steps else f"step {capture.step}"


def shared_places(places: Sequence[Sequence[str]]) -> list[str | None]:
    """Return for each position what all that reach it have there; None from where they differ, and for doublets."""
    columns = [{each[at] for each in places if at < len(each)} for at in range(max(map(len, places), default=0))]
    found = [column.pop() if len(column) == 1 else None for column in columns]
    return [place if found.count(place) == 1 and None not in found[:at] else None for at, place in enumerate(found)]


def varying(records: Iterable[RunRecord]) -> list[str]:
    """Return the settings, in words of the record, that are not the same in all runs."""
    records = list(records)
    return [name for name in WORDS if len({repr(getattr(each, name)) for each in records}) > 1]


def order(record: RunRecord) -> tuple[Any, ...]:
    """Return what runs are sorted by: their pair, then their settings, numbers by value."""
    return tuple(getattr(record, name) for name in ("content", "style", *WORDS))


def label_of(name: str, value: Any) -> str:
    """Return a setting in words: "layers a"."""
    if name == "weights":
        value = Path(value).name  # trained, random, or a path
    return plain_text(WORDS[name].format(value))


def label(record: RunRecord, names: Sequence[str]) -> list[str]:
    """Return the lines that set a run apart, by the settings named; an unfinished run says so."""
    lines = [label_of(name, getattr(record, name)) for name in names]
    return lines if record.status == "finished" else [*lines, f"({plain_text(record.status)})"]


def ratio(record: RunRecord) -> str:
    """Return content weight over style weight: "1/10"."""
    return f"{record.alpha:g}/{record.beta:g}"


def alike(runs: Sequence[Run], free: Container[str]) -> list[Run]:
    """Return the runs that are the same in all settings but the free ones: the largest such group, in order."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        settings = tuple(repr(getattr(run[1], name)) for name in WORDS if name not in free)
        groups.setdefault(settings, []).append(run)
    return max(groups.values(), key=len, default=[])


def groups(runs: Sequence[Run], most: int) -> dict[str, list[Run]]:
    """Return the runs by the first setting, of those a reader asks for first, that parts them into a few groups.

    Args:
        runs: in the order that the groups' first runs shall have.
        most: how many groups can be told apart; where every setting makes more of them, or none does, all is one.
    """
    numbered = sorted(runs, key=lambda run: order(run[1])[2:])
    for name in (*WORDS, "style", "content"):
        found: dict[str, list[Run]] = {}
        for run in runs if name in ("style", "content") else numbered:
            value = getattr(run[1], name)
            text = label_of(name, value) if name in WORDS else plain_text(value).replace("_", " ")
            found.setdefault(text, []).append(run)
        if 1 < len(found) <= most:
            return found
    return {"": list(runs)}
