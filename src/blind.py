"""Blind comparison of two sets of images: `python -m src.blind OURS THEIRS --out DIR`, then `--tally VERDICTS`.

A sheet for every pair that both sets have shows content, style, and the two results as A and B in random order; only
`key.csv` says which is which. A judge, who does not see the key, writes a CSV with the columns `pair` and `better`
(A or B). The tally counts the verdicts, with Wilson's 95 % interval.
"""

import argparse
import csv
import io
import math
import random
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from src.common.errors import InputError
from src.common.files import write_atomically
from src.common.tables import to_csv, to_markdown
from src.config.composition import compose
from src.config.schema import picture_name, result_file
from src.data.images import read_image
from src.data.sources import existing_mirror, find_picture
from src.tracking import record as records

KEY = "key.csv"
MARGIN = 10
CAPTION = 22

Pair = tuple[str, str]


def collect(folder: Path) -> dict[Pair, Path]:
    """Return the images of a set by (content, style): finished runs below `folder`, or else `CONTENT/STYLE.png` in it.

    Raises:
        InputError: there are none, or two runs of one pair.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    found: dict[Pair, Path] = {}
    for run, record in records.scan(folder):
        if record.status == "finished":
            pair = (picture_name(record.options.content), picture_name(record.options.style))
            if pair in found:
                twice = " in ".join(pair)
                raise InputError(f"{folder} holds two finished runs of {twice}; give a set with one run a pair")
            found[pair] = run / result_file(record.options)
    found = found or {(path.parent.name, path.stem): path for path in sorted(folder.glob("*/*.png"))}
    if not found:
        raise InputError(f"{folder} holds neither finished runs nor images CONTENT/STYLE.png")
    return found


def lay_out(ours: Path, theirs: Path, out: Path, seed: int) -> int:
    """Write a sheet for each pair that both sets have, and the key; return the number of sheets.

    Raises:
        InputError: no pair is in both sets, or an image cannot be read.
    """
    sets = {"ours": collect(ours), "theirs": collect(theirs)}
    pairs = sorted(sets["ours"].keys() & sets["theirs"].keys())
    if not pairs:
        raise InputError(f"{ours} and {theirs} have no pair in common")
    order = random.Random(seed)
    rows = []
    for content, style in pairs:
        sides = ["ours", "theirs"]
        order.shuffle(sides)
        record = records.read(sets["ours"][content, style].parent)
        config = record.options if record else compose([f"content={content}", f"style={style}"])
        mirror = existing_mirror(config.mirror)
        files = {kind: find_picture(kind, getattr(config, kind), mirror).path for kind in ("content", "style")}
        files |= {name: sets[side][content, style] for name, side in zip("AB", sides, strict=True)}
        write_atomically(out / f"{content}--{style}.png", _sheet({name: _image(file) for name, file in files.items()}))
        rows.append({"pair": f"{content}--{style}", "A": sides[0], "B": sides[1]})
    write_atomically(out / KEY, to_csv(rows).encode())
    return len(rows)


def _image(path: Path) -> Image.Image:
    if not path.is_file():  # a FIFO would block
        raise InputError(f"no such image file: {path}")
    return read_image(path)


def _sheet(images: Mapping[str, Image.Image]) -> bytes:
    """Return a PNG of images side by side under their captions, all at the size of A."""
    width, height = images["A"].size
    sheet = Image.new("RGB", (len(images) * (width + MARGIN) + MARGIN, height + CAPTION + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (caption, image) in enumerate(images.items()):
        left = MARGIN + place * (width + MARGIN)
        pen.text((left, 5), caption, fill="black")
        sheet.paste(image.resize((width, height), Image.Resampling.LANCZOS), (left, CAPTION))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def tally(key: Path, verdicts: Path) -> str:
    """Return how often ours was better, in all and by content and style, as a Markdown table.

    Raises:
        InputError: a file cannot be read or lacks a column, or verdicts are missing, unknown or repeated.
    """
    sides = {row["pair"]: row for row in _read(key, ("pair", "A", "B"))}
    rows = _read(verdicts, ("pair", "better"))
    given = {row["pair"]: row["better"].strip().upper() for row in rows}
    if wrong := sorted({pair for pair, better in given.items() if pair not in sides or better not in ("A", "B")}):
        raise InputError(f"{verdicts}: not a pair of {key}, or neither A nor B: {', '.join(wrong)}")
    if len(given) < len(rows) or given.keys() != sides.keys():
        raise InputError(f"{verdicts} has {len(rows)} verdicts on {len(given)} pairs, {key} has {len(sides)} pairs")
    won: dict[str, list[bool]] = defaultdict(list)
    for pair, better in given.items():
        content, _, style = pair.partition("--")
        for group in ("all", f"content {content}", f"style {style}"):
            won[group].append(sides[pair][better] == "ours")
    rows = []
    for group, results in sorted(won.items()):
        low, high = wilson(sum(results), len(results))
        row = {"": group, "ours better": str(sum(results)), "of": str(len(results))}
        rows.append(row | {"share": f"{sum(results) / len(results):.0%}", "95 %": f"{low:.0%} to {high:.0%}"})
    return to_markdown(rows)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not rows or not set(columns) <= {name for name, value in rows[0].items() if value is not None}:
        raise InputError(f"{path} needs the columns {', '.join(columns)}")
    return rows


def wilson(won: int, of: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson 1927)."""
    share, z = won / of, 1.96
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = ((middle + sign * spread) / (1 + z * z / of) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def main() -> None:
    """Read the command line; exit with one line on bad input."""
    parser = argparse.ArgumentParser(prog="python -m src.blind", description=__doc__.splitlines()[0])
    what = "two sets: folders of a sweep, or of CONTENT/STYLE.png"
    parser.add_argument("sets", nargs="*", type=Path, metavar="FOLDER", help=what)
    where = "folder of sheets and key (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("multirun/blind"), help=where)
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of A and B (default: %(default)s)")
    parser.add_argument("--tally", type=Path, metavar="VERDICTS", help="count a CSV of verdicts by the key in --out")
    options = parser.parse_args()
    try:
        if options.tally:
            print(tally(options.out / KEY, options.tally))
        elif len(options.sets) == 2:
            ours, theirs = options.sets
            print(f"{lay_out(ours, theirs, options.out, options.seed)} sheets in {options.out}")
        else:
            parser.error("give two sets of images, or --tally VERDICTS")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
