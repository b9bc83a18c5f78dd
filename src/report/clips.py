"""Stylised clips in a report: a contact sheet, a player and a row of a table each."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from PIL import Image

from src.common.errors import InputError
from src.common.tables import Table, plain_text
from src.common.tables import number as number_of
from src.config.identity import NON_IDENTITY_FIELDS
from src.config.schema import SUFFIXES
from src.data.images import reduced
from src.report.gallery.run_data import link
from src.report.options import PAIR, flatten, in_order, label_of, written
from src.report.sheet import CELL, Cell, Row, lay_out
from src.tracking import clip_record
from src.tracking.clip_record import FRAMES, VIDEO, ClipRecord, clip_name, content_file, frame_name

COLUMNS = 6  # of a contact sheet
LINKED = ("video.linked", "video.passes")
ROWS = 12  # of a contact sheet at most, besides those of the content
SHEET = "Frames evenly chosen from the clips: the content, and below it the results."
NOTE = (
    "Warping error: mean squared difference between a frame and its predecessor warped to it by the content's flow, "
    "over the pixels that are visible in both; losses are means over the frames."
)


@dataclass(frozen=True)
class StylisedClip:
    """A folder of `python -m src.video` with its record.

    Attributes:
        varying: options, by dotted names, in which it differs from the others of the report.
    """

    folder: Path
    record: ClipRecord
    varying: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the content's clip."""
        return plain_text(clip_name(self.record.config))

    @property
    def label(self) -> list[str]:
        """Return the style, how frames are linked where that is not the usual way, and the varying options."""
        style, options = self.record.config["style"], flatten(self.record.config)
        named = Path(style["path"]).stem if style["path"] and style["name"] == "file" else style["name"]
        passes = options["video.passes"]
        linked = [f"{passes} passes"] if passes > 1 else []
        others = [label_of(name, written(name, options.get(name))) for name in self.varying if name not in LINKED]
        return [plain_text(named), *(linked if options["video.linked"] else ["each frame by itself"]), *others]

    def result(self, number: int) -> Path:
        """Return the file of a stylised frame."""
        return self.folder / FRAMES / frame_name(number) / f"image.{SUFFIXES[self.record.config['format']]}"

    def measured(self, number: int) -> list[str]:
        """Return the line below a frame."""
        error = self.record.frames.get(str(number), {}).get("warping_error")
        return [] if error is None else [f"warping error {number_of(error)}"]


def gather_clips(folders: Iterable[Path], warn: Callable[[str], object]) -> list[StylisedClip]:
    """Return the clips below folders with at least one finished frame, each once, ordered by name and style."""
    found: dict[Path, StylisedClip] = {}
    for folder in folders:
        for path in sorted(folder.rglob(clip_record.FILE)):
            try:
                record = ClipRecord.read(path.parent)
            except InputError as error:
                warn(f"left out: {error}")
                continue
            if record and record.frames:
                found[path.parent.resolve()] = StylisedClip(path.parent, record)
    varying = _varying([clip.record for clip in found.values()])
    return sorted((replace(clip, varying=varying) for clip in found.values()), key=lambda clip: (clip.name, clip.label))


def _varying(records: Sequence[ClipRecord]) -> tuple[str, ...]:
    """Return the options that a result depends on, without the pair, in which records differ."""
    outside = (*PAIR, *NON_IDENTITY_FIELDS)
    options = [flatten(record.config) for record in records]
    names = in_order(dict.fromkeys(name for each in options for name in each))
    return tuple(
        name
        for name in names
        if name.partition(".")[0] not in outside and len({repr(each.get(name)) for each in options}) > 1
    )


def contact_sheet(clips: Sequence[StylisedClip], warn: Callable[[str], object]) -> bytes | None:
    """Return frames of the clips as JPEG: for each content a row of it, and a row for each of its clips."""
    groups: dict[tuple[object, ...], list[StylisedClip]] = defaultdict(list)
    for clip in clips[:ROWS]:
        record = clip.record
        groups[clip.name, record.checksums.get("content"), record.begin, record.rate, record.count].append(clip)
    rows = []
    for some in groups.values():
        first = some[0]
        name, count = first.name, first.record.count
        last = max(map(int, first.record.frames))
        chosen = sorted({round(at * last / (COLUMNS - 1)) for at in range(COLUMNS)})
        cells: list[Cell | None] = [
            _cell(content_file(first.folder, first.record.config, at), [f"frame {at} of {count}"], warn)
            for at in chosen
        ]
        rows.append(Row([name], cells))
        rows += [Row(each.label, [_cell(each.result(at), each.measured(at), warn) for at in chosen]) for each in some]
    return lay_out([""] * max(len(row.cells) for row in rows), rows) if rows else None


def _cell(path: Path, lines: list[str], warn: Callable[[str], object]) -> Cell:
    image: Image.Image | None = None
    try:
        image = reduced(path, 2 * CELL)
    except (InputError, OSError, ValueError) as error:
        warn(f"{path} is not shown: {error}")
    return Cell(image, path.name, lines)


def table(clips: Sequence[StylisedClip]) -> Table:
    """Return a row a clip."""
    rows = []
    for clip in clips:
        record = clip.record
        rows.append(
            {
                "clip": clip.name,
                "style": ", ".join(clip.label),
                "frames": f"{len(record.frames)} of {record.count}",
                "per second": f"{float(Fraction(record.rate)):.4g}",
                "scenes": str(1 + len(record.cuts)),
                "sound": record.audio or "none",
                "warping error": number_of(record.mean("warping_error")),
                "style loss": number_of(record.mean("loss/style")),
                "content loss": number_of(record.mean("loss/content")),
                "seconds a frame": number_of(record.mean("seconds")),
                "status": plain_text(record.status),
            }
        )
    return Table("Clips", NOTE, rows)


def players(clips: Sequence[StylisedClip], out: Path) -> list[dict[str, object]]:
    """Return what the page plays: heading, address relative to the page, and size of each clip that is complete."""
    return [
        {
            "head": f"{clip.name} in the style of {', '.join(clip.label)}",
            "source": link(clip.folder / VIDEO, out),
            "width": clip.record.width,
            "height": clip.record.height,
        }
        for clip in clips
        if (clip.folder / VIDEO).is_file()
    ]
