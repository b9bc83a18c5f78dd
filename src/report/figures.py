"""Figures of images: the study's Figure 2, contents against styles, and the values of swept options side by side."""

from collections.abc import Sequence
from pathlib import Path

from src.common.tables import number, sentence
from src.report.options import PAIR, heading, label_of
from src.report.runs import Run, alike, left_out, shared_places, values_of, varying
from src.report.sheet import CELL, Cell, Row, lay_out
from src.report.thumbnails import Thumbnails, shown

ROWS = 12  # of a figure at most
VALUES = 8  # of an option in a figure at most
GRID = 24  # contents, and styles, of the grid at most
LARGE = 2 * CELL  # size that the image of a cell is read at, px


def figure_2(runs: Sequence[Run], names: Sequence[str], images: Thumbnails) -> bytes:
    """Return the study's Figure 2 as JPEG: a row a run, labelled by options, with content, style, and captures."""
    places = shared_places([[run.place(each) for each in shown(run)] for run in runs])
    heads = [*PAIR, *(place or f"capture {at}" for at, place in enumerate(places, start=1))]
    return lay_out(heads, [Row(run.label(names), _cells(run, places, images)) for run in runs])


def _cells(run: Run, places: Sequence[str | None], images: Thumbnails) -> list[Cell | None]:
    """Return the cells of a row: content, style and captures, with the measures below the last."""
    captures = []
    for place, capture in zip(places, shown(run), strict=False):
        where = "" if place else f"{run.place(capture)}:  "
        image = images.read(images.capture(run, capture), LARGE)
        lines = [f"{where}loss {number(capture.losses.get('total'))}"]
        captures.append(Cell(image, Path(capture.file).name, lines))
    record = run.record
    measured = [f"SSIM {record.ssim:.3f}"] if record.ssim is not None else []
    measured += [f"{number(record.it_per_s)} it/s"] if record.it_per_s is not None else []
    captures[-1].lines.append("  ·  ".join(measured))
    return [*(_source(kind, run, images) for kind in PAIR), *captures]


def grid(runs: Sequence[Run], images: Thumbnails) -> tuple[bytes, str] | None:
    """Return results by content (down) and style (across) as JPEG, with a caption.

    Of the largest group of runs that differ in nothing but their pair; at most `GRID` contents and styles. None without
    several contents and styles, or with several runs of a pair.
    """
    chosen = alike(runs, ())
    by_pair = {run.pair: run for run in chosen}
    if len(by_pair) < len(chosen) or any(len(values_of(kind, chosen)) < 2 for kind in PAIR):
        return None
    of_content, of_style = ({getattr(run, kind): run for run in reversed(chosen)} for kind in PAIR)
    contents, styles = (values_of(kind, chosen)[:GRID] for kind in PAIR)
    rows = [Row([], [None, *(_source("style", of_style[style], images) for style in styles)])]
    for content in contents:
        found = [by_pair.get((content, style)) for style in styles]
        cells = [_last(run, images, measured=False) if run else None for run in found]
        rows.append(Row([], [_source("content", of_content[content], images), *cells]))
    caption = f"Contents down, styles across{_which(chosen, runs)}.{left_out(by_pair, GRID)}"
    return lay_out([""] * (1 + len(styles)), rows), caption


def sweep(runs: Sequence[Run], images: Thumbnails) -> tuple[bytes, str] | None:
    """Return results by the values of one or two swept options as JPEG, with a caption.

    The options are the first two that differ and have at most `VALUES` values; the runs agree in all others. With two,
    one goes down and one across, in a block of rows for each pair; with one, a row is a pair. None without any.
    """
    names = [name for name in varying(runs) if 1 < len(values_of(name, runs)) <= VALUES][:2]
    chosen = alike(runs, names)
    axes = [name for name in names if len(values_of(name, chosen)) > 1]
    if not axes:
        return None
    down, across = axes if len(axes) == 2 else (None, axes[0])
    left = values_of(down, chosen) if down else [""]
    places = {(run.pair, run.value_of(down) if down else "", run.value_of(across)): run for run in chosen}
    pairs = list(dict.fromkeys(run.pair for run in chosen))
    drawn = pairs[: max(1, ROWS // len(left))]
    rows = []
    for pair in drawn:
        first = next(run for run in chosen if run.pair == pair)
        sources: list[Cell | None] = [_source(kind, first, images) for kind in PAIR]
        for value in left:
            found = [places.get((pair, value, column)) for column in values_of(across, chosen)]
            cells = [_last(run, images, measured=True) if run else None for run in found]
            rows.append(Row([label_of(down, value)] if down else [], [*sources, *cells]))
            sources = [None, None]  # only once a block
    words = " against ".join(map(heading, axes))
    some = f" Of {len(pairs)} pairs the first {len(drawn)}." if len(drawn) < len(pairs) else ""
    twice = " Of runs with the same options the last one is shown." if len(places) < len(chosen) else ""
    heads = [*PAIR, *(label_of(across, value) for value in values_of(across, chosen))]
    return lay_out(heads, rows), f"{sentence(words)}{_which(chosen, runs)}.{some}{twice}"


def _which(chosen: Sequence[Run], runs: Sequence[Run]) -> str:
    """Return the options that set the chosen runs apart from the others, for a caption."""
    fixed = [name for name in varying(runs) if len(values_of(name, chosen)) == 1]
    labels = ", ".join(label_of(name, chosen[0].value_of(name)) for name in fixed)
    return f"; the {len(chosen)} of {len(runs)} runs with {labels}" if labels else ""


def _source(kind: str, run: Run, images: Thumbnails) -> Cell:
    """Return a run's content or style image, in the aspect ratio that the run gave it."""
    name, record = getattr(run, kind), run.record
    image = images.read(images.source(kind, run), LARGE)
    if image and kind == "content" and record.width and record.height:
        size = (record.width, record.height)
        image = image.resize([max(1, round(LARGE * side / max(size))) for side in size])
    elif image and record.options.fit == "squash":
        image = image.resize((LARGE, LARGE))
    return Cell(image, name, [name.replace("_", " ")])


def _last(run: Run, images: Thumbnails, *, measured: bool) -> Cell:
    record, capture = run.record, run.record.captures[-1]
    lines = [f"SSIM {record.ssim:.3f}"] if measured and record.ssim is not None else []
    if measured and record.patch_distance is not None:
        lines.append(f"patch distance {number(record.patch_distance)}")
    return Cell(images.read(images.capture(run, capture), LARGE), capture.file, [*lines, *run.label(())])
