"""Charts of measured numbers: losses, SSIM by content and style, distance to the style against SSIM, throughput.

Each is a PNG, or None where the runs have nothing to draw.
"""

import io
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from src.common.tables import plain_text
from src.report.curves import Curve
from src.report.options import PAIR
from src.report.runs import Run, grouped, means_by, shown_value, swept
from src.report.sheet import CARD, DARK, SOFT, shorten

# Distinguishable by colour-blind readers, and in grey.
COLOURS = ("#2f6fab", "#d9822b", "#3c9a68", "#b23a48", "#7a5ea8", "#8c6d46", "#c86fa3", "#6d6d6d")
DPI = 150
STYLE: Any = {
    "font.family": ["DejaVu Sans"], "font.size": 7.5, "axes.titlesize": 7.5, "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5, "text.color": DARK, "axes.labelcolor": DARK, "axes.edgecolor": SOFT, "xtick.color": SOFT,
    "ytick.color": SOFT, "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": CARD, "axes.axisbelow": True, "legend.frameon": False, "savefig.dpi": DPI,
    "figure.dpi": DPI,  # names of dots are measured before they are drawn
    "text.parse_math": False, "text.usetex": False,  # a name may hold dollar signs
}  # fmt: skip
LEGEND = (16, 330)  # names in a legend at most, and room for each, px
NAMES = 200  # room for a name of the heat map, px
CELLS = 60  # rows and columns of the heat map at most
BOX = (72, 40)  # one of its cells, px
DOT: dict[str, Any] = {"s": 26, "alpha": 0.75, "linewidths": 0}
NAMED = 24  # dots of the trade-off that have room for their names
# Where a name may stand: its offset from the dot, points, and its alignment there.
PLACES = (
    *(((5, 0), "left", "center"), ((-5, 0), "right", "center"), ((0, 4), "center", "bottom")),
    *(((0, -4), "center", "top"), ((3, 4), "left", "bottom"), ((-3, 4), "right", "bottom")),
    *(((3, -4), "left", "top"), ((-3, -4), "right", "top")),
)


def _png(draw: Callable[..., Figure | None]) -> Callable[..., bytes | None]:
    """Decorator: return the function's figure as PNG, in the report's style and cropped to its contents, or None."""

    @wraps(draw)
    def drawn(*args: Any) -> bytes | None:
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
            figure, data = draw(*args), io.BytesIO()
            if figure is None:
                return None
            figure.savefig(data, format="png", bbox_inches="tight", pil_kwargs={"compress_level": 4})
            return data.getvalue()

    return drawn


