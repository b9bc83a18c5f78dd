"""A white sheet for images, lines of text and axes; all figures are drawn on one.

Lengths are in pixels, positions from the upper left corner. Matplotlib is imported when a sheet is made.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties
    from PIL.Image import Image

DPI = 150
CELL, GAP, MARGIN, LINE, HEAD = 236, 10, 20, 21, 30
TEXT, TITLE = 7.5, 8.5  # points
DARK, SOFT, CARD = "#1a1a1a", "#6b6b6b", "#ececec"


class Sheet:
    """A sheet of a width and a height, px."""

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=((width + 0.1) / DPI, (height + 0.1) / DPI), dpi=DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)

    def write(self, x: float, y: float, text: str, size: float = TEXT, **more: Any) -> None:
        """Write a line of text with its baseline at y, centred at x; `more` are properties of matplotlib's Text."""
        # parse_math: a name may hold dollar signs
        style = {"color": DARK, "ha": "center", "va": "baseline", "fontproperties": _font(size), **more}
        self.figure.text(x / self.width, 1 - y / self.height, text, parse_math=False, usetex=False, **style)

    def paste(self, image: "Image | None", name: str, x: int, y: int, width: int, height: int) -> None:
        """Draw an image in the middle of a box, as large as fits; without one, a grey card with its name."""
        import numpy as np
        from PIL import Image

        picture = image or Image.new("RGB", (width, height), CARD)
        picture = picture.resize(inside(picture.size, width, height))
        across, down = (width - picture.width) // 2, (height - picture.height) // 2
        bottom = self.height - y - down - picture.height
        self.figure.figimage(np.asarray(picture), x + across, bottom, origin="upper")
        if image is None:
            self.write(x + width / 2, y + height / 2, shorten(name, width - 4 * GAP), color=SOFT)

    def axes(self, x: float, y: float, width: float, height: float, across: str = "", up: str = "") -> Any:
        """Return matplotlib axes in a box, with the x label below them and the y label above them."""
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(which="both", labelsize=TEXT - 1, labelfontfamily="DejaVu Sans", color=SOFT, labelcolor=SOFT)
        axes.grid(visible=True, color=CARD, linewidth=0.6)
        axes.set_axisbelow(True)
        self.write(x + width / 2, y + height + 2.1 * LINE, across)
        self.write(x, y - LINE / 2, up, ha="left")
        return axes

    def png(self) -> bytes:
        """Return the sheet as PNG, for charts."""
        data = io.BytesIO()
        with _any_script():
            self.canvas.print_png(data, pil_kwargs={"compress_level": 4})  # twice as fast, hardly larger
        return data.getvalue()

    def jpeg(self) -> bytes:
        """Return the sheet as JPEG, for photographs: a tenth of the PNG."""
        data = io.BytesIO()
        with _any_script():
            self.canvas.print_jpg(data, pil_kwargs={"quality": 90, "subsampling": 0})
        return data.getvalue()


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis: decades, 1-2-5, or evenly spaced ones below a factor of eight."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if not high > low * (1 + 1e-6):  # a single value
        return [float(f"{low:.3g}")]
    subs = [1.0, 2.0, 5.0] if high < 300 * low else [1.0]
    locator = MaxNLocator(6) if high < 8 * low else LogLocator(subs=subs, numticks=7)
    return [float(each) for each in locator.tick_values(low, high) if low <= each <= high]


def mark(axis: Any, low: float, high: float, zero: bool = False) -> None:
    """Set round ticks on a logarithmic matplotlib axis from `low` to `high`, and one at 0 if `zero`."""
    axis.set_ticks([*([0.0] if zero else []), *ticks(low, high)], minor=False)
    axis.set_ticks([], minor=True)
    axis.set_major_formatter(lambda value, _: f"{value:.6g}")


def inside(size: Sequence[int], width: float, height: float) -> tuple[int, int]:
    """Return the size of an image scaled to fit into a box, its aspect ratio kept."""
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def width_of(text: str) -> float:
    """Return the width of a line of text, px."""
    with _any_script():
        return _renderer().get_text_width_height_descent(text, _font(TEXT), False)[0]


def shorten(text: str, room: float) -> str:
    """Return a line cut to fit a width, from the middle: names differ at their beginnings and ends."""
    short, left = text, len(text)
    while width_of(short) > room and left > 2:
        left -= 1
        short = f"{text[: (left + 1) // 2]}…{text[len(text) - left // 2 :]}"
    return short


@contextmanager
def _any_script() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box
        yield


@cache
def _font(size: float) -> "FontProperties":
    from matplotlib.font_manager import FontProperties

    # ships with matplotlib, so that figures are the same on every machine
    return FontProperties(family=["DejaVu Sans"], size=size)


@cache
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
