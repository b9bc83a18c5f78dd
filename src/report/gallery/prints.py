"""Pictures for the page: copies that load quickly, in a folder beside it, named by where they come from."""

import hashlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from src.common.files import write_error
from src.report.pictures import large_ones_too, read

FOLDER = "images"
LARGE, SMALL = 1024, 400  # px; a picture no larger than the small one is its own
_OURS = re.compile(r"[0-9a-f]{16}(-small)?\.jpg")


@dataclass(frozen=True)
class Print:
    """A copy: its files, relative to the page, and its size, px."""

    file: str
    small: str
    width: int
    height: int


class Prints:
    """Makes copies, those that are there already left alone.

    Args:
        out: the folder of the page.
        warn: told of a picture that cannot be had.
    """

    def __init__(self, out: Path, warn: Callable[[str], None]) -> None:
        self.folder = out / FOLDER
        self.warn = warn
        self._sources: dict[Path, str] = {}

    def order(self, source: Path, what: str) -> Path:
        """Ask for a copy of a picture, called `what` where it cannot be had; return what it will be known by."""
        source = source.resolve()
        self._sources.setdefault(source, what)
        return source

    def make(self) -> dict[Path, Print]:
        """Return the copies of all that was asked for and could be read; copies of an earlier page are removed.

        Raises:
            InputError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        with large_ones_too(), ThreadPoolExecutor(os.cpu_count()) as pool:
            made = dict(zip(self._sources, pool.map(self._print, self._sources), strict=True))
        found = {source: copy for source, copy in made.items() if copy}
        kept = {Path(name).name for copy in found.values() for name in (copy.file, copy.small)}
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink()
        return found

    def _print(self, source: Path) -> Print | None:
        name = hashlib.sha256(os.fsencode(source)).hexdigest()[:16]
        try:
            return self._held(source, name) or self._copy(source, name)
        except Exception as error:  # of Pillow's decoders many kinds; no picture is worth the whole page
            self.warn(f"{self._sources[source]} is not shown: {error}")
            return None

    def _names(self, name: str, size: tuple[int, int]) -> tuple[str, str]:
        return f"{name}.jpg", f"{name}-small.jpg" if max(size) > SMALL else f"{name}.jpg"

    def _held(self, source: Path, name: str) -> Print | None:
        """Return the copy made before, unless the source has changed since."""
        from PIL import Image

        path = self.folder / f"{name}.jpg"
        if not path.is_file() or path.stat().st_mtime_ns != source.stat().st_mtime_ns:
            return None
        with Image.open(path) as image:
            size = image.size
        file, small = self._names(name, size)
        return Print(f"{FOLDER}/{file}", f"{FOLDER}/{small}", *size) if (self.folder / small).is_file() else None

    def _copy(self, source: Path, name: str) -> Print:
        picture = read(source, LARGE)
        size = picture.size
        file, small = self._names(name, size)
        # full colour resolution: what styles consist of is coloured detail
        picture.save(self.folder / file, "JPEG", quality=90, subsampling=0)
        if small != file:
            picture.thumbnail((SMALL, SMALL))
            picture.save(self.folder / small, "JPEG", quality=85)
        times = source.stat()
        os.utime(self.folder / file, ns=(times.st_atime_ns, times.st_mtime_ns))  # last: a copy cut short is made again
        return Print(f"{FOLDER}/{file}", f"{FOLDER}/{small}", *size)
