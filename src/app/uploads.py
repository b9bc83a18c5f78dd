"""Pictures that clients have sent: checked by Pillow's decoder, kept under random names, seen by their owner alone."""

import asyncio
import hashlib
import json
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from src.common.errors import InputError
from src.common.files import write_atomically, write_error
from src.data.images import open_image, read_image

MAX_BYTES = 40 * 2**20  # of one file
MAX_MEGAPIXELS = 50.0
MAX_TOTAL = 4 * 2**30  # of all uploads together
DECODING = threading.Lock()  # held while a picture is decoded: one of MAX_MEGAPIXELS may take over 1 GB meanwhile
DESCRIPTION = "upload.json"
KINDS = ("content", "style", "mask")
# The suffix of a file by Pillow's name of its format; others have that name itself.
SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "DIB": "bmp", "HEIF": "heic"}
_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


class TooLarge(InputError):
    """A file has more bytes than the page takes."""


@dataclass(frozen=True)
class Upload:
    """A picture that a client has sent.

    Attributes:
        identifier: 128 random bits, hex; the name of its folder.
        owner: sha256 of the session that sent it.
        name: what the client called it, for display only.
        file: its name on disk.
        kind: what the client sent it for, one of `KINDS`.
    """

    identifier: str
    owner: str
    name: str
    file: str
    kind: str


class Uploads:
    """The uploads below a folder.

    Args:
        folder: each upload has a folder of a random name in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._keeping = folder, asyncio.Lock()
        for unfinished in folder.glob("*"):  # a server that was killed left it
            if _IDENTIFIER.fullmatch(unfinished.name) and not (unfinished / DESCRIPTION).is_file():
                shutil.rmtree(unfinished, ignore_errors=True)

    async def receive(self, session: str, name: str, body: AsyncIterator[bytes], kind: str = "content") -> Upload:
        """Store a file as it arrives, check it, and return it.

        Args:
            session: of the client.
            name: what the client calls the file; no path is made of more than its letters and digits.
            body: its bytes.
            kind: what it is sent for, one of `KINDS`.

        Raises:
            TooLarge: it has more bytes than `MAX_BYTES`, or all uploads would have more than `MAX_TOTAL`.
            InputError: it is no picture that `src.data.images` reads, is damaged, or has too many pixels.
        """
        if kind not in KINDS:
            raise InputError(f"a picture is sent as one of {', '.join(KINDS)}, not {kind}")
        identifier = secrets.token_hex(16)
        folder = self.folder / identifier
        if await asyncio.to_thread(self._total) >= MAX_TOTAL:
            raise self._full()
        try:
            folder.mkdir(parents=True)
            received, part = 0, folder / "part"
            with part.open("wb") as file:
                async for chunk in body:
                    received += len(chunk)
                    if received > MAX_BYTES:
                        raise TooLarge(f"{name} is larger than {MAX_BYTES >> 20} MB, the most that this page takes")
                    file.write(chunk)
            suffix = await asyncio.to_thread(_checked, part, name)
            kept = Upload(identifier, _owner(session), name, f"{_stem(name)}.{suffix}", kind)
            async with self._keeping:  # others may have arrived meanwhile
                if await asyncio.to_thread(self._total) > MAX_TOTAL:
                    raise self._full()
                part.rename(folder / kept.file)
                write_atomically(folder / DESCRIPTION, json.dumps(asdict(kept)).encode())
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise write_error(folder, error) from error
            raise
        return kept

    def find(self, session: str, identifier: str) -> Upload:
        """Return an upload of a client.

        Raises:
            InputError: the client has none of this identifier.
        """
        found = self._read(identifier) if _IDENTIFIER.fullmatch(identifier) else None
        if found is None or not secrets.compare_digest(found.owner, _owner(session)):
            raise InputError("that picture is not here any more; send it again")
        return found

    def path(self, upload: Upload) -> Path:
        """Return the file of an upload."""
        return self.folder / upload.identifier / upload.file

    def of(self, session: str) -> list[Upload]:
        """Return the uploads of a client, oldest first."""
        owner, found = _owner(session), []
        with suppress(OSError):
            for folder in self.folder.iterdir():
                upload = self._read(folder.name)
                if upload is not None and upload.owner == owner:
                    found.append(upload)
        return sorted(found, key=lambda each: (self.folder / each.identifier / DESCRIPTION).stat().st_mtime_ns)

    def _read(self, identifier: str) -> Upload | None:
        try:
            described = json.loads((self.folder / identifier / DESCRIPTION).read_text())
            earlier = {"kind": "mask" if described["name"] == "mask.png" else "content"}  # versions without kinds
            return Upload(**{**earlier, **described})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _full(self) -> TooLarge:
        return TooLarge(f"the upload quota ({MAX_TOTAL >> 30} GB) is full; delete unused uploads in {self.folder}")

    def _total(self) -> int:
        total = 0
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):  # of an upload that has just been refused
                total += path.stat().st_size
        return total


def _owner(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()


def _stem(name: str) -> str:
    """Return at most 40 letters, digits, - and _ of a file's name: runs are named after it."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", Path(name).stem)[:40].strip("_-") or "picture"


def _checked(path: Path, name: str) -> str:
    """Decode a file once and return the suffix for its format.

    Raises:
        InputError: as `read_image`, with the client's name of the file.
    """
    try:
        with DECODING, open_image(path, MAX_MEGAPIXELS) as image:
            kind = str(image.format)
            read_image(path, MAX_MEGAPIXELS)
    except InputError as error:
        text = str(error).replace(str(path), name)
        raise InputError(text.replace(" (raise it with max_megapixels=N)", "")) from None
    return SUFFIXES.get(kind, kind.lower())
