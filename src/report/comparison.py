"""The published record of the study beside ours."""

import csv
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from src.common.tables import cell, number, title, to_markdown
from src.report.labels import Run

PUBLISHED = Path(__file__).resolve().parents[1] / "assets" / "published.csv"
# What the published program did.
RECIPE: dict[str, Any] = {
    "layers": "e", "content_layer": "conv5_1", "alpha": 1.0, "beta": 0.01, "tv": 0.0, "backbone": "vgg19",
    "weights": "trained", "pool": "max", "init": "content", "optimizer": "adam", "lr": 0.001, "edge": 356,
    "fit": "squash", "steps": 6000, "space": "normalized", "clamp": False, "sizes": 1, "decay": 0.0,
}  # fmt: skip
# Each published number, and what of ours it is compared with.
COMPARED = {name: name for name in ("loss_at_0", "loss_at_2000", "loss_at_4000")}
COMPARED |= {"ssim": "ssim_published", "iterations_per_second": "it_per_s"}
CORRECTIONS = (
    "The three losses of its Figure 2 are those at iteration 0, 2000 and 4000, not at 33, 67 and 100 % of 6000; the "
    "loss at 6000 was never printed.",
    "It holds 126 runs of 8 contents, not the 135 of 9 that the text plans; anna_hathaway is in none, and starry_night "
    "and its crop are never both there.",
    "Where Figure 2 says Starry Night it shows starry_night_crop for beach, drawing and houses.",
    "Faces are said to have lower SSIM; no face is among the contents of the record.",
    "The text asks for average pooling in one paragraph and maximum in the next; the program takes the maximum.",
    "What the text calls conv1_1 to conv4_1 is read after the ReLU, since torchvision's ReLUs work in place; conv5_1 "
    "before it.",
    "By equations 1 to 4 as printed, alpha = 1 and beta = 0.01 leave almost no style: these weights belong to the "
    "program's scaling, means of squares and Grams that are not normalised.",
    "The program starts from the content image, not from a random one, and takes 6000 steps, whatever the loss.",
    "Its SSIM is inflated by 0.03 to 0.19, since the data range was left out on the un-clamped image. It compares with "
    "our SSIM of the published convention, not with our SSIM.",
    "Its SSIM ranges from 0.30 to 0.77; the text says 0.4 to 0.77.",
    "A high SSIM alone may mean a weak style: it falls as the style grows stronger.",
    "Its GPU runs made 15.5 to 16.84 it/s, not 16.24 to 16.84 as the text says. Three ran on a CPU, at 0.33 to 0.35.",
)


def compare(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the published numbers beside ours, for runs of the published loss and pairs that have begun."""
    theirs = _published()
    rows = []
    for folder, record in runs:
        published = theirs.get((record.content, record.style))
        if record.loss != "published" or record.initial_loss is None or published is None:
            continue
        ours: dict[str, Any] = {f"loss_at_{each.step}": each.loss_total for each in record.captures}
        ours |= vars(record) | {"loss_at_0": record.initial_loss}
        row: dict[str, Any] = {"content": record.content, "style": record.style}
        for name, our_name in COMPARED.items():
            value, our_value = float(published[name]), ours.get(our_name)
            row |= {f"published_{name}": value, f"our_{our_name}": our_value}
            row[f"relative_difference_{name}"] = None if our_value is None else (our_value - value) / value
        groups = [record.config.get(group) or {} for group in ("canvas", "schedule", "optimizer")]
        given = ChainMap(ours, *groups)  # what the record says of itself first
        departures = [f"{name} {given[name]}" for name, value in RECIPE.items() if given.get(name, value) != value]
        row |= {"our_ssim": record.ssim, "weights": record.weights, "not_as_published": "; ".join(departures)}
        rows.append({**row, "status": record.status, "folder": str(folder)})
    return rows


def whole(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return compared rows, and below them the published ones that no run of ours stands beside."""
    ours = {(row["content"], row["style"]) for row in rows}
    rest = []
    for pair, published in _published().items():
        if pair not in ours:
            numbers = {f"published_{name}": float(published[name]) for name in COMPARED}
            rest.append(dict.fromkeys(rows[0]) | {"content": pair[0], "style": pair[1]} | numbers)
    return [*rows, *rest]


def by_figure(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return for each published number how far ours are from it, for reading."""
    lines = []
    for name, our_name in COMPARED.items():
        known = [row[f"relative_difference_{name}"] for row in rows]
        known = [value for value in known if value is not None]
        spread = (median(known), min(known), max(known)) if known else (None, None, None)
        line = {"published": title(name), "ours": title(our_name), "runs": str(len(known))}
        heads = ("median difference", "from", "to")
        lines.append(line | {head: _percent(value) for head, value in zip(heads, spread, strict=True)})
    return lines


def by_pair(rows: Sequence[dict[str, Any]], write: Callable[[object], str]) -> list[dict[str, str]]:
    """Return the compared rows for reading; `write` writes what comes from outside."""
    lines = []
    for row in rows:
        line = {name: write(row[name]) for name in ("content", "style")}
        for name, our_name in COMPARED.items():
            line[f"published {title(name)}"] = number(row[f"published_{name}"], 4)
            line[f"our {title(our_name)}"] = number(row[f"our_{our_name}"], 4)
            if (difference := row[f"relative_difference_{name}"]) is not None:
                line[f"our {title(our_name)}"] += f" ({_percent(difference)})"
        line |= {"our SSIM": number(row["our_ssim"], 4), "not as published": write(row["not_as_published"] or "–")}
        lines.append(line)
    return lines


def plainly(rows: Sequence[dict[str, Any]]) -> str:
    """Return what has to be known before anything is compared; nothing where there is no such thing."""
    random = sum(row["weights"] == "random" for row in rows)
    return f"Random weights, not ImageNet's, in {random} of {len(rows)} runs: not comparable." if random else ""


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the chapter of report.md about these rows."""
    parts = ["## Beside the published record"]
    parts += [f"**{warning}**" for warning in [plainly(rows)] if warning]
    parts += [to_markdown(by_figure(rows)), to_markdown(by_pair(rows, cell))]
    pairs = len({(row["content"], row["style"]) for row in rows})
    parts.append(
        f"In brackets: how far ours is from the published. {pairs} of its {len(_published())} rows have a run of ours "
        "beside them; `published.csv` has all, with all digits. What the record really holds:"
    )
    return "\n\n".join([*parts, "\n".join(f"- {sentence}" for sentence in CORRECTIONS)])


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f} %"


def _published() -> dict[tuple[str, str], dict[str, str]]:
    with PUBLISHED.open(newline="") as file:
        return {(row["content"], row["style"]): row for row in csv.DictReader(file)}
