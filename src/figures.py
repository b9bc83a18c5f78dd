"""Figures of run folders. Figure 2 of the study: a row per run, its two images, and the picture on its way. And a grid
of contents and styles.

Nothing is downloaded and nothing measured. Heavy libraries are imported when a figure is drawn.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.records import Capture, RunRecord
from src.sheet import CELL, DARK, GAP, HEAD, LINE, MARGIN, SOFT, TITLE, Sheet, inside, shorten, width_of
from src.tables import number, plain_text

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS, CAPTURES = 12, 6  # at most, in one figure
LABEL = 190  # room for what sets a row apart, px
LARGE = 2 * CELL  # what is kept of a picture
LOWEST, HIGHEST = 0.5, 1.35  # height of a row, in cells: a panorama or a tower is made smaller within it

Run = tuple[Path, RunRecord]
# How a row says what sets its run apart from the others; "{}" alone needs no further word.
_WORDS = {
    "layers": "layers {}", "content_layer": "content {}", "loss": "{} loss", "alpha": "α = {:g}", "beta": "β = {:g}",
    "tv": "TV = {:g}", "backbone": "{}", "weights": "{} weights", "pool": "{} pooling", "optimizer": "{}",
    "lr": "lr {:g}", "init": "from {}", "edge": "{} px", "fit": "fit: {}", "steps": "{} steps", "seed": "seed {}",
    "precision": "precision {}",
}  # fmt: skip


def percent(capture: Capture, record: RunRecord) -> str:
    """Return how far along the run a capture is: "33 %"."""
    return f"{round(100 * capture.step / record.steps)} %" if record.steps else f"step {capture.step}"


def shared_places(places: Sequence[Sequence[str]]) -> list[str | None]:
    """Return for each position what all that reach it have there; None from where they differ, and for doublets."""
    columns = [{each[at] for each in places if at < len(each)} for at in range(max(map(len, places), default=0))]
    found = [column.pop() if len(column) == 1 else None for column in columns]
    return [place if found.count(place) == 1 and None not in found[:at] else None for at, place in enumerate(found)]


def varying(records: Iterable[RunRecord]) -> list[str]:
    """Return the settings, in words of the record, that are not the same in all runs."""
    records = list(records)
    return [name for name in _WORDS if len({repr(getattr(each, name)) for each in records}) > 1]


def order(record: RunRecord) -> tuple[Any, ...]:
    """Return what runs are sorted by: their pair, then their settings, numbers by value."""
    return tuple(getattr(record, name) for name in ("content", "style", *_WORDS))


def label(record: RunRecord, names: Sequence[str]) -> list[str]:
    """Return the lines that set a run apart, by the settings named; an unfinished run says so."""
    values = {name: getattr(record, name) for name in names}
    if "weights" in values:
        values["weights"] = Path(values["weights"]).name  # trained, random, or a path
    lines = [plain_text(_WORDS[name].format(value)) for name, value in values.items()]
    return lines if record.status == "finished" else [*lines, f"({plain_text(record.status)})"]


def shown(record: RunRecord) -> list[Capture]:
    """Return the captures that a row has room for, evenly chosen, the last among them."""
    captures, last = record.captures, len(record.captures) - 1
    if last < CAPTURES:
        return captures
    return [captures[round(at * last / (CAPTURES - 1))] for at in range(CAPTURES)]


class Gallery:
    """Hands out pictures; None, and a warning, for one that cannot be had."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self._kept: dict[tuple[str, ...], Image | None] = {}
        self._missing: set[str] = set()

    def source(self, kind: str, record: RunRecord) -> "Image | None":
        """Return the content or style image of a run, in the aspect it had at work; each is read once."""
        key = (kind, repr(record.config.get(kind)), str(getattr(record, f"{kind}_sha256")))
        if key not in self._kept:
            self._kept[key] = self._read(f"the {kind} image {getattr(record, kind)}", lambda: _find(kind, record))
        found = self._kept[key]
        if found and kind == "content" and record.width and record.height:
            return found.resize(inside((record.width, record.height), LARGE, LARGE))
        return found.resize((LARGE, LARGE)) if found and record.fit == "squash" else found

    def capture(self, path: Path) -> "Image | None":
        """Return the picture of a capture; one that cannot be had is told of once."""
        if str(path) in self._missing:
            return None
        if (found := self._read(f"the capture {path}", lambda: path)) is None:
            self._missing.add(str(path))
        return found

    def _read(self, what: str, locate: Callable[[], Path]) -> "Image | None":
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # a run has accepted it
                picture = _open(locate())
        except Exception as error:  # of Pillow's decoders many kinds; no picture is worth the whole report
            self.warn(f"{what} is not shown: {error}")
            return None
        picture.thumbnail((LARGE, LARGE))  # many large pictures must not fill the memory
        return picture


def _find(kind: str, record: RunRecord) -> Path:
    from src.catalogue import find_picture
    from src.config import Picture, typed

    config = typed(record.config)
    # Only the very file of the run will do; what lies there now may be another one.
    picture: Picture = getattr(config, kind)
    picture = dataclasses.replace(picture, sha256=getattr(record, f"{kind}_sha256") or picture.sha256)
    # The mirror of that time may be gone; the environment's may do.
    mirror = config.mirror if config.mirror and Path(config.mirror).expanduser().is_dir() else None
    return find_picture(kind, picture, mirror, download=False).path


