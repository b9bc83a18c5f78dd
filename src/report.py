"""Tables and figures of runs: `python -m src.report [FOLDER ...] [--out DIR]`.

From the records alone: what a run measured is never computed again, and nothing is downloaded.
"""

import argparse
import csv
import io
import os
import re
import sys
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from src import figures, records
from src.errors import InputError
from src.figures import Run, number, percent, plain_text
from src.files import write_atomically
from src.records import RunRecord

PUBLISHED = Path(__file__).resolve().parent / "assets" / "published.csv"
# The columns of runs.csv, by their names in the record; the captures and the folder follow.
FIELDS = tuple(
    "status error content style layers style_layers content_layer loss alpha beta tv backbone weights pool optimizer "
    "lr steps step stopped edge fit width height init seed precision initial_loss loss_decay ssim ssim_published "
    "evaluations it_per_s mpx_it_per_s seconds peak_mib device threads commit".split()
)
CAPTURED = ("step", "loss_total", "loss_content", "loss_style", "ssim")
# The columns of report.md: what a run was, (the captures,) what came of it. What `OFTEN_SAME` names has a column
# where it is not the same in all runs, and a line below the table otherwise.
WHAT = {
    "status": "status", "content": "content", "style": "style", "layers": "layers", "content_layer": "content layer",
    "loss": "loss form", "alpha": "α", "beta": "β", "backbone": "backbone", "weights": "weights",
    "optimizer": "optimizer", "step": "steps taken", "steps": "of", "edge": "edge", "init": "init",
}  # fmt: skip
OFTEN_SAME = ("lr", "pool", "tv", "fit", "seed", "precision", "device", "commit")
RESULT = {
    "loss_decay": "loss decay", "ssim": "SSIM", "ssim_published": "SSIM (published convention)", "it_per_s": "it/s",
    "seconds": "seconds", "peak_mib": "peak MiB",
}  # fmt: skip
# What the published program did.
RECIPE: dict[str, Any] = {
    "layers": "e", "content_layer": "conv5_1", "alpha": 1.0, "beta": 0.01, "tv": 0.0, "backbone": "vgg19",
    "weights": "imagenet", "pool": "max", "init": "content", "optimizer": "adam", "lr": 0.001, "edge": 356,
    "fit": "squash", "steps": 6000, "space": "normalized", "clamp": False,
}  # fmt: skip
# Each published number, and what of ours it is compared with.
COMPARED = {
    "loss_at_0": "loss_at_0", "loss_at_2000": "loss_at_2000", "loss_at_4000": "loss_at_4000",
    "ssim": "ssim_published", "iterations_per_second": "it_per_s",
}  # fmt: skip
NOTES = """\
Losses are totals of each run's own objective. They compare only between runs of the same images, loss form, α, β, \
layers, backbone and size. Loss decay is the initial loss over the last. SSIM compares the last picture, clamped, with \
the content image at data range 1; the published convention leaves the data range out, on the un-clamped picture. A \
high SSIM alone may mean a weak style. `runs.csv` holds all digits, and more columns."""
CORRECTIONS = """\
What the published record really holds:

- The three losses of its Figure 2 are those at iteration 0, 2000 and 4000, not at 33, 67 and 100 % of 6000; the loss \
at 6000 was never printed.
- It holds 126 runs of 8 contents, not the 135 of 9 that the text plans; anna_hathaway is in none.
- Its SSIM is inflated by 0.03 to 0.19, since the data range was left out on the un-clamped image. It compares with \
our SSIM of the published convention, not with our SSIM.
- Its SSIM ranges from 0.30 to 0.77; the text says 0.4 to 0.77.
- Its GPU runs made 15.5 to 16.84 it/s; the text says 16.24 to 16.84. Three runs, on a CPU, made 0.33 to 0.35."""


def warn(message: str) -> None:
    """Print one line on stderr."""
    print(f"warning: {plain_text(message)}", file=sys.stderr)


