"""Charts of measured numbers: losses, SSIM by content and style, distance to the style against SSIM, throughput.

Each is a PNG, or None where the runs have nothing to draw.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from src.common.tables import plain_text
from src.report.curves import Curve
from src.report.runs import Run, grouped, varying
from src.report.sheet import GAP, LINE, MARGIN, SOFT, TITLE, Sheet, mark, shorten, width_of

# Distinguishable by colour-blind readers, and in grey.
COLOURS = ("#2f6fab", "#d9822b", "#3c9a68", "#b23a48", "#7a5ea8", "#8c6d46", "#c86fa3", "#6d6d6d")
PANEL, TALL, LEFT, BETWEEN, LEGEND = 480, 340, 62, 84, 230  # px; the legend at most
HEIGHT = TALL + 5 * LINE  # of a panel with its labels
TOP = MARGIN + LINE
NAMES = 200  # room for a name of the heat map at most, px
CELLS = 60  # rows and columns of the heat map at most
BOX = (72, 40)  # one of its cells, px
NAMED = 24  # dots of the trade-off that have room for their names


def losses(runs: Sequence[Run], curves: Mapping[Path, Curve]) -> bytes | None:
    """Return the losses against steps and seconds on logarithmic axes: the total by run, the terms, the layers."""
    drawn = [run for run in runs if run.folder in curves]
    if not drawn:
        return None
    names = dict.fromkeys(name for curve in curves.values() for name in curve.terms)
    totals = {
        label: [(curves[run.folder], curves[run.folder].total) for run in some]
        for label, some in grouped(drawn, len(COLOURS)).items()
    }
    terms, layers = (
        {name: [(each, each.terms[name]) for each in curves.values() if name in each.terms] for name in some}
        for some in ([name for name in names if "/" not in name], [name for name in names if "/" in name])
    )
    titles = ("total loss, weighted", "loss by term, unweighted", "loss by layer, unweighted")
    rows = [(title, lines) for title, lines in zip(titles, (totals, terms, layers), strict=True) if lines]
    sheet = _panels(len(rows), [name for _, lines in rows for name in lines])
    for row, (title, lines) in enumerate(rows):
        for column, across in enumerate(("step", "seconds")):
            axes = _panel(sheet, row, column, across, title)
            for at, some in enumerate(lines.values()):
                series = [(each.seconds if column else each.steps, values) for each, values in some]
                _plot(axes, series, at, len(drawn))
            _logarithmic(axes)
        _legend(sheet, row, list(lines))
    return sheet.png()


def trade_off(runs: Sequence[Run]) -> bytes | None:
    """Return distance to the style against SSIM, a dot a run, named by pair and options where there is room.

    Above the patch distance; below the Gram distance of the runs with the most frequent judge.
    """
    judge = usual_judge(runs)
    judged = [run for run in runs if judge and run.record.judge == judge]
    dots = {
        "patch distance": _dots(runs, "patch_distance"),
        f"Gram distance (judge: {judge})": _dots(judged, "gram_distance"),
    }
    dots = {title: places for title, places in dots.items() if places}
    if not dots:
        return None
    parted = grouped([run for run in runs if any(run in some for some in dots.values())], len(COLOURS))
    sheet = _panels(len(dots), parted)
    for row, (title, places) in enumerate(dots.items()):
        up = f"{title} to the style  (lower: more style)"
        axes = _panel(sheet, row, 0, "SSIM to the content  (right: more content)", up, wide=True)
        for colour, some in zip(COLOURS, parted.values(), strict=False):
            _points(axes, [places[run] for run in some if run in places], colour)
        if (lowest := min(distance for _, distance in places.values())) > 0:
            axes.set_yscale("log")
            mark(axes.yaxis, lowest, max(distance for _, distance in places.values()))
        if len(places) <= NAMED:
            _name_dots(axes, places, varying(runs))
        _legend(sheet, row, list(parted))
    return sheet.png()


def _dots(runs: Iterable[Run], measure: str) -> dict[Run, tuple[Any, Any]]:
    """Return (SSIM, distance) of the runs that have both."""
    both = {run: (run.record.ssim, getattr(run.record, measure)) for run in runs}
    return {run: dot for run, dot in both.items() if None not in dot}


def _name_dots(axes: Any, places: Mapping[Run, tuple[Any, Any]], names: Sequence[str]) -> None:
    """Write pair and options beside each dot, on the side where there is more room."""
    middle = fmean(axes.get_xlim())
    for run, place in places.items():
        text = ", ".join([" × ".join(run.pair).replace("_", " "), *run.label(names)])
        side = {"xytext": (-4, 3), "ha": "right"} if place[0] > middle else {"xytext": (4, 3), "ha": "left"}
        axes.annotate(text, place, textcoords="offset points", fontsize=5, color=SOFT, parse_math=False, **side)


def usual_judge(runs: Iterable[Run]) -> str | None:
    """Return the network that judged the Gram distance of most runs."""
    judges = Counter(run.record.judge for run in runs if run.record.judge and run.record.gram_distance is not None)
    return judges.most_common(1)[0][0] if judges else None


def speed_group(run: Run) -> str:
    """Return the label of runs whose speeds compare: network, device, precision, and the batch where there is one."""
    record = run.record
    group = f"{record.options.backbone.name}, {record.device or 'unknown device'}, {record.precision}"
    return plain_text(f"{group}, batch of {record.batch}" if record.batch > 1 else group)


def throughput(runs: Sequence[Run]) -> bytes | None:
    """Return it/s and megapixels times it/s against size, a dot a run, coloured by `speed_group`."""
    found: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        if (speed := run.record.it_per_s) and run.record.width and run.record.height:
            size = run.record.width * run.record.height / 1e6
            found.setdefault(speed_group(run), []).append((size, speed))
    if not found:
        return None
    parted = dict(list(found.items())[: len(COLOURS)])
    if rest := list(found)[len(COLOURS) :]:
        rest.insert(0, list(parted)[-1])
        del parted[rest[0]]
        parted["others"] = [place for name in rest for place in found[name]]
    sheet = _panels(1, parted)
    for column, title in enumerate(("it/s", "Mpx · it/s")):
        axes = _panel(sheet, 0, column, "size, megapixels", title)
        drawn = []
        for colour, places in zip(COLOURS, parted.values(), strict=False):
            speeds = [(size, speed * size if column else speed) for size, speed in places]
            _points(axes, speeds, colour)
            drawn += speeds
        for axis, values in zip((axes.xaxis, axes.yaxis), zip(*drawn, strict=True), strict=True):
            low, high = min(values) / 1.3, max(values) * 1.3
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            (axes.set_xlim if axis is axes.xaxis else axes.set_ylim)(low, high)
            mark(axis, low, high)
    _legend(sheet, 0, list(parted))
    return sheet.png()


def ssim_means(runs: Iterable[Run]) -> dict[tuple[str, str], float]:
    """Return the mean SSIM of the finished runs of each (content, style)."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if run.finished and run.record.ssim is not None:
            found.setdefault(run.pair, []).append(run.record.ssim)
    return {pair: fmean(values) for pair, values in found.items()}


