"""Addresses of pictures: a token that nobody can guess, and a version that changes with the file."""

import hashlib
import hmac
import io
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image

from src.app.uploads import DECODING
from src.common.errors import InputError
from src.common.files import write_atomically
from src.data.images import reduced

SECRET = "secret"  # 32 random bytes in the app's folder, which only its user may read
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}  # of files that are sent as they are
KEPT_BYTES = 64 * 2**20  # of reduced copies in memory


def secret_of(folder: Path) -> bytes:
    """Return the secret that tokens are made with, the same after a restart.

    Raises:
        InputError: it cannot be written.
    """
    path = folder / SECRET
    if not path.is_file():
        write_atomically(path, secrets.token_bytes(32), private=True)
    return path.read_bytes()


@dataclass(frozen=True)
class Entry:
    """What an address stands for.

    Attributes:
        path: the file.
        edge: long side of the JPEG copy that is sent, px; None sends the file itself.
        session: the client that may have it; None for all.
    """

    path: Path
    edge: int | None
    session: str | None


class Addresses:
    """The addresses that this server has given out. A request names one of them; it never names a file.

    Args:
        secret: tokens are made with it.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._entries: dict[str, Entry] = {}
        self._copies: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = Lock()

    def token(self, *parts: object) -> str:
        """Return what stands for something in an address: 128 bits, which follow from it and the secret."""
        text = "\0".join(map(str, parts))
        return hmac.new(self._secret, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:32]

    def of(self, path: Path, edge: int | None = None, session: str | None = None) -> str | None:
        """Return the address of a picture at its present version; None where there is no such file.

        Args:
            path: the file. A format that browsers do not show is sent as a JPEG.
            edge: long side of a reduced copy, px.
            session: the client that may have it; None for all.
        """
        version = version_of(path)
        if version is None:
            return None
        if edge is None and path.suffix not in TYPES:
            edge = 4096
        token = self.token("picture", path.absolute(), edge, session)
        self._entries[token] = Entry(path, edge, session)
        return f"/pictures/{token}/{version}"

    def find(self, token: str, session: str | None) -> Entry | None:
        """Return what a token stands for; None for an unknown one, and for one of another client."""
        entry = self._entries.get(token)
        return entry if entry and entry.session in (None, session) else None

    def copy(self, token: str, entry: Entry, version: str) -> bytes:
        """Return the reduced JPEG copy of a picture, made once for each version.

        Raises:
            InputError: the file is no picture.
        """
        key = (token, version)
        with self._lock:
            if key in self._copies:
                self._copies.move_to_end(key)
                return self._copies[key]
        with DECODING:
            data = _jpeg(entry)
        with self._lock:
            self._copies[key] = data
            while sum(map(len, self._copies.values())) > KEPT_BYTES:
                self._copies.popitem(last=False)
        return data


def version_of(path: Path) -> str | None:
    """Return the version of a file, by its time and size; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


def _jpeg(entry: Entry) -> bytes:
    try:
        image: Image.Image = reduced(entry.path, entry.edge or 4096)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise InputError(f"{entry.path.name} is not shown: {error}") from error
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
