"""Figures of measured numbers: losses, SSIM of contents and styles, style against content, throughput.

From records and their curves alone. Each is a PNG; `None` where the runs have nothing to draw.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from src.common.tables import plain_text
from src.report.curves import Curve
from src.report.labels import Run, groups
from src.report.sheet import DARK, GAP, LINE, MARGIN, SOFT, TITLE, Sheet, mark, shorten, width_of
from src.tracking.record import RunRecord

# Told apart by people who see colours otherwise, and by lightness.
COLOURS = ("#2f6fab", "#d9822b", "#3c9a68", "#b23a48", "#7a5ea8", "#8c6d46", "#c86fa3", "#6d6d6d")
PANEL, TALL, LEFT, BETWEEN, LEGEND = 480, 340, 62, 84, 230  # px; the legend at most
HEIGHT = TALL + 5 * LINE  # of a panel with what is written above and below it
TOP = MARGIN + LINE
NAMES = 200  # room for a name of the heat map at most, px
CELLS = 60  # rows and columns of the heat map at most
BOX = (72, 40)  # one of its cells, px


def losses(runs: Sequence[Run], curves: Mapping[Path, Curve]) -> bytes | None:
    """Return total and per-layer loss against steps and against seconds, all axes logarithmic."""
    drawn = [run for run in runs if run[0] in curves]
    if not drawn:
        return None
    parted = {name: [curves[folder] for folder, _ in some] for name, some in groups(drawn, len(COLOURS)).items()}
    taps = sorted({tap for curve in curves.values() for tap in curve.layers})[: len(COLOURS)]
    layers = {tap: [curve for curve in curves.values() if tap in curve.layers] for tap in taps}
    sheet = _panels(2 if taps else 1, [*parted, *taps])
    for row in range(2 if taps else 1):
        for column, (across, times) in enumerate((("step", _steps), ("seconds", _seconds))):
            axes = _panel(sheet, row, column, across, "style loss of each layer" if row else "total loss")
            for colour, (name, some) in zip(COLOURS, (layers if row else parted).items(), strict=False):
                lines = [(times(curve), curve.layers[name] if row else curve.total) for curve in some]
                _plot(axes, lines, colour, len(drawn))
            _logarithmic(axes)
        _legend(sheet, row, layers if row else parted)
    return sheet.png()


def trade_off(runs: Sequence[Run]) -> bytes | None:
    """Return style distance against SSIM, a point a run: a high SSIM says something only beside the other."""
    drawn = [run for run in runs if None not in (run[1].ssim, run[1].gram_distance, run[1].patch_distance)]
    if not drawn:
        return None
    parted = groups(drawn, len(COLOURS))
    sheet = _panels(1, parted)
    for column, (name, title) in enumerate((("gram_distance", "Gram distance"), ("patch_distance", "patch distance"))):
        across, up = "SSIM to the content  (right: more of it is kept)", f"{title} to the style  (down: more of it)"
        axes = _panel(sheet, 0, column, across, up)
        for colour, some in zip(COLOURS, parted.values(), strict=False):
            _points(axes, [(record.ssim, getattr(record, name)) for _, record in some], colour)
        values = [getattr(record, name) for _, record in drawn]
        if min(values) > 0:
            axes.set_yscale("log")
            mark(axes.yaxis, min(values), max(values))
    _legend(sheet, 0, parted)
    return sheet.png()


def throughput(runs: Sequence[Run]) -> bytes | None:
    """Return iterations and megapixels times iterations per second against size, by device, a point a run."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _, record in runs:
        if record.it_per_s and record.width and record.height:
            name = plain_text(f"{record.backbone}, {record.device or 'a device not known'}")
            found.setdefault(name, []).append((record.width * record.height / 1e6, record.it_per_s))
    if not found:
        return None
    parted, rest = list(found.items())[: len(COLOURS)], list(found.items())[len(COLOURS) :]
    if rest:
        others = [place for _, places in (parted.pop(), *rest) for place in places]
        parted.append(("others", others))
    sheet = _panels(1, [name for name, _ in parted])
    for column, title in enumerate(("it/s", "Mpx · it/s")):
        axes = _panel(sheet, 0, column, "size, megapixels", title)
        drawn = []
        for colour, (_, places) in zip(COLOURS, parted, strict=False):
            speeds = [(size, speed * size if column else speed) for size, speed in places]
            _points(axes, speeds, colour)
            drawn += speeds
        for axis, values in zip((axes.xaxis, axes.yaxis), zip(*drawn, strict=True), strict=True):
            low, high = min(values) / 1.3, max(values) * 1.3
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            (axes.set_xlim if axis is axes.xaxis else axes.set_ylim)(low, high)
            mark(axis, low, high)
    _legend(sheet, 0, dict(parted))
    return sheet.png()