def heat_map(runs: Sequence[Run]) -> bytes | None:
    """Return SSIM, contents down, styles across, with the means of rows, columns and all."""
    import numpy as np

    cells = ssim_means(runs)
    if not cells:
        return None
    contents, styles = (sorted({pair[at] for pair in cells})[:CELLS] for at in (0, 1))
    known = np.array([[cells.get((content, style), math.nan) for style in styles] for content in contents])
    values = np.ma.masked_invalid(np.full((len(contents) + 1, len(styles) + 1), math.nan))
    values[:-1, :-1] = np.ma.masked_invalid(known)
    values[:-1, -1], values[-1, :-1], values[-1, -1] = (values[:-1, :-1].mean(axis) for axis in (1, 0, None))
    down, across = (
        [*(shorten(name.replace("_", " "), NAMES) for name in names), "mean"] for names in (contents, styles)
    )
    note = "SSIM of finished runs; the mean of several runs of a pair"
    if any(len({pair[at] for pair in cells}) > CELLS for at in (0, 1)):
        note += f"; the first {CELLS} contents and styles"
    slanted = math.ceil(max(map(width_of, across)) * math.sin(math.pi / 4))
    left, top = MARGIN + math.ceil(max(map(width_of, down))) + GAP, MARGIN + slanted + LINE
    wide, tall = len(across) * BOX[0], len(down) * BOX[1]
    sheet = Sheet(max(left + wide + slanted, left + math.ceil(width_of(note))) + MARGIN, top + tall + 2 * LINE + MARGIN)
    axes = sheet.axes(left, top, wide, tall)
    low, high = np.nanmin(known), np.nanmax(known)
    axes.imshow(values, cmap="viridis", vmin=low, vmax=high if high > low else low + 0.1, aspect="auto")
    axes.axhline(len(contents) - 0.5, color="white", linewidth=4)
    axes.axvline(len(styles) - 0.5, color="white", linewidth=4)
    axes.set_axis_off()
    for row, name in enumerate(down):
        y = top + (row + 0.5) * BOX[1]
        sheet.write(left - GAP, y, name, ha="right", va="center")
        for column, value in enumerate(values[row]):
            if value is not np.ma.masked:
                colour = "black" if value > low + 0.55 * (high - low) else "white"
                sheet.write(left + (column + 0.5) * BOX[0], y, f"{value:.2f}", color=colour, va="center")
    for column, name in enumerate(across):
        turned: dict[str, Any] = {"rotation": 45, "rotation_mode": "anchor"}
        sheet.write(left + (column + 0.5) * BOX[0], top - GAP, name, ha="left", **turned)
    sheet.write(left, sheet.height - MARGIN, note, ha="left", color=SOFT)
    return sheet.png()


