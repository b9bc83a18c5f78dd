"""Figures of measured numbers: losses, SSIM of contents and styles, style against content, throughput.

From records and their curves alone. Each is a PNG; `None` where the runs have nothing to draw.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from src.curves import Curve
from src.labels import Run, groups
from src.records import RunRecord
from src.sheet import GAP, LINE, MARGIN, SOFT, TITLE, Sheet, shorten
from src.tables import plain_text

# Told apart by people who see colours otherwise, and by lightness.
COLOURS = ("#2f6fab", "#d9822b", "#3c9a68", "#b23a48", "#7a5ea8", "#8c6d46", "#c86fa3", "#6d6d6d")
PANEL, TALL, LEFT, LEGEND = 470, 330, 70, 230  # px
HEIGHT = TALL + 5 * LINE  # of a panel with what is written above and below it
TOP = MARGIN + LINE
NAMES = 200  # room for the names of the heat map, px
CELLS = 60  # rows and columns of the heat map at most
BOX = (62, 34)  # one of its cells, px


def losses(runs: Sequence[Run], curves: Mapping[Path, Curve]) -> bytes | None:
    """Return total and per-layer loss against steps and against seconds, all axes logarithmic."""
    drawn = [run for run in runs if run[0] in curves]
    if not drawn:
        return None
    parted = {name: [curves[folder] for folder, _ in some] for name, some in groups(drawn, len(COLOURS)).items()}
    taps = sorted({tap for curve in curves.values() for tap in curve.layers})[: len(COLOURS)]
    step = LEFT + PANEL
    sheet = Sheet(2 * step + LEGEND + MARGIN, 2 * HEIGHT + MARGIN)
    for at, (across, times) in enumerate((("step", _steps), ("seconds", _seconds))):
        axes = sheet.axes(LEFT + at * step, TOP, PANEL - LEFT, TALL, across, "total loss")
        for colour, some in zip(COLOURS, parted.values(), strict=False):
            _plot(axes, [(times(curve), curve.total) for curve in some], colour, len(drawn))
        _logarithmic(axes)
        axes = sheet.axes(LEFT + at * step, TOP + HEIGHT, PANEL - LEFT, TALL, across, "style loss of each layer")
        for colour, tap in zip(COLOURS, taps, strict=False):
            some = [curve for curve in curves.values() if tap in curve.layers]
            _plot(axes, [(times(curve), curve.layers[tap]) for curve in some], colour, len(drawn))
        _logarithmic(axes)
    if len(parted) > 1:
        _legend(sheet, 2 * step, TOP, parted)
    _legend(sheet, 2 * step, TOP + HEIGHT, taps)
    return sheet.png()


def trade_off(runs: Sequence[Run]) -> bytes | None:
    """Return style distance against SSIM, a point a run: a high SSIM says something only beside the other."""
    drawn = [run for run in runs if None not in (run[1].ssim, run[1].gram_distance, run[1].patch_distance)]
    if not drawn:
        return None
    parted = groups(drawn, len(COLOURS))
    step = LEFT + PANEL
    sheet = Sheet(2 * step + LEGEND + MARGIN, HEIGHT + MARGIN)
    for at, (name, title) in enumerate((("gram_distance", "Gram distance"), ("patch_distance", "patch distance"))):
        across, up = "SSIM to the content  (right: more of it is kept)", f"{title} to the style  (down: more of it)"
        axes = sheet.axes(LEFT + at * step, TOP, PANEL - LEFT, TALL, across, up)
        for colour, some in zip(COLOURS, parted.values(), strict=False):
            _points(axes, [(record.ssim, getattr(record, name)) for _, record in some], colour)
        if all(getattr(record, name) > 0 for _, record in drawn):
            axes.set_yscale("log")
            _plain_numbers(axes.yaxis)
    if len(parted) > 1:
        _legend(sheet, 2 * step, TOP, parted)
    return sheet.png()


def throughput(runs: Sequence[Run]) -> bytes | None:
    """Return iterations and megapixels times iterations per second against size, by device, a point a run."""
    by_device: dict[str, list[tuple[float, float]]] = {}
    for _, record in runs:
        if record.it_per_s and record.width and record.height:
            place = (record.width * record.height / 1e6, record.it_per_s)
            by_device.setdefault(plain_text(record.device or "a device not known"), []).append(place)
    if not by_device:
        return None
    step = LEFT + PANEL
    sheet = Sheet(2 * step + LEGEND + MARGIN, HEIGHT + MARGIN)
    for at, title in enumerate(("it/s", "Mpx · it/s")):
        axes = sheet.axes(LEFT + at * step, TOP, PANEL - LEFT, TALL, "size, megapixels", title)
        for number, places in enumerate(by_device.values()):
            speeds = [(size, speed * size if at else speed) for size, speed in places]
            _points(axes, speeds, COLOURS[min(number, len(COLOURS) - 1)])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(0.2)
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
    named = list(by_device)[: len(COLOURS)]
    _legend(sheet, 2 * step, TOP, [*named[:-1], "others"] if len(by_device) > len(COLOURS) else named)
    return sheet.png()


def ssim_means(records: Iterable[RunRecord]) -> dict[tuple[str, str], float]:
    """Return the mean SSIM of the finished runs of each pair, content first."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record.status == "finished" and record.ssim is not None:
            found.setdefault((record.content, record.style), []).append(record.ssim)
    return {pair: fmean(values) for pair, values in found.items()}


