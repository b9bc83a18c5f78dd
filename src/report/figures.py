"""Figures of pictures. Figure 2 of the study: a row per run, its two images, and the picture on its way. And a grid of
contents and styles.

Nothing is downloaded and nothing measured. Heavy libraries are imported when a figure is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src.common.tables import number, plain_text
from src.report.labels import Run, label, percent, shared_places, varying
from src.report.pictures import Pictures
from src.report.sheet import CELL, DARK, GAP, HEAD, LINE, MARGIN, SOFT, TEXT, TITLE, Sheet, shorten, width_of
from src.tracking.record import Capture, RunRecord

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS, CAPTURES = 12, 6  # at most, in one figure
LABEL = 190  # room for what sets a row apart, px
LOWEST, HIGHEST = 0.5, 1.35  # height of a row, in cells: a panorama or a tower is made smaller within it


def shown(record: RunRecord) -> list[Capture]:
    """Return the captures that a row has room for, evenly chosen, the last among them."""
    captures, last = record.captures, len(record.captures) - 1
    if last < CAPTURES:
        return captures
    return [captures[round(at * last / (CAPTURES - 1))] for at in range(CAPTURES)]


@dataclass
class Cell:
    """A picture and the lines below it."""

    image: "Image | None"
    name: str  # on the card that stands for a picture that cannot be had
    lines: list[str]


def source(kind: str, record: RunRecord, pictures: Pictures) -> Cell:
    name = plain_text(getattr(record, kind))
    return Cell(pictures.source(kind, record), name, [name.replace("_", " ")])


def _sources(kind: str, runs: Sequence[Run], pictures: Pictures) -> dict[str, Cell]:
    """Return the image of each name, in order; that of the first run where several have the name."""
    first = {getattr(record, kind): record for _, record in reversed(runs)}
    return {name: source(kind, first[name], pictures) for name in sorted(first)}


def _row(run: Run, places: Sequence[str | None], pictures: Pictures) -> list[Cell]:
    folder, record = run
    cells = [source(kind, record, pictures) for kind in ("content", "style")]
    for at, capture in enumerate(shown(record)):
        place = "" if places[at] else f"{percent(capture, record)}:  "
        lines = [f"{place}loss {number(capture.loss_total)}"]
        cells.append(Cell(pictures.capture(folder / capture.file), Path(capture.file).name, lines))
    measured = [f"SSIM {record.ssim:.3f}"] if record.ssim is not None else []
    measured += [f"{number(record.it_per_s)} it/s"] if record.it_per_s is not None else []
    cells[-1].lines.append("  ·  ".join(measured))
    return cells


def _height(cells: Sequence[Cell]) -> int:
    """Return how high a row is: as the first of these pictures, within bounds."""
    sizes = [cell.image.size for cell in cells if cell.image]
    return round(CELL * min(max(sizes[0][1] / sizes[0][0] if sizes else 1.0, LOWEST), HIGHEST))


def _put(cell: Cell, sheet: Sheet, x: int, y: int, tall: int) -> None:
    """Put a picture with its lines below it on a sheet."""
    sheet.paste(cell.image, cell.name, x, y, CELL, tall)
    for at, line in enumerate(cell.lines):
        sheet.write(x + CELL / 2, y + tall + (at + 0.85) * LINE, shorten(line, CELL), color=DARK if at == 0 else SOFT)


@dataclass
class Row:
    """Pictures of a row, None for a place without one, and the lines before them."""

    lines: list[str]
    cells: list[Cell | None]


def draw(runs: Sequence[Run], names: Sequence[str], pictures: Pictures) -> bytes:
    """Return a figure of runs that have captures, as PNG.

    Args:
        runs: its rows, `ROWS` of them at most.
        names: the settings that tell the rows apart, as `varying` gives them for all runs of the report.
        pictures: where they come from.
    """
    places = shared_places([[percent(each, record) for each in shown(record)] for _, record in runs])
    heads = ["content", "style", *(place or f"capture {at}" for at, place in enumerate(places, start=1))]
    return lay(heads, [Row(label(run[1], names), [*_row(run, places, pictures)]) for run in runs])


def lay(heads: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Return rows of pictures under their heads, the first of them content and style, as PNG."""
    labels = [[shorten(line, LABEL) for line in row.lines] for row in rows]
    heights = [_height([cell for cell in row.cells[2:] + row.cells[:1] if cell]) for row in rows]
    left = MARGIN + round(max((width_of(line) + 2 * GAP for lines in labels for line in lines), default=0))
    width = left + len(heads) * (CELL + GAP) - GAP + MARGIN
    deep = [max(tall + 3 * LINE, (len(lines) + 1) * LINE) for tall, lines in zip(heights, labels, strict=True)]
    sheet = Sheet(width, MARGIN + HEAD + sum(deep) - LINE // 2)
    for at, head in enumerate(heads):
        text = shorten(head, CELL * TEXT / TITLE)  # measured as text, written as a title
        sheet.write(left + at * (CELL + GAP) + CELL / 2, MARGIN + HEAD / 2, text, TITLE)
    top = MARGIN + HEAD
    for row, lines, tall, step in zip(rows, labels, heights, deep, strict=True):
        for at, line in enumerate(lines):
            sheet.write(MARGIN, top + max(0, tall - len(lines) * LINE) / 2 + (at + 0.75) * LINE, line, ha="left")
        for at, cell in enumerate(row.cells):
            if cell:
                _put(cell, sheet, left + at * (CELL + GAP), top, tall)
        top += step
    return sheet.png()


def is_grid(runs: Sequence[Run]) -> bool:
    """Return whether runs are several contents in several styles, each pair once at most, and alike in all else."""
    records = [record for _, record in runs]
    pairs = {(record.content, record.style) for record in records}
    several = all(len(set(names)) > 1 for names in zip(*pairs, strict=True))
    return len(pairs) == len(runs) > 0 and several and not varying(records)


def draw_grid(runs: Sequence[Run], pictures: Pictures) -> bytes:
    """Return the last pictures of runs, contents down, styles across, as PNG; a pair that is missing has no picture.

    Args:
        runs: as `is_grid` asks for, each with captures.
        pictures: where they come from.
    """
    by_pair = {(record.content, record.style): (folder, record) for folder, record in runs}
    contents, styles = (_sources(kind, runs, pictures) for kind in ("content", "style"))
    heights = [_height([cell]) for cell in contents.values()]
    head = max(_height([cell]) for cell in styles.values())
    step = CELL + GAP
    top = MARGIN + head + 2 * LINE
    sheet = Sheet(2 * MARGIN + (len(styles) + 1) * step - GAP, top + sum(heights) + len(heights) * LINE * 2)
    for across, cell in enumerate(styles.values(), start=1):
        _put(cell, sheet, MARGIN + across * step, MARGIN, head)
    for (content, cell), tall in zip(contents.items(), heights, strict=True):
        _put(cell, sheet, MARGIN, top, tall)
        for across, style in enumerate(styles, start=1):
            if run := by_pair.get((content, style)):
                folder, record = run
                picture = pictures.capture(folder / record.captures[-1].file)
                _put(Cell(picture, f"{content} {style}", label(record, ())), sheet, MARGIN + across * step, top, tall)
        top += tall + 2 * LINE
    return sheet.png()
