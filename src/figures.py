"""Figure 2 of the study, from run folders: a row per run, its two images, and the picture on its way.

Nothing is downloaded and nothing measured: pictures are those of the run folder, the mirror and the cache, numbers
those of the record. Heavy libraries are imported when a figure is drawn.
"""

import dataclasses
import io
import urllib.parse
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import InputError
from src.records import Capture, RunRecord

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS, CAPTURES = 12, 6  # at most, in one figure
DPI = 150
# Pixels at DPI.
CELL, GAP, MARGIN, LINE, HEAD, LABEL = 236, 10, 20, 21, 30, 190
LOWEST, HIGHEST = 0.5, 1.35  # height of a row, in cells: a panorama or a tower is made smaller within it
DARK, SOFT, CARD, FRAME = "#1a1a1a", "#6b6b6b", "#efefef", "#d4d4d4"

Run = tuple[Path, RunRecord]
# How a row says what sets its run apart from the others; "{}" alone needs no further word.
_WORDS = {
    "layers": "layers {}", "content_layer": "content {}", "loss": "{} loss", "alpha": "α = {:g}", "beta": "β = {:g}",
    "tv": "TV = {:g}", "backbone": "{}", "weights": "{} weights", "pool": "{} pooling", "optimizer": "{}",
    "lr": "lr {:g}", "init": "from {}", "edge": "{} px", "fit": "fit: {}", "steps": "{} steps", "seed": "seed {}",
    "precision": "precision {}",
}  # fmt: skip


def plain_text(text: object) -> str:
    """Return text from outside as one line of printable characters."""
    line = " ".join(str(text).split())
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number rounded for reading: 0.0813, 5.42, 12345, 7.29×10⁷; a dash for None."""
    if value is None:
        return "–"
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}×10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def percent(capture: Capture, record: RunRecord) -> str:
    """Return how far along the run a capture is: "33 %"."""
    return f"{round(100 * capture.step / record.steps)} %" if record.steps else f"step {capture.step}"


def shared_places(places: Sequence[Sequence[str]]) -> list[str | None]:
    """Return for each position what all that reach it have there; None where they differ."""
    columns = [{each[at] for each in places if at < len(each)} for at in range(max(map(len, places), default=0))]
    return [column.pop() if len(column) == 1 else None for column in columns]


def varying(records: Iterable[RunRecord]) -> list[str]:
    """Return the settings, in words of the record, that are not the same in all runs."""
    records = list(records)
    return [name for name in _WORDS if len({repr(getattr(each, name)) for each in records}) > 1]


def label(record: RunRecord, names: Sequence[str]) -> list[str]:
    """Return the lines that set a run apart, by the settings named; an unfinished run says so."""
    values = {name: getattr(record, name) for name in names}
    if "weights" in values and values["weights"] not in ("imagenet", "random"):
        values["weights"] = Path(str(values["weights"])).name
    lines = [plain_text(_WORDS[name].format(value)) for name, value in values.items()]
    return lines if record.status == "finished" else [*lines, f"({plain_text(record.status)})"]


def shown(record: RunRecord) -> list[Capture]:
    """Return the captures that a row has room for, evenly chosen, the last among them."""
    captures, last = record.captures, len(record.captures) - 1
    if last < CAPTURES:
        return captures
    return [captures[round(at * last / (CAPTURES - 1))] for at in range(CAPTURES)]


class Gallery:
    """Hands out pictures, each read once; None, and one warning, for a picture that cannot be had."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self._kept: dict[tuple[str, ...], Image | None] = {}

    def source(self, kind: str, record: RunRecord) -> "Image | None":
        """Return the content or style image of a run, in the aspect it had at work."""
        name = plain_text(getattr(record, kind))
        key = (kind, repr(record.config.get(kind)), str(getattr(record, f"{kind}_sha256")))
        found = self._once(key, f"the {kind} image {name}", lambda: _find(kind, record))
        if found is None:
            return None
        if kind == "content" and record.width and record.height:
            return found.resize(_inside((record.width, record.height), 2 * CELL, 2 * CELL))
        return found.resize((CELL, CELL)) if record.fit == "squash" else found

    def capture(self, path: Path) -> "Image | None":
        """Return the picture of a capture."""
        return self._once((str(path),), f"the capture {path}", lambda: path)

    def _once(self, key: tuple[str, ...], what: str, locate: Callable[[], Path]) -> "Image | None":
        if key not in self._kept:
            try:
                self._kept[key] = _read(locate())
            except Exception as error:  # of Pillow's decoders many kinds; no picture is worth the whole report
                self.warn(f"{what} is not shown: {error}")
                self._kept[key] = None
        return self._kept[key]


def _find(kind: str, record: RunRecord) -> Path:
    from src.catalogue import cache_folder, find_picture, mirror_folder
    from src.config import typed

    config = typed(record.config)
    # Only the very file of the run will do; what lies there now may be another one.
    picture = dataclasses.replace(getattr(config, kind), sha256=getattr(record, f"{kind}_sha256"))
    # The mirror of that time may be gone; the environment's may do.
    mirror = config.mirror if config.mirror and Path(config.mirror).expanduser().is_dir() else None
    if picture.url and not picture.path and not picture.package:
        file = Path(kind, urllib.parse.unquote(Path(urllib.parse.urlsplit(picture.url).path).name))
        if not any((folder / file).is_file() for folder in (mirror_folder(mirror), cache_folder()) if folder):
            raise InputError(
                f"neither the cache {cache_folder()} nor a mirror holds {file}; a report downloads nothing"
            )
    return find_picture(kind, picture, mirror).path