def _panels(rows: int, names: Iterable[str]) -> Sheet:
    """Return a sheet with room for rows of two panels, and beside them for a legend of these names."""
    legend = min(LEGEND, max((width_of(name) for name in names), default=0)) + 4 * GAP
    return Sheet(round(LEFT + 2 * PANEL + BETWEEN + legend + MARGIN), rows * HEIGHT)


def _panel(sheet: Sheet, row: int, column: int, across: str, up: str) -> Any:
    return sheet.axes(LEFT + column * (PANEL + BETWEEN), TOP + row * HEIGHT, PANEL, TALL, across, up)


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
    note = "SSIM of finished runs; of several of a pair, their mean"
    size = tuple(len({pair[at] for pair in cells}) for at in (0, 1))
    if (len(contents), len(styles)) != size:
        note += f"; of {size[0]} contents and {size[1]} styles the first {CELLS}"
    down, across = (
        [shorten(plain_text(name).replace("_", " "), NAMES) for name in names] for names in (contents, styles)
    )
    wide, tall = len(styles) * BOX[0], len(contents) * BOX[1]
    slanted = math.ceil(max(map(width_of, across)) * math.sin(math.pi / 4))
    left = MARGIN + math.ceil(max(map(width_of, (*down, "mean")))) + GAP
    top = MARGIN + slanted + LINE
    edge = left + wide + GAP + BOX[0] + max(0, slanted - BOX[0]) + MARGIN  # the last name leans over it
    sheet = Sheet(max(edge, left + math.ceil(width_of(note)) + MARGIN), top + tall + GAP + BOX[1] + 2 * LINE + MARGIN)
    known = [value for row in rows for value in row if not math.isnan(value)]
    for values, x, y in (
        *((rows, left, top), (right, left + wide + GAP, top)),
        *((below, left, top + tall + GAP), (whole, left + wide + GAP, top + tall + GAP)),
    ):
        _boxes(sheet, values, x, y, (min(known), max(known)))
    for at, name in enumerate([*down, "mean"]):
        gap, color = (GAP, SOFT) if at == len(down) else (0, DARK)
        sheet.write(left - GAP, top + (at + 0.5) * BOX[1] + gap, name, ha="right", va="center", color=color)
    for at, name in enumerate([*across, "mean"]):
        gap, color = (GAP, SOFT) if at == len(across) else (0, DARK)
        turned: dict[str, Any] = {"rotation": 45, "rotation_mode": "anchor"}
        sheet.write(left + (at + 0.5) * BOX[0] + gap, top - GAP, name, ha="left", color=color, **turned)
    sheet.write(left, sheet.height - MARGIN, note, ha="left", color=SOFT)
    return sheet.png()


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _boxes(sheet: Sheet, rows: Sequence[Sequence[float]], x: int, y: int, bounds: tuple[float, float]) -> None:
    """Put numbers on their colours."""
    axes = sheet.axes(x, y, len(rows[0]) * BOX[0], len(rows) * BOX[1])
    low, high = bounds if bounds[1] > bounds[0] else (bounds[0] - 0.1, bounds[1] + 0.1)
    axes.imshow(rows, cmap="viridis", vmin=low, vmax=high, aspect="auto")
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
    axes.plot(xs, ys, color=colour, linewidth=1.3 if count <= 30 else 0.7, alpha=min(0.9, max(0.15, 14 / count)))


def _points(axes: Any, places: Sequence[tuple[Any, Any]], colour: str) -> None:
    axes.scatter(*zip(*places, strict=True), s=26, color=colour, alpha=0.75, linewidths=0)


def _logarithmic(axes: Any) -> None:
    """Make both axes logarithmic; the start, at 0, keeps its place at the left."""
    xs, ys = ([float(x) for line in axes.get_lines() for x in data(line) if x > 0] for data in (_across, _up))
    if xs:
        axes.set_xscale("symlog", linthresh=min(xs), linscale=0.4)
        axes.set_xlim(0, max(xs) * 1.1)
        axes.set_yscale("log")
        mark(axes.xaxis, min(xs), max(xs), zero=True)
        mark(axes.yaxis, min(ys), max(ys))


def _across(line: Any) -> Any:
    return line.get_xdata()


def _up(line: Any) -> Any:
    return line.get_ydata()


def _legend(sheet: Sheet, row: int, names: Sequence[str] | Mapping[str, Any]) -> None:
    """Say whose colours a row of panels has; nothing where there is but one, without a name."""
    x, y = LEFT + 2 * PANEL + BETWEEN + 2 * GAP, TOP + row * HEIGHT
    for at, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        if name:
            sheet.write(x, y + (at + 0.7) * LINE, "●", TITLE, ha="left", color=colour)
            sheet.write(x + 2 * GAP, y + (at + 0.7) * LINE, shorten(name, LEGEND), ha="left")
