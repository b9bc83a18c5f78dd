"""`report.md` and the table of runs: what the records say, in text."""

import os
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from src.common.tables import cell, number, title, to_markdown
from src.report import comparison
from src.report.labels import Run, percent, shared_places

CAPTURED = ("step", "loss_total", "loss_content", "loss_style", "ssim")
# The columns of report.md: what a run was, its captures, what came of it. `OFTEN_SAME`: a column where it is not.
WHAT: tuple[str, ...] = ("status", "content", "style", "layers", "content_layer", "loss", "alpha", "beta", "backbone")
WHAT += ("weights", "optimizer", "step", "steps", "edge", "init")
OFTEN_SAME = ("lr", "pool", "tv", "fit", "seed", "precision", "device")
RESULT: tuple[str, ...] = ("loss_decay", "ssim", "ssim_published", "gradient_ssim", "patch_distance", "gram_distance")
RESULT += ("it_per_s", "seconds", "peak_mib")
NOTES = """\
Losses are totals of each run's own objective: they compare only where images, size and every setting of the objective \
are the same. Loss decay is the initial loss over the last. SSIM is of the last picture, clamped, at data range 1; the \
published convention leaves both out. Gradient SSIM is that of the luminance's edges; patch and Gram distance are to \
the style (0 is alike), the latter under another network than the one optimised. A high SSIM alone may mean a weak \
style. `runs.csv` and `runs.md` hold all digits."""


def run_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row of all that the record has of each run, but for its configuration; the same columns in each."""
    most = max(len(record.captures) for _, record in runs)
    rows = []
    for folder, record in runs:
        row = {name: value for name, value in vars(record).items() if name not in ("captures", "versions", "config")}
        row["style_layers"] = " ".join(record.style_layers)
        for at in range(most):
            capture = record.captures[at] if at < len(record.captures) else None
            row |= {f"capture_{at + 1}_{name}": getattr(capture, name, None) for name in CAPTURED}
        rows.append({**row, "folder": str(folder)})
    return rows


def _runs_table(runs: Sequence[Run], out: Path) -> str:
    places = shared_places([[percent(each, record) for each in record.captures] for _, record in runs])
    values = {name: {getattr(record, name) for _, record in runs} - {None} for name in OFTEN_SAME}
    different = [name for name in OFTEN_SAME if len(values[name]) > 1]
    rows = []
    for folder, record in runs:
        row = {title(name): cell(getattr(record, name)) for name in (*WHAT, *different)}
        row["initial loss"] = number(record.initial_loss, 4)
        for at, place in enumerate(places):
            capture = record.captures[at] if at < len(record.captures) else None
            where = f" ({percent(capture, record)})" if capture and not place else ""
            row[f"loss, {place or f'capture {at + 1}'}"] = number(capture.loss_total if capture else None, 4) + where
        row |= {title(name): number(getattr(record, name), 4) for name in RESULT}
        rows.append({**row, "folder": _link(folder, out)})
    same = [f"{name} {cell(*values[name])}" for name in OFTEN_SAME if len(values[name]) == 1]
    return f"{to_markdown(rows)}\n\nThe same in all runs: {', '.join(same) or 'nothing else'}."


def _link(folder: Path, out: Path) -> str:
    relative = os.path.relpath(folder.resolve(), out.resolve())
    return f"[{cell(folder.resolve().name)}]({urllib.parse.quote(os.fsencode(relative))})"


def counted(runs: Sequence[Run]) -> str:
    """Return how many runs there are, and how they stand."""
    counts = sorted(Counter(record.status for _, record in runs).items(), key=lambda each: (-each[1], each[0]))
    return f"{len(runs)} runs: {', '.join(f'{count} {status}' for status, count in counts)}."


def _throughput(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return the speeds of each device at each size, for reading."""
    found: dict[tuple[str, int, int, str], list[float]] = {}
    for _, record in runs:
        if record.it_per_s and record.width and record.height:
            key = (record.device or "–", record.width, record.height, record.backbone)
            found.setdefault(key, []).append(record.it_per_s)
    return [
        {
            "device": cell(device), "size": f"{width} × {height}", "backbone": cell(backbone),
            "runs": str(len(speeds)), "it/s, median": number(median(speeds)), "from": number(min(speeds)),
            "to": number(max(speeds)), "Mpx · it/s, median": number(median(speeds) * width * height / 1e6),
        }
        for (device, width, height, backbone), speeds in sorted(found.items())
    ]  # fmt: skip


def markdown(
    runs: Sequence[Run],
    out: Path,
    states: Sequence[str],
    figures: Sequence[tuple[str, str, str]],
    compared: Sequence[dict[str, Any]],
) -> str:
    """Return report.md: all runs, what did not finish and why, the figures, and the published record beside ours.

    Args:
        runs: in the order of the report.
        out: its folder.
        states: how each run stands, in words.
        figures: file, head and caption of each.
        compared: as `comparison.compare` returns it.
    """
    parts = [f"# Report\n\n{cell(counted(runs))}", f"## Runs\n\n{_runs_table(runs, out)}\n\n{NOTES}"]
    ends = zip(runs, states, strict=True)
    lines = [f"- {_link(folder, out)}: {cell(end)}" for (folder, each), end in ends if each.status != "finished"]
    if lines:
        parts.append("## Not finished\n\n" + "\n".join(lines))
    parts += [f"## {head}\n\n![{head}]({file})\n\n{caption}" for file, head, caption in figures]
    if speeds := _throughput(runs):
        parts.append(f"## Speeds\n\n{to_markdown(speeds)}")
    if compared:
        parts.append(comparison.markdown(compared))
    return "\n\n".join(parts) + "\n"