def _panels(rows: int, names: Iterable[str]) -> Sheet:
    """Return a sheet with room for rows of two panels, and to their right for a legend of these names."""
    legend = min(LEGEND, max((width_of(name) for name in names), default=0)) + 4 * GAP
    return Sheet(round(LEFT + 2 * PANEL + BETWEEN + legend + MARGIN), rows * HEIGHT)


def _panel(sheet: Sheet, row: int, column: int, across: str, up: str, *, wide: bool = False) -> Any:
    width = 2 * PANEL + BETWEEN if wide else PANEL
    return sheet.axes(LEFT + column * (PANEL + BETWEEN), TOP + row * HEIGHT, width, TALL, across, up)


def _plot(axes: Any, lines: Iterable[tuple[Sequence[float], Sequence[float]]], at: int, count: int) -> None:
    """Draw lines of one colour, dashed from the ninth on, as a single line with gaps: a thousand lines are slow."""
    xs: list[float] = []
    ys: list[float] = []
    for across, up in lines:
        kept = [(x, y) for x, y in zip(across, up, strict=True) if not math.isnan(x) and y > 0]
        xs += [*(x for x, _ in kept), math.nan]
        ys += [*(y for _, y in kept), math.nan]
    style = {"color": COLOURS[at % len(COLOURS)], "linestyle": "--" if at >= len(COLOURS) else "-"}
    axes.plot(xs, ys, linewidth=1.3 if count <= 30 else 0.7, alpha=min(0.9, max(0.15, 14 / count)), **style)


def _points(axes: Any, places: Sequence[tuple[Any, Any]], colour: str) -> None:
    if not places:
        return
    axes.scatter(*zip(*places, strict=True), s=26, color=colour, alpha=0.75, linewidths=0)


def _logarithmic(axes: Any) -> None:
    """Make both axes logarithmic; step 0 has its place at the left."""
    data = [line.get_data() for line in axes.get_lines()]
    xs, ys = ([float(value) for each in data for value in each[axis] if value > 0] for axis in (0, 1))
    if xs:
        axes.set_xscale("symlog", linthresh=min(xs), linscale=0.4)
        axes.set_xlim(0, max(xs) * 1.1)
        axes.set_yscale("log")
        mark(axes.xaxis, min(xs), max(xs), zero=True)
        mark(axes.yaxis, min(ys), max(ys))


def _legend(sheet: Sheet, row: int, names: Sequence[str]) -> None:
    """Name the colours of a row of panels; a single group without a name needs none."""
    x, y = LEFT + 2 * PANEL + BETWEEN + 2 * GAP, TOP + row * HEIGHT
    for at, name in enumerate(names[: TALL // LINE]):
        if name:
            sign = "○" if at >= len(COLOURS) else "●"
            sheet.write(x, y + (at + 0.7) * LINE, sign, TITLE, ha="left", color=COLOURS[at % len(COLOURS)])
            sheet.write(x + 2 * GAP, y + (at + 0.7) * LINE, shorten(name, LEGEND), ha="left")
