"""Lay out images and lines of text in rows on a white sheet. Lengths are in pixels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

CELL, GAP, MARGIN, LINE, HEAD = 236, 10, 20, 21, 30
LABEL = 190  # room for the labels of a row
TEXT, TITLE = 15.6, 17.7
DARK, SOFT, CARD = "#1a1a1a", "#6b6b6b", "#ececec"
LOWEST, HIGHEST = 0.5, 1.35  # height of a row, in cells


@dataclass
class Cell:
    """An image and the lines below it; a card with the name replaces an image that cannot be shown."""

    image: Image.Image | None
    name: str
    lines: list[str]


@dataclass
class Row:
    """Cells of a row, None for an empty one, and the lines to the left of them."""

    lines: list[str]
    cells: list[Cell | None]

    @property
    def image_height(self) -> int:
        """Return the height of the first result, or else of the content image, at the width of a cell."""
        images = [cell.image for cell in self.cells[2:] + self.cells[:1] if cell and cell.image]
        aspect = images[0].height / images[0].width if images else 1.0
        return round(CELL * min(max(aspect, LOWEST), HIGHEST))

    @property
    def height(self) -> int:
        """Return the height of the row with its lines and a gap below."""
        below = max((len(cell.lines) for cell in self.cells if cell), default=0)
        return max(self.image_height + (below + 1) * LINE, (len(self.lines) + 1) * LINE)


def lay_out(heads: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Return rows of cells under their heads as JPEG."""
    labels = [[shorten(line, LABEL) for line in row.lines] for row in rows]
    left = MARGIN + round(max((width_of(line) + 2 * GAP for lines in labels for line in lines), default=0))
    top = MARGIN + (HEAD if any(heads) else 0)
    size = (left + len(heads) * (CELL + GAP) - GAP + MARGIN, top + sum(row.height for row in rows))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    columns = [left + at * (CELL + GAP) for at in range(len(heads))]
    for x, head in zip(columns, heads, strict=True):
        text = shorten(head, CELL, TITLE)
        pen.text((x + CELL / 2, MARGIN + HEAD / 2), text, DARK, font(TITLE), anchor="ms")
    for row, lines in zip(rows, labels, strict=True):
        tall = row.image_height
        first = top + max(0, tall - len(lines) * LINE) / 2
        for at, line in enumerate(lines, start=1):
            pen.text((MARGIN, first + at * LINE - 5), line, DARK, font(TEXT), anchor="ls")
        for x, cell in zip(columns, row.cells, strict=False):
            if cell:
                _draw(cell, sheet, pen, x, top, tall)
        top += row.height
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=90, subsampling=0)
    return data.getvalue()


def _draw(cell: Cell, sheet: Image.Image, pen: ImageDraw.ImageDraw, x: int, y: int, tall: int) -> None:
    image = ImageOps.contain(cell.image, (CELL, tall)) if cell.image else Image.new("RGB", (CELL, tall), CARD)
    sheet.paste(image, (x + (CELL - image.width) // 2, y + (tall - image.height) // 2))
    if cell.image is None:
        text = shorten(cell.name, CELL - 4 * GAP)
        pen.text((x + CELL / 2, y + tall / 2), text, SOFT, font(TEXT), anchor="mm")
    for at, line in enumerate(cell.lines, start=1):
        place = (x + CELL / 2, y + tall + at * LINE - 3)
        pen.text(place, shorten(line, CELL), DARK if at == 1 else SOFT, font(TEXT), anchor="ms")


def width_of(text: str, size: float = TEXT) -> float:
    """Return the width of a line of text."""
    return font(size).getlength(text)


def shorten(text: str, room: float, size: float = TEXT) -> str:
    """Return a line cut to fit a width, from the middle: names differ at their beginnings and ends."""
    short, left = text, len(text)
    while width_of(short, size) > room and left > 2:
        left -= 1
        short = f"{text[: (left + 1) // 2]}…{text[len(text) - left // 2 :]}"
    return short


@cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """Return the font that ships with matplotlib, so that figures are the same on every machine."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
