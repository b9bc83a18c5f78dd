"""The pictures that runs worked with and made, read from where they lie. Nothing is downloaded.

Heavy libraries are imported when a picture is read.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from src.report.sheet import CELL, inside
from src.tracking.record import RunRecord

if TYPE_CHECKING:
    from PIL.Image import Image

LARGE = 2 * CELL  # what is kept of a picture


class Pictures:
    """Hands out pictures; None, and a warning, for one that cannot be had."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self._kept: dict[tuple[str, ...], Image | None] = {}
        self._missing: set[str] = set()

    def source(self, kind: str, record: RunRecord) -> "Image | None":
        """Return the content or style image of a run, in the aspect it had at work; each is read once."""
        key = (kind, repr(record.config.get(kind)), str(getattr(record, f"{kind}_sha256")))
        if key not in self._kept:
            self._kept[key] = self._read(f"the {kind} image {getattr(record, kind)}", lambda: find(kind, record))
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
            with large_ones_too():
                return read(locate(), LARGE)
        except Exception as error:  # of Pillow's decoders many kinds; no picture is worth the whole report
            self.warn(f"{what} is not shown: {error}")
            return None


def find(kind: str, record: RunRecord) -> Path:
    """Return the file of a run's content or style image (`kind`).

    Raises:
        InputError: it is not to be had without the network, or another picture lies there now.
    """
    from src.config.schema import Picture, typed
    from src.data.sources import find_picture

    config = typed(record.config)
    # Only the very file of the run will do; what lies there now may be another one.
    picture: Picture = getattr(config, kind)
    picture = dataclasses.replace(picture, sha256=getattr(record, f"{kind}_sha256") or picture.sha256)
    # The mirror of that time may be gone; the environment's may do.
    mirror = config.mirror if config.mirror and Path(config.mirror).expanduser().is_dir() else None
    return find_picture(kind, picture, mirror, download=False).path


@contextmanager
def large_ones_too() -> Iterator[None]:
    """Read pictures that Pillow warns of as too large: a run has accepted them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
        yield


def read(path: Path, limit: int) -> "Image":
    """Return a picture as RGB, upright, made smaller than `limit` px: many large ones must not fill the memory.

    Raises whatever Pillow's decoders do.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if image.mode in ("RGB", "L", "P", "CMYK") and "transparency" not in image.info:
            image.draft("RGB", (limit, limit))  # a large JPEG need not be decoded whole
            picture = ImageOps.exif_transpose(image).convert("RGB")
        else:
            from src.data.images import read_image  # alpha and 16 bits; rare enough to wait for torch

            picture = read_image(path)
    picture.thumbnail((limit, limit))
    return picture