def _open(path: Path) -> "Image":
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if image.mode in ("RGB", "L", "P", "CMYK") and "transparency" not in image.info:
            image.draft("RGB", (LARGE, LARGE))  # a large JPEG need not be decoded whole
            return ImageOps.exif_transpose(image).convert("RGB")
    from src.images import read_image  # alpha and 16 bits; rare enough to wait for torch

    return read_image(path)


@dataclass
class _Cell:
    image: "Image | None"
    name: str  # on the card that stands for a picture that cannot be had
    lines: list[str]


def _source(kind: str, record: RunRecord, gallery: Gallery) -> _Cell:
    name = plain_text(getattr(record, kind))
    return _Cell(gallery.source(kind, record), name, [name.replace("_", " ")])


def _sources(kind: str, runs: Sequence[Run], gallery: Gallery) -> dict[str, _Cell]:
    """Return the image of each name, in order; that of the first run where several have the name."""
    first = {getattr(record, kind): record for _, record in reversed(runs)}
    return {name: _source(kind, first[name], gallery) for name in sorted(first)}


def _row(run: Run, places: Sequence[str | None], gallery: Gallery) -> list[_Cell]:
    folder, record = run
    cells = [_source(kind, record, gallery) for kind in ("content", "style")]
    for at, capture in enumerate(shown(record)):
        place = "" if places[at] else f"{percent(capture, record)}:  "
        lines = [f"{place}loss {number(capture.loss_total)}"]
        cells.append(_Cell(gallery.capture(folder / capture.file), Path(capture.file).name, lines))
    measured = [f"SSIM {record.ssim:.3f}"] if record.ssim is not None else []
    measured += [f"{number(record.it_per_s)} it/s"] if record.it_per_s is not None else []
    cells[-1].lines.append("  ·  ".join(measured))
    return cells


def _height(cells: Sequence[_Cell]) -> int:
    """Return how high a row is: as the first of these pictures, within bounds."""
    sizes = [cell.image.size for cell in cells if cell.image]
    return round(CELL * min(max(sizes[0][1] / sizes[0][0] if sizes else 1.0, LOWEST), HIGHEST))


def _put(cell: _Cell, sheet: Sheet, x: int, y: int, tall: int) -> None:
    """Put a picture with its lines below it on a sheet."""
    sheet.paste(cell.image, cell.name, x, y, CELL, tall)
    for at, line in enumerate(cell.lines):
        sheet.write(x + CELL / 2, y + tall + (at + 0.85) * LINE, shorten(line, CELL), color=DARK if at == 0 else SOFT)


def draw(runs: Sequence[Run], names: Sequence[str], gallery: Gallery) -> bytes:
    """Return a figure of runs that have captures, as PNG.

    Args:
        runs: its rows, `ROWS` of them at most.
        names: the settings that tell the rows apart, as `varying` gives them for all runs of the report.
        gallery: where the pictures come from.
    """
    places = shared_places([[percent(each, record) for each in shown(record)] for _, record in runs])
    heads = ["content", "style", *(place or f"capture {at}" for at, place in enumerate(places, start=1))]
    labels = [[shorten(line, LABEL) for line in label(record, names)] for _, record in runs]
    rows = [_row(run, places, gallery) for run in runs]
    heights = [_height(cells[2:] + cells[:1]) for cells in rows]
    left = MARGIN + round(max((width_of(line) + 2 * GAP for lines in labels for line in lines), default=0))
    width = left + len(heads) * (CELL + GAP) - GAP + MARGIN
    deep = [max(tall + 3 * LINE, (len(lines) + 1) * LINE) for tall, lines in zip(heights, labels, strict=True)]
    sheet = Sheet(width, MARGIN + HEAD + sum(deep) - LINE // 2)
    for at, text in enumerate(heads):
        sheet.write(left + at * (CELL + GAP) + CELL / 2, MARGIN + HEAD / 2, text, TITLE)
    top = MARGIN + HEAD
    for cells, lines, tall, step in zip(rows, labels, heights, deep, strict=True):
        for at, line in enumerate(lines):
            sheet.write(MARGIN, top + max(0, tall - len(lines) * LINE) / 2 + (at + 0.75) * LINE, line, ha="left")
        for at, cell in enumerate(cells):
            _put(cell, sheet, left + at * (CELL + GAP), top, tall)
        top += step
    return sheet.png()


def is_grid(runs: Sequence[Run]) -> bool:
    """Return whether runs are several contents in several styles, each pair once at most, and alike in all else."""
    records = [record for _, record in runs]
    pairs = {(record.content, record.style) for record in records}
    several = all(len(set(names)) > 1 for names in zip(*pairs, strict=True))
    return len(pairs) == len(runs) > 0 and several and not varying(records)


def draw_grid(runs: Sequence[Run], gallery: Gallery) -> bytes:
    """Return the last pictures of runs, contents down, styles across, as PNG; a pair that is missing has no picture.

    Args:
        runs: as `is_grid` asks for, each with captures.
        gallery: where the pictures come from.
    """
    by_pair = {(record.content, record.style): (folder, record) for folder, record in runs}
    contents, styles = (_sources(kind, runs, gallery) for kind in ("content", "style"))
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
                picture = gallery.capture(folder / record.captures[-1].file)
                _put(_Cell(picture, f"{content} {style}", label(record, ())), sheet, MARGIN + across * step, top, tall)
        top += tall + 2 * LINE
    return sheet.png()
