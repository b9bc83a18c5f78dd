"""Page, figures and tables of runs: `python -m src.report [FOLDER ...] [--out DIR]`.

From the records alone: what a run measured is never computed again, and nothing is downloaded.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from src.common.errors import InputError
from src.common.files import write_atomically
from src.common.tables import exact, plain_text, setting, to_csv
from src.report import ablation, charts, comparison, curves, figures, summary
from src.report.gallery import dossiers
from src.report.gallery.page import Comparison, Figure, page
from src.report.labels import Run, alike, label_of, order, varying
from src.report.pictures import Pictures
from src.tracking import record as records

PAGE, TEXT = "index.html", "report.md"
SHEETS = 4  # of Figure 2 at most: nobody reads eighty
POINTS = 80  # of a curve: more cannot be seen
LOSSES = """\
Total loss by run, and the style loss of each layer, against steps and seconds; logarithmic axes. Losses compare only \
where images, size and objective are the same."""
SSIM = "Contents down, styles across, with the means of rows and columns. Lower may mean more style."
TRADE_OFF = """\
Distance to the style against SSIM to the content, a point a run: neither says anything without the other."""
SPEED = "Speed against size, by network and device, a point a run."
FIGURE_2 = "Content, style, and the picture on its way; below it the total loss, and at the end SSIM and it/s."


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
    return sorted(runs.values(), key=lambda run: order(run[1]))


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


def _draw(runs: Sequence[Run], lines: dict[Path, curves.Curve], out: Path, pictures: Pictures) -> list[Figure]:
    """Write the figures that there is something to draw for."""
    drawn: list[Figure] = []

    def put(name: str, head: str, caption: str, png: bytes | None) -> None:
        if png:
            write_atomically(out / name, png)
            drawn.append(Figure(name, head, caption))

    pictured = [run for run in runs if run[1].captures]
    names = varying(record for _, record in pictured)
    same = alike(pictured, ())
    if figures.is_grid(same):
        told = ", ".join(label_of(name, getattr(same[0][1], name)) for name in names)
        caption = f"Contents down, styles across{f'; runs of {told}' if told else ''}."
        put("grid.png", "Contents and styles", caption, figures.draw_grid(same, pictures))
    if chosen := ablation.choose(pictured):
        pairs = len(ablation.pairs(chosen))
        caption = (
            "What layer set and content weight over style weight (α/β) make of "
            f"{min(ablation.room(chosen), pairs)} of {pairs} pairs; {len(chosen)} of {len(pictured)} runs are alike in "
            "all else."
        )
        put("layers.png", "Layer sets and weights", caption, ablation.draw(chosen, pictures))
    put("loss.png", "Losses", LOSSES, charts.losses(runs, lines))
    put("ssim.png", "SSIM", SSIM, charts.heat_map(runs))
    put("trade_off.png", "Trade-off", TRADE_OFF, charts.trade_off(runs))
    put("throughput.png", "Throughput", SPEED, charts.throughput(runs))
    for start in range(0, len(pictured), figures.ROWS)[:SHEETS]:
        number, last = start // figures.ROWS + 1, min(start + figures.ROWS, len(pictured))
        part = f" Runs {start + 1} to {last} of {len(pictured)}." if len(pictured) > figures.ROWS else ""
        png = figures.draw(pictured[start:last], names, pictures)
        if start:
            put(f"figure2-{number}.png", f"Figure 2, sheet {number}", FIGURE_2 + part, png)
        else:
            put("figure2.png", "Figure 2", FIGURE_2 + part, png)
    return drawn


def write(runs: Sequence[Run], out: Path, title: str) -> list[Path]:
    """Write the report of runs into a folder; return the paths written, the page first."""
    warn_once = cache(warn)
    lines = {folder: curve for folder, record in runs if (curve := curves.read(folder, record, POINTS))}
    compared = comparison.compare(runs)
    rows = summary.run_rows(runs)
    files = {"runs.csv": to_csv(rows), "runs.md": exact(rows)}
    if compared:
        whole = comparison.whole(compared)
        files |= {"published.csv": to_csv(whole), "published.md": exact(whole)}
    drawn = _draw(runs, lines, out, Pictures(warn_once))
    states = [dossiers.state(folder, record) for folder, record in runs]
    ends = [": ".join(each for each in state.values() if each) for state in states]
    parts = [(figure.file, figure.head, figure.caption) for figure in drawn]
    files[TEXT] = summary.markdown(runs, out, ends, parts, compared)
    data = dossiers.compile_all(runs, lines, out, warn_once)
    beside = None
    if compared:
        by_pair = comparison.by_pair(compared, setting)
        beside = Comparison(
            comparison.plainly(compared), comparison.by_figure(compared), by_pair, comparison.CORRECTIONS
        )
    files[PAGE] = page(title, summary.counted(runs), data, drawn, list(files), beside)
    for name, text in files.items():  # the texts last: what they link to is there
        write_atomically(out / name, text.encode(errors="backslashreplace"))
    return [out / name for name in (PAGE, *(name for name in files if name != PAGE), *(each.file for each in drawn))]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when the report is written, 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.report", description="Write page, figures and tables of runs.")
    parser.add_argument("folders", nargs="*", type=Path, help="sweep or run folders (default: the newest sweep)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: FOLDER/report)")
    args = parser.parse_args(arguments)
    try:
        folders = args.folders or [newest_sweep(Path("multirun"))]
        print(*write(gather(folders), args.out or folders[0] / "report", title_of(folders)), sep="\n")
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    return 0


def title_of(folders: Sequence[Path]) -> str:
    """Return what the page is called: its folders, those of a day and a time by both."""
    names = []
    for folder in folders:
        parts = folder.resolve().parts
        names.append(" ".join(parts[-2:] if parts[-1][:1].isdigit() and parts[-2][:1].isdigit() else parts[-1:]))
    return plain_text(", ".join(names))


if __name__ == "__main__":
    sys.exit(main())
