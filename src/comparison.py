"""The published record of the study beside ours."""

import csv
from collections import ChainMap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from src.figures import Run
from src.tables import cell, number, title, to_markdown

PUBLISHED = Path(__file__).resolve().parent / "assets" / "published.csv"
# What the published program did.
RECIPE: dict[str, Any] = {
    "layers": "e", "content_layer": "conv5_1", "alpha": 1.0, "beta": 0.01, "tv": 0.0, "backbone": "vgg19",
    "weights": "trained", "pool": "max", "init": "content", "optimizer": "adam", "lr": 0.001, "edge": 356,
    "fit": "squash", "steps": 6000, "space": "normalized", "clamp": False, "sizes": 1, "decay": 0.0,
}  # fmt: skip
# Each published number, and what of ours it is compared with.
COMPARED = {name: name for name in ("loss_at_0", "loss_at_2000", "loss_at_4000")}
COMPARED |= {"ssim": "ssim_published", "iterations_per_second": "it_per_s"}
CORRECTIONS = """\
In brackets: how far ours is from the published. `published.csv` has all digits. What the record really holds:

- The three losses of its Figure 2 are those at iteration 0, 2000 and 4000, not at 33, 67 and 100 % of 6000; the loss \
at 6000 was never printed.
- It holds 126 runs of 8 contents, not the 135 of 9 that the text plans; anna_hathaway is in none.
- Its SSIM is inflated by 0.03 to 0.19, since the data range was left out on the un-clamped image. It compares with \
our SSIM of the published convention, not with our SSIM.
- Its SSIM ranges from 0.30 to 0.77; the text says 0.4 to 0.77.
- Its GPU runs made 15.5 to 16.84 it/s, not 16.24 to 16.84 as the text says. Three ran on a CPU, at 0.33 to 0.35."""


def compare(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the published numbers beside ours, for runs of the published loss and pairs that have begun."""
    with PUBLISHED.open(newline="") as file:
        theirs = {(row["content"], row["style"]): row for row in csv.DictReader(file)}
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


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the chapter of report.md about these rows."""
    lines = []
    for row in rows:
        line = {name: cell(row[name]) for name in ("content", "style")}
        for name, our_name in COMPARED.items():
            line[f"published {title(name)}"] = number(row[f"published_{name}"], 4)
            line[f"our {title(our_name)}"] = number(row[f"our_{our_name}"], 4)
            if (difference := row[f"relative_difference_{name}"]) is not None:
                line[f"our {title(our_name)}"] += f" ({100 * difference:+.1f} %)"
        line |= {"our SSIM": number(row["our_ssim"], 4), "not as published": cell(row["not_as_published"] or "–")}
        lines.append(line)
    plainly = ""
    if random := sum(row["weights"] == "random" for row in rows):
        plainly = f"**Random weights, not ImageNet's, in {random} of {len(rows)} runs: not comparable.**\n\n"
    return f"## Beside the published record\n\n{plainly}{to_markdown(lines)}\n\n{CORRECTIONS}"