@_png
def losses(runs: Sequence[Run], curves: Mapping[Path, Curve]) -> Figure | None:
    """Draw the losses against steps and seconds on logarithmic axes: the total by run, the terms, the layers."""
    drawn = [run for run in runs if run.folder in curves]
    if not drawn:
        return None
    names = dict.fromkeys(name for curve in curves.values() for name in curve.terms)
    terms: dict[str, list[tuple[Curve, list[float]]]] = {
        name: [(each, each.terms[name]) for each in curves.values() if name in each.terms] for name in names
    }
    totals = {
        label: [(curves[run.folder], curves[run.folder].total) for run in some]
        for label, some in grouped(drawn, len(COLOURS)).items()
    }
    panels = {
        "total loss, weighted": totals,
        "loss by term, unweighted": {name: some for name, some in terms.items() if "/" not in name},
        "loss by layer, unweighted": {name: some for name, some in terms.items() if "/" in name},
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    figure, rows = _panels(len(panels), 2)
    for row, (title, lines) in zip(rows, panels.items(), strict=True):
        for axes, across in zip(row, ("step", "seconds"), strict=True):
            axes.set(title=title, xlabel="optimiser steps" if across == "step" else "wall time, s")
            for at, (name, some) in enumerate(lines.items()):
                series = [(each.seconds if across == "seconds" else each.steps, values) for each, values in some]
                _plot(axes, series, at, name, len(drawn))
            if math.isfinite(axes.xaxis.get_minpos()):
                logarithmic(axes, "x", zero=True)
                logarithmic(axes, "y")
        _legend(row[-1])
    return figure


def _plot(axes: Any, lines: Iterable[tuple[Sequence[float], Sequence[float]]], at: int, name: str, count: int) -> None:
    """Draw lines of one colour, dashed from the ninth on, as a single line with gaps: a thousand lines are slow."""
    xs: list[float] = []
    ys: list[float] = []
    for across, up in lines:
        kept = [(x, y) for x, y in zip(across, up, strict=True) if not math.isnan(x) and y > 0]
        xs += [*(x for x, _ in kept), math.nan]
        ys += [*(y for _, y in kept), math.nan]
    style = {"color": COLOURS[at % len(COLOURS)], "linestyle": "--" if at >= len(COLOURS) else "-"}
    width, alpha = 1.3 if count <= 30 else 0.7, min(0.9, max(0.15, 14 / count))
    axes.plot(xs, ys, linewidth=width, alpha=alpha, label=name, **style)


@_png
def trade_off(runs: Sequence[Run]) -> Figure | None:
    """Draw distance to the style against SSIM, a dot a run, named by what differs where there is room.

    Above the patch distance; below the Gram distance of the runs with the most frequent judge.
    """
    judge = usual_judge(runs)
    judged = [run for run in runs if judge and run.record.judge == judge]
    panels = {
        "patch distance": _dots(runs, "patch_distance"),
        f"Gram distance (judge: {judge})": _dots(judged, "gram_distance"),
    }
    panels = {title: dots for title, dots in panels.items() if dots}
    if not panels:
        return None
    parted = grouped([run for run in runs if any(run in dots for dots in panels.values())], len(COLOURS))
    names = swept(runs)
    figure, rows = _panels(len(panels), 1)
    for (axes,), (title, dots) in zip(rows, panels.items(), strict=True):
        axes.set_title(f"{title} to the style  (lower: more style)")
        axes.set_xlabel("SSIM to the content  (right: more content)")
        for colour, (name, some) in zip(COLOURS, parted.items(), strict=False):
            if places := [dots[run] for run in some if run in dots]:
                axes.scatter(*np.transpose(places), c=colour, label=name, **DOT)
        if min(distance for _, distance in dots.values()) > 0:
            logarithmic(axes, "y")
        if len(dots) <= NAMED:
            _name_dots(axes, dots, names, parted)
        _legend(axes)
    return figure


def _dots(runs: Iterable[Run], measure: str) -> dict[Run, tuple[Any, Any]]:
    """Return (SSIM, distance) of the runs that have both."""
    both = {run: (run.record.ssim, getattr(run.record, measure)) for run in runs}
    return {run: dot for run, dot in both.items() if None not in dot}


def _name_dots(axes: Any, dots: Mapping[Run, tuple[Any, Any]], names: Sequence[str], groups: Iterable[str]) -> None:
    """Write beside each dot what differs besides its group, unless every place for it is taken."""
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    inside = axes.get_window_extent(renderer)
    half = axes.figure.dpi / 72 * DOT["s"] ** 0.5 / 2  # of a dot's width, px
    centres = map(axes.transData.transform, dots.values())
    taken = [Bbox([centre - half, centre + half]) for centre in centres]
    for run in sorted(dots, key=dots.__getitem__):
        images = [shown_value(name, run.value_of(name)) for name in names if name in PAIR]
        text = ", ".join(each for each in [*images, *run.label(names)] if each not in groups)
        for offset, across, up in PLACES:
            name = axes.annotate(
                text, dots[run], offset, textcoords="offset points", ha=across, va=up, fontsize=6, color=SOFT
            )
            box = name.get_window_extent(renderer).padded(1)
            if inside.contains(*box.min) and inside.contains(*box.max) and not box.count_overlaps(taken):
                taken.append(box)
                break
            name.remove()


def usual_judge(runs: Iterable[Run]) -> str | None:
    """Return the network that judged the Gram distance of most runs."""
    judges = Counter(run.record.judge for run in runs if run.record.judge and run.record.gram_distance is not None)
    return judges.most_common(1)[0][0] if judges else None


def speed_group(run: Run) -> str:
    """Return the label of runs whose speeds compare: network, device, precision, and the batch where there is one."""
    record = run.record
    group = f"{record.options.backbone.name}, {record.device or 'unknown device'}, {record.precision}"
    return plain_text(f"{group}, batch of {record.batch}" if record.batch > 1 else group)


@_png
def throughput(runs: Sequence[Run]) -> Figure | None:
    """Draw it/s and Mpx * it/s, as recorded, against the size of the result, a dot a run, coloured by `speed_group`."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for run in runs:
        record = run.record
        if record.it_per_s and record.mpx_it_per_s and record.width and record.height:
            size = record.width * record.height / 1e6
            found[speed_group(run)].append((size, record.it_per_s, record.mpx_it_per_s))
    if not found:
        return None
    figure, ((left, right),) = _panels(1, 2)
    for at, (name, places) in enumerate(found.items()):
        last = len(COLOURS) - 1  # for all others where there are more groups than colours
        label = name if at < last or len(found) <= len(COLOURS) else "others" if at == last else ""
        sizes, speeds, by_size = np.transpose(places)
        for axes, values in ((left, speeds), (right, by_size)):
            axes.scatter(sizes, values, c=COLOURS[min(at, last)], label=label, **DOT)
    for axes, title in ((left, "it/s"), (right, "Mpx · it/s")):
        axes.set(title=title, xlabel="size, megapixels")
        logarithmic(axes, "x")
        logarithmic(axes, "y")
    _legend(right)
    return figure


@_png
def heat_map(runs: Sequence[Run]) -> Figure | None:
    """Draw SSIM, contents down, styles across, with the means of rows, columns and all; colours span at least 0.1.

    The first `CELLS` contents and styles are drawn; the means are over all.
    """
    cells = means_by(runs, PAIR, "ssim")
    if not cells:
        return None
    contents, styles = (sorted({pair[at] for pair in cells}) for at in (0, 1))
    known = [[cells.get((content, style), math.nan) for style in styles] for content in contents]
    inner = np.ma.masked_invalid(known)
    rows = np.ma.column_stack([inner[:CELLS, :CELLS], inner.mean(1)[:CELLS]])
    values = np.ma.vstack([rows, np.ma.append(inner.mean(0)[:CELLS], inner.mean())])
    contents, styles = contents[:CELLS], styles[:CELLS]
    down, across = (
        [*(shorten(name.replace("_", " "), NAMES) for name in names), "mean"] for names in (contents, styles)
    )
    figure = Figure(figsize=(len(across) * BOX[0] / DPI, len(down) * BOX[1] / DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    low = min(inner.min(), inner.mean() - 0.05)
    high = max(inner.max(), low + 0.1)
    axes.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    axes.axhline(len(contents) - 0.5, color="white", linewidth=4)
    axes.axvline(len(styles) - 0.5, color="white", linewidth=4)
    for (row, column), value in np.ndenumerate(values.filled(math.nan)):
        if not math.isnan(value):
            colour = "black" if value > low + 0.55 * (high - low) else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=DARK, labelsize=7.5, top=False, labeltop=True, labelbottom=False)
    axes.set_xticks(range(len(across)), across, rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(down)), down)
    return figure


def _panels(rows: int, columns: int) -> tuple[Figure, Any]:
    """Return a figure and its axes, (rows, columns)."""
    figure = Figure(figsize=(8, 2.9 * rows))
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.35, "wspace": 0.2})


def _legend(axes: Any) -> None:
    """Name the colours to the right; a single group without a name needs none."""
    handles, names = axes.get_legend_handles_labels()
    most, room = LEGEND
    known = [(handle, shorten(name, room)) for handle, name in zip(handles, names, strict=True) if name][:most]
    if known:
        legend = axes.legend(*zip(*known, strict=True), loc="upper left", bbox_to_anchor=(1.01, 1))
        for handle in legend.legend_handles:
            handle.set_alpha(1)


def logarithmic(axes: Any, name: str, *, zero: bool = False) -> None:
    """Make the axis x or y logarithmic with a few round numbers on it; with `zero`, it begins at 0."""
    axis = getattr(axes, f"{name}axis")
    low, high = axis.get_minpos(), axis.get_data_interval()[1]
    subs = (1, 2, 5) if high < 300 * low else (1,)
    if zero:
        axes.set_xscale("symlog", linthresh=low, linscale=0.4)
        axes.set_xlim(0, high * 1.1)
        marks = ticker.LogLocator(subs=subs, numticks=7).tick_values(low, high)
        axis.set_ticks([0, *(each for each in marks if low <= each <= high)])
    else:
        axes.set(**{f"{name}scale": "log"})
        close = high < 8 * low
        axis.set_major_locator(ticker.MaxNLocator(6) if close else ticker.LogLocator(subs=subs, numticks=7))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:.6g}")
