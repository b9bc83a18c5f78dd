"""Tables and figures of runs: `python -m src.report [FOLDER ...] [--out DIR]`.

From the records alone: what a run measured is never computed again, and nothing is downloaded.
"""

import argparse
import csv
import html
import io
import os
import re
import sys
import urllib.parse
from collections import ChainMap, Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from src import figures, records
from src.errors import InputError
from src.figures import Run, number, percent, plain_text
from src.files import write_atomically

PUBLISHED = Path(__file__).resolve().parent / "assets" / "published.csv"
CAPTURED = ("step", "loss_total", "loss_content", "loss_style", "ssim")
# The columns of report.md: what a run was, its captures, what came of it. `OFTEN_SAME`: a column where it is not.
WHAT: tuple[str, ...] = ("status", "content", "style", "layers", "content_layer", "loss", "alpha", "beta", "backbone")
WHAT += ("weights", "optimizer", "step", "steps", "edge", "init")
OFTEN_SAME = ("lr", "pool", "tv", "fit", "seed", "precision", "device")
RESULT: tuple[str, ...] = ("loss_decay", "ssim", "ssim_published", "gradient_ssim", "patch_distance", "gram_distance")
RESULT += ("it_per_s", "seconds", "peak_mib")
# Where a column's name is not the record's.
TITLES = {
    "loss": "loss form", "alpha": "α", "beta": "β", "step": "steps taken", "ssim": "SSIM", "it_per_s": "it/s",
    "ssim_published": "SSIM (published convention)", "gradient_ssim": "gradient SSIM",
    "gram_distance": "Gram distance", "peak_mib": "peak MiB", "iterations_per_second": "it/s",
}  # fmt: skip
# What the published program did.
RECIPE: dict[str, Any] = {
    "layers": "e", "content_layer": "conv5_1", "alpha": 1.0, "beta": 0.01, "tv": 0.0, "backbone": "vgg19",
    "weights": "trained", "pool": "max", "init": "content", "optimizer": "adam", "lr": 0.001, "edge": 356,
    "fit": "squash", "steps": 6000, "space": "normalized", "clamp": False, "sizes": 1, "decay": 0.0,
}  # fmt: skip
# Each published number, and what of ours it is compared with.
COMPARED = {name: name for name in ("loss_at_0", "loss_at_2000", "loss_at_4000")}
COMPARED |= {"ssim": "ssim_published", "iterations_per_second": "it_per_s"}
NOTES = """\
Losses are totals of each run's own objective: they compare only where images, size and every setting of the objective \
are the same. Loss decay is the initial loss over the last. SSIM is of the last picture, clamped, at data range 1; the \
published convention leaves both out. Gradient SSIM is that of the luminance's edges; patch and Gram distance are to \
the style (0 is alike), the latter under another network than the one optimised. A high SSIM alone may mean a weak \
style. `runs.csv` holds all digits."""
CORRECTIONS = """\
In brackets: how far ours is from the published. `published.csv` has all digits. What the record really holds:

- The three losses of its Figure 2 are those at iteration 0, 2000 and 4000, not at 33, 67 and 100 % of 6000; the loss \
at 6000 was never printed.
- It holds 126 runs of 8 contents, not the 135 of 9 that the text plans; anna_hathaway is in none.
- Its SSIM is inflated by 0.03 to 0.19, since the data range was left out on the un-clamped image. It compares with \
our SSIM of the published convention, not with our SSIM.
- Its SSIM ranges from 0.30 to 0.77; the text says 0.4 to 0.77.
- Its GPU runs made 15.5 to 16.84 it/s, not 16.24 to 16.84 as the text says. Three ran on a CPU, at 0.33 to 0.35."""


def warn(message: str) -> None:
    """Print one line on stderr."""
    print(f"warning: {plain_text(message)}", file=sys.stderr)