def heat_map(runs: Sequence[Run]) -> bytes | None:
    """Return SSIM, contents down, styles across, with the means of rows and columns and of all cells."""
    cells = ssim_means(record for _, record in runs)
    if not cells:
        return None
    contents, styles = (sorted({pair[at] for pair in cells})[:CELLS] for at in (0, 1))
    rows = [[cells.get((content, style), math.nan) for style in styles] for content in contents]
    right = [[_mean(row)] for row in rows]
    below = [[_mean(column) for column in zip(*rows, strict=True)]]
    whole = [[_mean(value for row in rows for value in row)]]
    wide, tall = len(styles) * BOX[0], len(contents) * BOX[1]
    left, top = MARGIN + NAMES, MARGIN + NAMES * 3 // 4
    sheet = Sheet(max(left + wide + GAP + BOX[0] + NAMES // 2, 2 * NAMES + PANEL), top + tall + GAP + BOX[1] + 3 * LINE)
    known = [value for row in rows for value in row if not math.isnan(value)]
    for values, x, y in (
        *((rows, left, top), (right, left + wide + GAP, top)),
        *((below, left, top + tall + GAP), (whole, left + wide + GAP, top + tall + GAP)),
    ):
        _boxes(sheet, values, x, y, (min(known), max(known)))
    for at, name in enumerate([*contents, "mean"]):
        gap, color = (GAP, SOFT) if at == len(contents) else (0, "black")
        text = shorten(plain_text(name).replace("_", " "), NAMES - 2 * GAP)
        sheet.write(left - GAP, top + (at + 0.5) * BOX[1] + gap, text, ha="right", va="center", color=color)
    for at, name in enumerate([*styles, "mean"]):
        gap, color = (GAP, SOFT) if at == len(styles) else (0, "black")
        text = shorten(plain_text(name).replace("_", " "), NAMES * 0.8)
        turned: dict[str, Any] = {"rotation": 45, "rotation_mode": "anchor"}
        sheet.write(left + (at + 0.5) * BOX[0] + gap, top - GAP, text, ha="left", color=color, **turned)
    note = "SSIM of finished runs; of several of a pair, their mean"
    whole_size = tuple(len({pair[at] for pair in cells}) for at in (0, 1))
    if (len(contents), len(styles)) != whole_size:
        note += f"; of {whole_size[0]} contents and {whole_size[1]} styles the first {CELLS}"
    sheet.write(left, sheet.height - LINE, note, ha="left", color=SOFT)
    return sheet.png()


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _boxes(sheet: Sheet, rows: Sequence[Sequence[float]], x: int, y: int, bounds: tuple[float, float]) -> None:
    """Put numbers on their colours."""
    axes = sheet.axes(x, y, len(rows[0]) * BOX[0], len(rows) * BOX[1])
    low, high = bounds if bounds[1] > bounds[0] else (bounds[0] - 0.1, bounds[1] + 0.1)
    axes.imshow(rows, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axes.set_axis_off()
    for down, row in enumerate(rows):
        for across, value in enumerate(row):
            if not math.isnan(value):
                colour = "black" if (value - low) / (high - low) > 0.55 else "white"
                place = (x + (across + 0.5) * BOX[0], y + (down + 0.5) * BOX[1])
                sheet.write(*place, f"{value:.2f}", color=colour, va="center")


def _steps(curve: Curve) -> Sequence[float]:
    return curve.steps


def _seconds(curve: Curve) -> Sequence[float]:
    return curve.seconds


def _plot(axes: Any, lines: Iterable[tuple[Sequence[float], Sequence[float]]], colour: str, count: int) -> None:
    """Draw lines in one go: a thousand of their own take long."""
    xs: list[float] = []
    ys: list[float] = []
    for across, up in lines:
        kept = [(x, y) for x, y in zip(across, up, strict=True) if not math.isnan(x) and y > 0]  # NaN is not
        xs += [*(x for x, _ in kept), math.nan]
        ys += [*(y for _, y in kept), math.nan]
    few = count <= 12
    axes.plot(xs, ys, color=colour, linewidth=1.1 if few else 0.6, alpha=0.9 if few else max(0.15, 6 / count))


def _points(axes: Any, places: Sequence[tuple[Any, Any]], colour: str) -> None:
    axes.scatter(*zip(*places, strict=True), s=20, color=colour, alpha=0.75, linewidths=0)


def _logarithmic(axes: Any) -> None:
    """Make both axes logarithmic; the start, at 0, keeps its place at the left."""
    xs = [float(x) for line in axes.get_lines() for x in line.get_xdata() if x > 0]
    if xs:
        axes.set_xscale("symlog", linthresh=min(xs))
        axes.set_xlim(0, max(xs) * 1.1)
        axes.set_yscale("log")
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)


def _plain_numbers(axis: Any) -> None:
    """Write 0.05 and 20 rather than powers of ten; between these too where there are few of them."""
    low, high = axis.get_view_interval()
    between = ("2", "5") if low <= 0 or high / low < 30 else ()
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in between else "")


def _legend(sheet: Sheet, x: int, y: int, names: Iterable[str]) -> None:
    for at, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        sheet.write(x, y + (at + 0.7) * LINE, "●", TITLE, ha="left", color=colour)
        sheet.write(x + 2 * GAP, y + (at + 0.7) * LINE, shorten(name, LEGEND - 2 * GAP), ha="left")
