"""JPEG copies of the images of runs, in a folder beside the page; figures are drawn from them too.

Nothing is downloaded.
"""

import dataclasses
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from src.common.errors import InputError
from src.common.files import write_error
from src.data.images import reduced
from src.data.sources import existing_mirror, find_picture
from src.report.options import PAIR
from src.report.runs import Run
from src.tracking.record import Capture

FOLDER = "images"
LARGE, SMALL = 1024, 400  # px, the long side
CAPTURES = 6  # of a run at most
_OURS = re.compile(r"[0-9a-f]{16}(-small)?\.jpg")


def shown(run: Run) -> list[Capture]:
    """Return at most `CAPTURES` captures of a run, evenly chosen, the last among them."""
    captures, last = run.record.captures, len(run.record.captures) - 1
    if last < CAPTURES:
        return captures
    return [captures[round(at * last / (CAPTURES - 1))] for at in range(CAPTURES)]


@dataclass(frozen=True)
class Thumbnail:
    """A large and a small copy, relative to the page, and the size of the large one, px."""

    file: str
    small: str
    width: int
    height: int


class Thumbnails:
    """The copies of all images of runs. An image that cannot be read has none, and one warning.

    Args:
        out: the folder of the page; copies there that are up to date are kept, those of other images are deleted.
        runs: the runs.
        warn: called with a line for each image that cannot be shown.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, out: Path, runs: Iterable[Run], warn: Callable[[str], None]) -> None:
        self._out, self._warn = out, warn
        self._sources: dict[tuple[str, ...], Path | None] = {}
        files: dict[Path, str] = {}
        for run in runs:
            sources = {self._find(kind, run): f"the {kind} image {getattr(run, kind)}" for kind in PAIR}
            files |= {file: what for file, what in sources.items() if file}
            files |= {run.folder / capture.file: f"the capture {run.folder / capture.file}" for capture in shown(run)}
        try:
            (out / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(out / FOLDER, error) from error
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # the runs have accepted them
            copies = dict(zip(files, pool.map(self._copy, files, files.values()), strict=True))
        self._made = {file: copy for file, copy in copies.items() if copy}
        kept = {name for copy in self._made.values() for name in (copy.file, copy.small)}
        for path in (out / FOLDER).iterdir():
            if _OURS.fullmatch(path.name) and f"{FOLDER}/{path.name}" not in kept:
                path.unlink()

    def source(self, kind: str, run: Run) -> Thumbnail | None:
        """Return the copy of a run's content or style image (`kind`)."""
        file = self._find(kind, run)
        return self._made.get(file) if file else None

    def capture(self, run: Run, capture: Capture) -> Thumbnail | None:
        """Return the copy of one of the captures that `shown` gives."""
        return self._made.get(run.folder / capture.file)

    def read(self, copy: Thumbnail | None, limit: int) -> Image.Image | None:
        """Return the large copy as an image of at least `limit` px, unless it is smaller; None for None."""
        if copy is None:
            return None
        with Image.open(self._out / copy.file, formats=("JPEG",)) as image:
            image.draft("RGB", (limit, limit))
            image.load()
            return image

    def _find(self, kind: str, run: Run) -> Path | None:
        """Return the file of a content or style image; None, with a warning, without the file that the run used."""
        options, sha256 = run.record.options, getattr(run.record, f"{kind}_sha256")
        picture = getattr(options, kind)
        key = (kind, repr(picture), str(sha256))
        if key not in self._sources:
            picture = dataclasses.replace(picture, sha256=sha256 or picture.sha256)
            try:
                mirror = existing_mirror(options.mirror)
                self._sources[key] = find_picture(kind, picture, mirror, download=False).path
            except (InputError, OSError) as error:
                self._warn(f"the {kind} image {getattr(run, kind)} is not shown: {error}")
                self._sources[key] = None
        return self._sources[key]

    def _copy(self, source: Path, what: str) -> Thumbnail | None:
        """Write the copies of an image unless they are there, as new as the image."""
        name = f"{FOLDER}/{hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:16]}"
        large, small = self._out / f"{name}.jpg", self._out / f"{name}-small.jpg"
        try:
            modified = source.stat().st_mtime_ns
            if not (large.is_file() and small.is_file() and large.stat().st_mtime_ns == modified):
                image = reduced(source, LARGE)
                # full colour resolution: the detail of a style is in its colours too
                image.save(large, "JPEG", quality=90, subsampling=0)
                image.thumbnail((SMALL, SMALL))
                image.save(small, "JPEG", quality=85)
                os.utime(large, ns=(modified, modified))  # last, so that an interrupted copy is redone
            with Image.open(large, formats=("JPEG",)) as held:
                return Thumbnail(f"{name}.jpg", f"{name}-small.jpg", *held.size)
        except Exception as error:  # Pillow's decoders raise many kinds; one image must not stop the report
            self._warn(f"{what} is not shown: {error}")
            return None