def gather(folders: Iterable[Path]) -> list[Run]:
    """Return every run below the folders, once, ordered by pair and then by what varies.

    A damaged record is left out with a warning.

    Raises:
        InputError: a folder is not there, or holds no record that can be read.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
        found = list(records.scan(folder, damaged=warn))
        runs |= {run.resolve(): (run, record) for run, record in found}
        if not found:
            raise InputError(f"{folder} holds no run record ({records.FILE}) that can be read")
    return sorted(runs.values(), key=lambda run: figures.order(run[1]))


def newest_sweep(root: Path) -> Path:
    """Return the folder of the sweep whose record changed last.

    Raises:
        InputError: there is no record below `root`.
    """
    found = list(root.rglob(records.FILE))
    if not found:
        raise InputError(f"no run record below {root}/; make a run, or give a folder")
    run = max(found, key=lambda path: path.stat().st_mtime_ns).parent
    return run if run.parent == root else run.parent


def runs_csv(runs: Sequence[Run]) -> str:
    """Return the table of all runs, every number to its last digit."""
    most = max(len(record.captures) for _, record in runs)
    rows = []
    for folder, record in runs:
        row = {name: value for name, value in vars(record).items() if name not in ("captures", "versions", "config")}
        row["style_layers"] = " ".join(record.style_layers)
        for at in range(most):
            capture = record.captures[at] if at < len(record.captures) else None
            row |= {f"capture_{at + 1}_{name}": getattr(capture, name, None) for name in CAPTURED}
        rows.append({**row, "folder": str(folder)})
    return _csv(rows)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # floats by repr: what is read back is the number of the record
    return text.getvalue()


def cell(value: object) -> str:
    """Return text or a setting for Markdown: shown as it is, whatever it holds."""
    text = "–" if value is None else f"{value:g}" if isinstance(value, float) else plain_text(value)
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", html.escape(text, quote=False))


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def _table(rows: Sequence[dict[str, str]]) -> str:
    head = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    return "\n".join([*head, *(f"| {' | '.join(row.values())} |" for row in rows)])


def _runs_table(runs: Sequence[Run], out: Path) -> str:
    places = figures.shared_places([[percent(each, record) for each in record.captures] for _, record in runs])
    values = {name: {getattr(record, name) for _, record in runs} - {None} for name in OFTEN_SAME}
    different = [name for name in OFTEN_SAME if len(values[name]) > 1]
    rows = []
    for folder, record in runs:
        row = {_title(name): cell(getattr(record, name)) for name in (*WHAT, *different)}
        row["initial loss"] = number(record.initial_loss, 4)
        for at, place in enumerate(places):
            capture = record.captures[at] if at < len(record.captures) else None
            where = f" ({percent(capture, record)})" if capture and not place else ""
            row[f"loss, {place or f'capture {at + 1}'}"] = number(capture.loss_total if capture else None, 4) + where
        row |= {_title(name): number(getattr(record, name), 4) for name in RESULT}
        rows.append({**row, "folder": _link(folder, out)})
    same = [f"{name} {cell(*values[name])}" for name in OFTEN_SAME if len(values[name]) == 1]
    return f"{_table(rows)}\n\nThe same in all runs: {', '.join(same) or 'nothing else'}."


def _link(folder: Path, out: Path) -> str:
    relative = os.path.relpath(folder.resolve(), out.resolve())
    return f"[{cell(folder.resolve().name)}]({urllib.parse.quote(os.fsencode(relative))})"


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


def _comparison(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        line = {name: cell(row[name]) for name in ("content", "style")}
        for name, our_name in COMPARED.items():
            line[f"published {_title(name)}"] = number(row[f"published_{name}"], 4)
            line[f"our {_title(our_name)}"] = number(row[f"our_{our_name}"], 4)
            if (difference := row[f"relative_difference_{name}"]) is not None:
                line[f"our {_title(our_name)}"] += f" ({100 * difference:+.1f} %)"
        line |= {"our SSIM": number(row["our_ssim"], 4), "not as published": cell(row["not_as_published"] or "–")}
        lines.append(line)
    plainly = ""
    if random := sum(row["weights"] == "random" for row in rows):
        plainly = f"**Random weights, not ImageNet's, in {random} of {len(rows)} runs: not comparable.**\n\n"
    return f"## Beside the published record\n\n{plainly}{_table(lines)}\n\n{CORRECTIONS}"


def markdown(runs: Sequence[Run], out: Path, drawn: Sequence[str], compared: Sequence[dict[str, Any]]) -> str:
    """Return report.md: all runs, what did not finish and why, the figures, and the published record beside ours."""
    counts = sorted(Counter(record.status for _, record in runs).items(), key=lambda each: (-each[1], each[0]))
    counted = ", ".join(f"{count} {cell(status)}" for status, count in counts)
    parts = [f"# Report\n\n{len(runs)} runs: {counted}.", f"## Runs\n\n{_runs_table(runs, out)}\n\n{NOTES}"]
    if unfinished := [(folder, record) for folder, record in runs if record.status != "finished"]:
        ends = [cell(f"{each.status}: {each.error}" if each.error else each.status) for _, each in unfinished]
        lines = [f"- {_link(folder, out)}: {end}" for (folder, _), end in zip(unfinished, ends, strict=True)]
        parts.append("## Not finished\n\n" + "\n".join(lines))
    if drawn:
        caption = "Content, style, and the picture on its way; below it the total loss, and at the end SSIM and it/s."
        parts.append("\n\n".join(["## Figure 2", *(f"![Figure 2]({name})" for name in drawn), caption]))
    if compared:
        parts.append(_comparison(compared))
    return "\n\n".join(parts) + "\n"


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """Write the report of runs into a folder; return the paths written."""
    compared = compare(runs)
    files = {"runs.csv": runs_csv(runs), **({"published.csv": _csv(compared)} if compared else {})}
    pictured = [run for run in runs if run[1].captures]
    starts = range(0, len(pictured), figures.ROWS)
    drawn = ["figure2.png" if not start else f"figure2-{start // figures.ROWS + 1}.png" for start in starts]
    files["report.md"] = markdown(runs, out, drawn, compared)
    gallery, names = figures.Gallery(warn), figures.varying(record for _, record in pictured)
    for name, start in zip(drawn, starts, strict=True):
        write_atomically(out / name, figures.draw(pictured[start : start + figures.ROWS], names, gallery))
    for name, text in files.items():  # the report last: what it links to is there
        write_atomically(out / name, text.encode(errors="backslashreplace"))
    return [out / name for name in (*files, *drawn)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when the report is written, 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.report", description="Write tables and figures of runs.")
    parser.add_argument("folders", nargs="*", type=Path, help="sweep or run folders (default: the newest sweep)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: FOLDER/report)")
    args = parser.parse_args(arguments)
    try:
        folders = args.folders or [newest_sweep(Path("multirun"))]
        print(*write(gather(folders), args.out or folders[0] / "report"), sep="\n")
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
