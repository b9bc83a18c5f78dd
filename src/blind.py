"""Blind comparison of two sets of pictures: `python -m src.blind OURS THEIRS --out DIR`, then `--tally VERDICTS`.

For every pair that both sets have, a sheet shows content, style, and the two pictures as A and B in random order;
which is which stands in `key.csv` alone. A judge, who sees no key, writes a CSV with the columns `pair` and `better`
(A or B); the tally then says who won, with Wilson's 95 % interval, and where.
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
from src.config.composition import compose
from src.config.schema import Picture, picture_name, typed
from src.data.images import read_image
from src.data.sources import find_picture
from src.tracking import record as records

KEY = "key.csv"
MARGIN = 10
CAPTION = 22

Pair = tuple[str, str]


def collect(folder: Path) -> dict[Pair, Path]:
    """Return the pictures of a set by (content, style): finished runs below `folder`, or `CONTENT/STYLE.png` in it.

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
                raise InputError(f"{folder} holds two finished runs of {' in '.join(pair)}; one set, one run a pair")
            found[pair] = run / "image.png"
    if not found:
        found = {(path.parent.name, path.stem): path for path in sorted(folder.glob("*/*.png"))}
    if not found:
        raise InputError(f"{folder} holds neither finished runs nor pictures CONTENT/STYLE.png")
    return found


def lay_out(ours: Path, theirs: Path, out: Path, seed: int) -> int:
    """Write a sheet for each pair that both sets have, and the key; return how many.

    Raises:
        InputError: no pair is in both, or a content or style image cannot be had.
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
        name = f"{content}--{style}"
        shown = [read_image(sets[side][content, style]) for side in sides]
        config = _config_of(sets["ours"][content, style], content, style)
        originals = [read_image(find_picture(kind, picture).path) for kind, picture in config.items()]
        pictures = dict(zip(("content", "style", "A", "B"), [*originals, *shown], strict=True))
        write_atomically(out / f"{name}.png", _sheet(pictures))
        rows.append({"pair": name, "A": sides[0], "B": sides[1]})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["pair", "A", "B"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out / KEY, text.getvalue().encode())
    return len(rows)


def _config_of(picture: Path, content: str, style: str) -> dict[str, Picture]:
    record = records.read(picture.parent)
    config = typed(record.config) if record else compose([f"content={content}", f"style={style}"])
    return {"content": config.content, "style": config.style}


def _sheet(pictures: Mapping[str, Image.Image]) -> bytes:
    """Return a PNG of pictures side by side under their captions, all at the size of A."""
    width, height = pictures["A"].size
    sheet = Image.new("RGB", (len(pictures) * (width + MARGIN) + MARGIN, height + CAPTION + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (caption, picture) in enumerate(pictures.items()):
        left = MARGIN + place * (width + MARGIN)
        pen.text((left, 5), caption, fill="black")
        sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, CAPTION))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def tally(key: Path, verdicts: Path) -> str:
    """Return who won, in all and by content and style, as Markdown.

    Raises:
        InputError: a file is not there or not of the right form, or verdicts are missing, unknown or doubled.
    """
    sides = {row["pair"]: row for row in _read(key, ("pair", "A", "B"))}
    rows = _read(verdicts, ("pair", "better"))
    given = {row["pair"]: row["better"].strip().upper() for row in rows}
    if wrong := sorted({pair for pair, better in given.items() if pair not in sides or better not in ("A", "B")}):
        raise InputError(f"{verdicts}: no pair of {key}, or neither A nor B: {', '.join(wrong)}")
    if len(given) < len(rows) or given.keys() != sides.keys():
        raise InputError(f"{verdicts} has {len(rows)} verdicts on {len(given)} pairs, {key} has {len(sides)} pairs")
    won: dict[str, list[bool]] = defaultdict(list)
    for pair, better in given.items():
        content, _, style = pair.partition("--")
        for group in ("all", f"content {content}", f"style {style}"):
            won[group].append(sides[pair][better] == "ours")
    lines = ["| | ours better | of | share | 95 % |", "|---|---|---|---|---|"]
    for group, results in sorted(won.items()):
        low, high = wilson(sum(results), len(results))
        share = sum(results) / len(results)
        lines.append(f"| {group} | {sum(results)} | {len(results)} | {share:.0%} | {low:.0%} to {high:.0%} |")
    return "\n".join(lines)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not rows or not set(columns) <= {name for name, value in rows[0].items() if value is not None}:
        raise InputError(f"{path} needs the columns {', '.join(columns)}")
    return rows


def wilson(won: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    share = won / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def main() -> None:
    """Read the command line; print one line on bad input."""
    parser = argparse.ArgumentParser(prog="python -m src.blind", description=__doc__.splitlines()[0])
    parser.add_argument(
        "sets", nargs="*", type=Path, metavar="FOLDER", help="two sets: a sweep's folder, or CONTENT/STYLE.png"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("multirun/blind"), help="where sheets and key go (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of A and B (default: %(default)s)")
    parser.add_argument(
        "--tally", type=Path, metavar="VERDICTS", help="count a CSV of verdicts against the key in --out"
    )
    options = parser.parse_args()
    try:
        if options.tally:
            print(tally(options.out / KEY, options.tally))
        elif len(options.sets) == 2:
            ours, theirs = options.sets
            print(f"{lay_out(ours, theirs, options.out, options.seed)} sheets in {options.out}")
        else:
            parser.error("two sets of pictures are needed, or --tally VERDICTS")
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