def _read(path: Path) -> "Image":
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if image.mode in ("RGB", "L", "P", "CMYK") and "transparency" not in image.info:
            image.draft("RGB", (4 * CELL, 4 * CELL))  # a large JPEG need not be decoded whole
            picture = ImageOps.exif_transpose(image).convert("RGB")
            picture.thumbnail((4 * CELL, 4 * CELL))  # a figure of large pictures must not fill the memory
            return picture
    from src.images import read_image  # alpha and 16 bits; rare enough to wait for torch

    return read_image(path)


def _inside(size: tuple[int, int], width: float, height: float) -> tuple[int, int]:
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@dataclass
class _Cell:
    image: "Image | None"
    name: str  # on the card that stands for a picture that cannot be had
    lines: list[str]


def _row(run: Run, places: Sequence[str | None], gallery: Gallery) -> list[_Cell]:
    folder, record = run
    cells = []
    for kind in ("content", "style"):
        name = plain_text(getattr(record, kind))
        cells.append(_Cell(gallery.source(kind, record), name, [name.replace("_", " ")]))
    for at, capture in enumerate(shown(record)):
        place = "" if places[at] else f"{percent(capture, record)}:  "
        lines = [f"{place}loss {number(capture.loss_total)}"]
        cells.append(_Cell(gallery.capture(folder / capture.file), Path(capture.file).name, lines))
    measured = [f"SSIM {record.ssim:.3f}"] if record.ssim is not None else []
    measured += [f"{number(record.it_per_s)} it/s"] if record.it_per_s is not None else []
    cells[-1].lines.append("  ·  ".join(measured))
    return cells


def draw(runs: Sequence[Run], names: Sequence[str], gallery: Gallery) -> bytes:
    """Return a figure of runs that have captures, as PNG.

    Args:
        runs: its rows, `ROWS` of them at most.
        names: the settings that tell the rows apart, as `varying` gives them for all runs of the report.
        gallery: where the pictures come from.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import Rectangle

    # The font that comes with matplotlib: the same figure on every machine.
    fonts = {size: FontProperties(family=["DejaVu Sans"], size=size) for size in (7.5, 8.5)}
    measure = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()

    def width_of(text: str, size: float = 7.5) -> float:
        return measure.get_text_width_height_descent(text, fonts[size], False)[0]

    def shorten(text: str, room: float) -> str:
        if width_of(text) <= room:
            return text
        left = len(text)
        while left > 1 and width_of(f"{text[: left // 2]}…{text[-(left // 2) :]}") > room:
            left -= 1  # from the middle: beginnings and ends are what tells names apart
        return f"{text[: max(1, left // 2)]}…{text[-max(1, left // 2) :]}"

    places = shared_places([[percent(each, record) for each in shown(record)] for _, record in runs])
    heads = ["content", "style", *(place or f"capture {at}" for at, place in enumerate(places, start=1))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as a box: names are in any script
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # a run has accepted it
        labels = [[shorten(line, LABEL) for line in label(record, names)] for _, record in runs]
        rows = [_row(run, places, gallery) for run in runs]
        heights = [_height(cells) for cells in rows]
        left = MARGIN + max((width_of(line) + 2 * GAP for lines in labels for line in lines), default=0)
        width = round(left + len(heads) * (CELL + GAP) - GAP + MARGIN)
        height = MARGIN + HEAD + sum(each + 3 * LINE for each in heights) - LINE + MARGIN // 2
        figure = Figure(figsize=((width + 0.1) / DPI, (height + 0.1) / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)

        def write(x: float, y: float, text: str, size: float = 7.5, **more: Any) -> None:
            # parse_math: a name may hold dollar signs
            style = {"color": DARK, "ha": "center", "va": "center", "fontproperties": fonts[size], **more}
            figure.text(x / width, 1 - y / height, text, parse_math=False, usetex=False, **style)

        def box(x: float, y: float, size: tuple[int, int], face: str) -> None:
            corner = ((x - 0.5) / width, 1 - (y + size[1] + 0.5) / height)
            across, up = (size[0] + 1) / width, (size[1] + 1) / height
            patch = Rectangle(corner, across, up, facecolor=face, edgecolor=FRAME, linewidth=0.5)
            figure.add_artist(patch)  # it is drawn under the text

        for at, text in enumerate(heads):
            write(left + at * (CELL + GAP) + CELL / 2, MARGIN + HEAD / 3, text, 8.5)
        top = MARGIN + HEAD
        for cells, lines, tall in zip(rows, labels, heights, strict=True):
            for at, line in enumerate(lines):
                write(MARGIN, top + tall / 2 + (at - (len(lines) - 1) / 2) * LINE, line, ha="left")
            for at, cell in enumerate(cells):
                x = left + at * (CELL + GAP)
                size = _inside(cell.image.size if cell.image else (CELL, tall), CELL, tall)
                corner = round(x + (CELL - size[0]) / 2), round(top + (tall - size[1]) / 2)
                box(*corner, size, CARD if cell.image is None else "none")
                if cell.image is None:
                    write(x + CELL / 2, top + tall / 2, shorten(cell.name, CELL - 4 * GAP), color=SOFT)
                else:
                    pixels = np.asarray(cell.image.resize(size))
                    figure.figimage(pixels, corner[0], height - corner[1] - size[1], origin="upper")
                for line_at, line in enumerate(cell.lines):
                    color = DARK if line_at == 0 else SOFT
                    write(x + CELL / 2, top + tall + (line_at + 0.65) * LINE, shorten(line, CELL), color=color)
            top += tall + 3 * LINE
        answer = io.BytesIO()
        canvas.print_png(answer)
    return answer.getvalue()


def _height(cells: Sequence[_Cell]) -> int:
    sizes = [cell.image.size for cell in (*cells[2:], cells[0]) if cell.image]
    wide, tall = sizes[0] if sizes else (1, 1)
    return round(CELL * min(max(tall / wide, LOWEST), HIGHEST))