def gather(folders: Iterable[Path]) -> list[Run]:
    """Return every run below the folders, once; a damaged record is left out with a warning.

    Raises:
        InputError: a folder is not there, or holds no record that can be read.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
        found = False
        for path in sorted(folder.rglob(records.FILE)):
            try:
                record = records.read(path.parent)
            except InputError as error:
                warn(f"left out: {error}")
                continue
            if record:
                found = True
                runs.setdefault(path.parent.resolve(), (path.parent, record))
        if not found:
            raise InputError(f"{folder} holds no run record ({records.FILE}) that can be read")
    return list(runs.values())


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
        row = {name: getattr(record, name) for name in FIELDS} | {"style_layers": " ".join(record.style_layers)}
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
    """Return a value for a Markdown table: a number rounded, text shown as it is, whatever it holds."""
    if value is None or isinstance(value, float):
        return number(value, 4)
    text = plain_text(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)


def _table(rows: Sequence[dict[str, str]]) -> str:
    head = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    return "\n".join([*head, *(f"| {' | '.join(row.values())} |" for row in rows)])


def _runs_table(runs: Sequence[Run], out: Path) -> str:
    places = figures.shared_places([[percent(each, record) for each in record.captures] for _, record in runs])
    different = [name for name in OFTEN_SAME if len({getattr(record, name) for _, record in runs}) > 1]
    rows = []
    for folder, record in runs:
        row = {title: cell(getattr(record, name)) for name, title in WHAT.items()}
        row |= {name: cell(getattr(record, name)) for name in different}
        row["initial loss"] = cell(record.initial_loss)
        for at, place in enumerate(places):
            capture = record.captures[at] if at < len(record.captures) else None
            where = f" ({percent(capture, record)})" if capture and not place else ""
            row[f"loss, {place or f'capture {at + 1}'}"] = cell(capture and capture.loss_total) + where
        row |= {title: cell(getattr(record, name)) for name, title in RESULT.items()}
        rows.append({**row, "folder": _link(folder, out)})
    same = [f"{name} {cell(getattr(runs[0][1], name))}" for name in OFTEN_SAME if name not in different]
    return _table(rows) + f"\n\nThe same in all runs: {', '.join(same)}." * bool(same)


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
        given = ours | (record.config.get("canvas") or {})
        departures = [f"{name} {given[name]}" for name, value in RECIPE.items() if given.get(name, value) != value]
        row |= {"our_ssim": record.ssim, "weights": record.weights, "not_as_published": "; ".join(departures)}
        rows.append({**row, "status": record.status, "folder": str(folder)})
    return rows


def _comparison(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        line = {name: cell(row[name]) for name in ("content", "style")}
        for name, our_name in COMPARED.items():
            difference = row[f"relative_difference_{name}"]
            line[f"{cell(name.replace('_', ' '))}, published"] = cell(row[f"published_{name}"])
            title = f"our {our_name.replace('_', ' ')}" if name != "ssim" else "our SSIM (published convention)"
            line[title] = cell(row[f"our_{our_name}"]) + ("" if difference is None else f" ({100 * difference:+.1f} %)")
        line |= {"our SSIM": cell(row["our_ssim"]), "not as published": cell(row["not_as_published"] or "–")}
        lines.append(line)
    random = sum(row["weights"] == "random" for row in rows)
    plainly = (
        f"**{random} of these {len(rows)} runs used random weights, not ImageNet's: their values are not comparable "
        "with the published ones.**\n\n"
    ) * bool(random)
    about = "In brackets: ours less published, relative to published. `published.csv` holds all digits."
    return f"## Beside the published record\n\n{plainly}{_table(lines)}\n\n{about}\n\n{CORRECTIONS}"


def markdown(runs: Sequence[Run], out: Path, drawn: Sequence[str], compared: Sequence[dict[str, Any]]) -> str:
    """Return report.md: all runs, what did not finish and why, the figures, and the published record beside ours."""
    counts = Counter(record.status for _, record in runs)
    counted = ", ".join(f"{count} {cell(status)}" for status, count in counts.most_common())
    parts = [f"# Report\n\n{len(runs)} runs: {counted}.", f"## Runs\n\n{_runs_table(runs, out)}\n\n{NOTES}"]
    if unfinished := [
        f"- {cell(record.content)}, {cell(record.style)} ({_link(folder, out)}): {cell(record.status)}"
        + f": {cell(record.error)}" * bool(record.error)
        for folder, record in runs
        if record.status != "finished"
    ]:
        parts.append("## Not finished\n\n" + "\n".join(unfinished))
    if drawn:
        caption = "Content, style, and the picture on its way; below it the total loss, and at the end SSIM and it/s."
        parts.append("\n\n".join(["## Figure 2", *(f"![Figure 2]({name})" for name in drawn), caption]))
    return "\n\n".join([*parts, *([_comparison(compared)] if compared else [])]) + "\n"


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """Write the report of runs into a folder; return the paths written."""
    compared = compare(runs)
    files = {"runs.csv": runs_csv(runs)} | ({"published.csv": _csv(compared)} if compared else {})
    pictured = [run for run in runs if run[1].captures]
    starts = range(0, len(pictured), figures.ROWS)
    drawn = ["figure2.png" if not start else f"figure2-{start // figures.ROWS + 1}.png" for start in starts]
    files["report.md"] = markdown(runs, out, drawn, compared)
    gallery = figures.Gallery(warn)
    names = figures.varying(record for _, record in pictured)
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
        for path in write(gather(folders), args.out or folders[0] / "report"):
            print(path)
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
