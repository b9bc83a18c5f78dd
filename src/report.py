"""Tables and figures of runs: `python -m src.report [FOLDER ...] [--out DIR]`.

From the records alone: what a run measured is never computed again, and nothing is downloaded.
"""

import argparse
import os
import sys
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from src import comparison, figures, records
from src.errors import InputError
from src.figures import Run, percent
from src.files import write_atomically
from src.tables import cell, number, plain_text, title, to_csv, to_markdown

GRID = "grid.png"
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
style. `runs.csv` holds all digits."""


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
    return to_csv(rows)


def _runs_table(runs: Sequence[Run], out: Path) -> str:
    places = figures.shared_places([[percent(each, record) for each in record.captures] for _, record in runs])
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


def markdown(
    runs: Sequence[Run], out: Path, figure2: Sequence[str], grid: Sequence[str], compared: Sequence[dict[str, Any]]
) -> str:
    """Return report.md: all runs, what did not finish and why, the figures, and the published record beside ours."""
    counts = sorted(Counter(record.status for _, record in runs).items(), key=lambda each: (-each[1], each[0]))
    counted = ", ".join(f"{count} {cell(status)}" for status, count in counts)
    parts = [f"# Report\n\n{len(runs)} runs: {counted}.", f"## Runs\n\n{_runs_table(runs, out)}\n\n{NOTES}"]
    if unfinished := [(folder, record) for folder, record in runs if record.status != "finished"]:
        ends = [cell(f"{each.status}: {each.error}" if each.error else each.status) for _, each in unfinished]
        lines = [f"- {_link(folder, out)}: {end}" for (folder, _), end in zip(unfinished, ends, strict=True)]
        parts.append("## Not finished\n\n" + "\n".join(lines))
    parts += [f"## Contents and styles\n\n![contents down, styles across]({name})" for name in grid]
    if figure2:
        caption = "Content, style, and the picture on its way; below it the total loss, and at the end SSIM and it/s."
        parts.append("\n\n".join(["## Figure 2", *(f"![Figure 2]({name})" for name in figure2), caption]))
    if compared:
        parts.append(comparison.markdown(compared))
    return "\n\n".join(parts) + "\n"


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """Write the report of runs into a folder; return the paths written."""
    compared = comparison.compare(runs)
    files = {"runs.csv": runs_csv(runs), **({"published.csv": to_csv(compared)} if compared else {})}
    pictured = [run for run in runs if run[1].captures]
    starts = range(0, len(pictured), figures.ROWS)
    figure2 = ["figure2.png" if not start else f"figure2-{start // figures.ROWS + 1}.png" for start in starts]
    grid = [GRID] if figures.is_grid(pictured) else []
    files["report.md"] = markdown(runs, out, figure2, grid, compared)
    gallery, names = figures.Gallery(warn), figures.varying(record for _, record in pictured)
    for name, start in zip(figure2, starts, strict=True):
        write_atomically(out / name, figures.draw(pictured[start : start + figures.ROWS], names, gallery))
    for name in grid:
        write_atomically(out / name, figures.draw_grid(pictured, gallery))
    for name, text in files.items():  # the report last: what it links to is there
        write_atomically(out / name, text.encode(errors="backslashreplace"))
    return [out / name for name in (*files, *figure2, *grid)]


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
