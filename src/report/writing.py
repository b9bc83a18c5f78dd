"""Writing a report: figures, tables, `report.md`, and the page."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from src.common.files import write_atomically
from src.common.tables import exact_markdown, plain_text, to_csv
from src.report import charts, clips, comparison, curves, figures, summary
from src.report.gallery import run_data
from src.report.gallery.page import Figure, page
from src.report.options import PAIR
from src.report.runs import Run, left_out, means_by, values_of, varying, warn
from src.report.thumbnails import Thumbnails

PAGE, TEXT = "index.html", "report.md"
FIGURE_FILES = re.compile(r"(clips|grid|sweep|figure2(-\d+)?)\.jpg|(loss|ssim|trade_off|throughput)\.png")
SHEETS = 4  # of captures at most
POINTS = 80  # of a curve at most: more are not seen
LOSSES = (
    "The total loss by run, and every term of the objective, against steps and seconds on logarithmic axes. Losses "
    "compare only where images, size and objective are the same."
)
SSIM = (
    "SSIM to the content, averaged over the finished runs of each pair; contents down, styles across. The last column "
    "is the mean over all styles, the last row that over all contents. A lower SSIM may mean more style."
)
COMPARED = ("published.csv", "published.md")
TRADE_OFF = "Distance to the style against SSIM to the content, a dot a run: neither says anything without the other."
SPEED = (
    "Speed against the size of the result, by network, device, precision and number of pairs in the batch, a dot a "
    "run. Both speeds are averages over all sizes of a run's schedule; in a batch they are those of each pair."
)
FIGURE_2 = (
    "Content, style, and the captures of each run, as in the study's Figure 2; below them the total loss, and at the "
    "end SSIM and it/s."
)


def report_folder(folders: Sequence[Path]) -> Path:
    """Return FOLDER/report, or for several folders report-DIGEST in their common parent, named after all of them."""
    if len(folders) == 1:
        return folders[0] / "report"
    paths = sorted(str(folder.resolve()) for folder in folders)
    digest = hashlib.sha256(os.fsencode("\n".join(paths))).hexdigest()[:8]
    return Path(os.path.commonpath([Path(path).parent for path in paths])) / f"report-{digest}"


def write(runs: Sequence[Run], out: Path, folders: Sequence[Path]) -> list[Path]:
    """Write the report of runs from `folders` into the folder `out`; return the files written, the page first.

    Raises:
        InputError: the folder cannot be written to.
    """
    warn_once = cache(warn)
    curve_of = {run.folder: curve for run in runs if (curve := curves.read(run, POINTS, warn_once))}
    images = Thumbnails(out, runs, warn_once)
    films = clips.gather_clips(folders, warn_once)
    drawn = [*_draw_clips(films, warn_once), *_draw(runs, curve_of, images)]
    old = _files_of(out)
    for figure in drawn:
        write_atomically(out / figure.file, figure.data)
    rows, compared = summary.exact_rows(runs), comparison.compare(runs)
    files = {"runs.csv": to_csv(rows)}
    if compared:
        every = comparison.with_unmatched(compared)
        files |= dict(zip(COMPARED, (to_csv(every), exact_markdown(every)), strict=True))
    means = [*summary.means(runs), *summary.trials(runs)]
    tables, terms = [*summary.last_losses(runs), *summary.speeds(runs)], summary.glossary()
    if films:
        tables.insert(0, clips.table(films))
    published = comparison.tables(compared) if compared else []
    head = summary.headline(runs)
    sources = ["/".join(folder.resolve().parts[-2:]) for folder in folders]  # of sweeps: DAY/TIME
    files[TEXT] = summary.markdown(head, runs, out, drawn, [*means, *tables, *published, terms])
    files[PAGE] = page(
        run_data.page_data(runs, curve_of, out, images),
        title=head,
        summary=f"{plain_text(', '.join(sources))}. {summary.count(runs)}",
        findings=summary.findings(runs),
        clips=clips.players(films, out),
        means=means,
        figures=drawn,
        tables=tables,
        published=published,
        glossary=[terms],
        files=list(files),
    )
    for name, text in files.items():  # after the figures and images that they link to
        write_atomically(out / name, text.encode(errors="backslashreplace"))
    for name in old.difference(files, (figure.file for figure in drawn)):
        (out / name).unlink(missing_ok=True)
    return [out / name for name in (PAGE, *(name for name in files if name != PAGE), *(each.file for each in drawn))]


def _files_of(out: Path) -> set[str]:
    """Return the files that the report in a folder may hold and a new one may lack; none without a report."""
    try:
        text = (out / TEXT).read_text(errors="replace")
    except OSError:
        return set()
    figures = re.findall(r"^!\[[^\]]*\]\((.+)\)$", text, re.MULTILINE)
    return {*COMPARED, *(name for name in figures if FIGURE_FILES.fullmatch(name))}


def _draw_clips(films: Sequence[clips.StylisedClip], warn_once: Callable[[str], object]) -> list[Figure]:
    """Return the contact sheet of clips, if there are any."""
    data = clips.contact_sheet(films, warn_once)
    some = f" Of {len(films)} clips the first {clips.ROWS}." if len(films) > clips.ROWS else ""
    return [Figure("clips.jpg", "Clips", clips.SHEET + some, data)] if data else []


def _draw(runs: Sequence[Run], curve_of: Mapping[Path, curves.Curve], images: Thumbnails) -> list[Figure]:
    """Return the figures that the runs have something to draw for."""
    pictured = [run for run in runs if run.record.captures]
    names = varying(runs)
    judge = charts.usual_judge(runs)
    styles = f" {summary.STYLES_NOTE}" if len(values_of("style", runs)) > 1 else ""
    judged = f" Gram distance only of runs judged by {judge}." if judge else ""
    made = [
        ("grid.jpg", "Contents and styles", *(figures.grid(pictured, images) or (None, ""))),
        ("sweep.jpg", "Swept options", *(figures.sweep(pictured, images) or (None, ""))),
        ("loss.png", "Losses", charts.losses(runs, curve_of), LOSSES),
        ("ssim.png", "SSIM", charts.heat_map(runs), SSIM + left_out(means_by(runs, PAIR, "ssim"), charts.CELLS)),
        ("trade_off.png", "Trade-off", charts.trade_off(runs), TRADE_OFF + styles + judged),
        ("throughput.png", "Throughput", charts.throughput(runs), SPEED),
    ]
    for at, start in enumerate(range(0, len(pictured), figures.ROWS)[:SHEETS], start=1):
        some = pictured[start : start + figures.ROWS]
        part = f" Runs {start + 1} to {start + len(some)} of {len(pictured)}." if len(pictured) > len(some) else ""
        name, head = (f"figure2-{at}.jpg", f"Captures, sheet {at}") if start else ("figure2.jpg", "Captures")
        made.append((name, head, figures.figure_2(some, names, images), FIGURE_2 + part))
    return [Figure(name, head, plain_text(caption), data) for name, head, data, caption in made if data]
