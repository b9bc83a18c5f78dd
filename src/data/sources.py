"""Where a picture or a weights file comes from: a path, an installed package, a mirror folder, the cache, its address.

Everything that has a pinned checksum is checked against it, wherever it came from. A download lands in the cache
whole or not at all.
"""

import hashlib
import http.client
import importlib.resources
import importlib.util
import logging
import os
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from src.common.errors import InputError
from src.common.files import atomic_file, cache_folder
from src.config.schema import Picture, RunConfig

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Found:
    """A file that is there, and the sha256 of its bytes (hex)."""

    path: Path
    sha256: str


def mirror_folder(configured: str | None) -> Path | None:
    """Return the folder that stands in for the network: `mirror=DIR`, else the environment's `STYLE_MIRROR`."""
    chosen = configured or os.environ.get("STYLE_MIRROR")
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise InputError(f"the mirror {folder} is no folder (mirror=DIR, or the environment variable STYLE_MIRROR)")
    return folder


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_files(config: RunConfig) -> dict[str, Found]:
    """Return the files of a run: its content and style images, and its init image where it starts from one.

    Raises:
        InputError: as `find_picture`.
    """
    found = {"content": config.content, "style": config.style}
    if config.init.name == "file":
        found["init"] = Picture(path=config.init.path)
    return {kind: find_picture(kind, picture, config.mirror) for kind, picture in found.items()}


def find_picture(kind: str, picture: Picture, mirror: str | None = None, download: bool = True) -> Found:
    """Return the file of a content or style image (`kind` is "content" or "style").

    Raises:
        InputError: no source is given, the file is not there, the checksum differs, or it would have to be
            downloaded and that failed or is not wanted.
    """
    if picture.path:
        path = Path(picture.path).expanduser()
        try:
            if not path.is_file():
                raise InputError(f"{kind}.path: {'this is a folder' if path.is_dir() else 'no such file'}: {path}")
            return Found(path, checked(path, picture.sha256))
        except OSError as error:
            raise InputError(f"{kind}.path: cannot read {path}: {error.strerror}") from None
    if picture.package:
        path = _packaged(picture.package)
        return Found(path, checked(path, picture.sha256))
    if picture.url:
        name = urllib.parse.unquote(Path(urllib.parse.urlsplit(picture.url).path).name)
        # two addresses may end in one name
        cached_as = f"{kind}/{hashlib.sha256(picture.url.encode()).hexdigest()[:12]}-{name}"
        return fetch(picture.url, f"{kind}/{name}", picture.sha256, mirror, cached_as=cached_as, download=download)
    raise InputError(f"{kind}={picture.name} needs {kind}.path=FILE")


def _packaged(location: str) -> Path:
    package, _, inside = location.partition(":")
    try:
        missing = importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        missing = True
    if missing:
        raise InputError(f"the picture is in the package {package}, which is not installed (make setup)")
    path = Path(str(importlib.resources.files(package))) / inside
    if not path.is_file():
        raise InputError(f"the package {package} holds no {inside}; its version is another one than the lock file's")
    return path


def fetch(
    url: str,
    name: str,
    sha256: str | None,
    mirror: str | None = None,
    hint: str = "",
    cached_as: str | None = None,
    download: bool = True,
) -> Found:
    """Return the file `name` (like `style/udnie.jpg`) from the mirror, the cache or its address, in this order.

    Args:
        url: where to download it from when neither has it.
        name: its path inside the mirror.
        sha256: its checksum, or the first digits of it.
        mirror: `mirror=DIR`; the environment's STYLE_MIRROR otherwise.
        hint: what else the user can do when the download is impossible, appended to the error.
        cached_as: its path inside the cache, where that is another.
        download: False leaves the network alone.

    Raises:
        InputError: the checksum differs, or the download failed: names address, checksum, place, and choices.
    """
    cached = cache_folder() / (cached_as or name)
    sha256 = sha256.lower() if sha256 else None
    if (folder := mirror_folder(mirror)) and (folder / name).is_file():
        return Found(folder / name, checked(folder / name, sha256))
    if cached.is_file():
        return Found(cached, checked(cached, sha256))
    if not download:
        raise InputError(f"neither a mirror nor the cache {cache_folder()} holds {name}")
    try:
        digest = _download(url, cached, sha256)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"cannot download {url} ({reason}); expected sha256 {sha256 or 'not pinned'}. Put the file at {cached}, "
            f"or give a folder that holds {name} with mirror=DIR{hint}"
        ) from None
    return Found(cached, digest)


def _download(url: str, target: Path, sha256: str | None) -> str:
    log.info("downloading %s", url)
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, atomic_file(target) as file:
        expected = int(answer.headers.get("Content-Length") or 0)
        received = 0
        while chunk := answer.read(1 << 20):
            received += len(chunk)
            digest.update(chunk)
            file.write(chunk)
        if received < expected:
            raise http.client.IncompleteRead(b"", expected - received)
        if sha256 and not digest.hexdigest().startswith(sha256):
            raise InputError(f"{url} sent a file with sha256 {digest.hexdigest()}, expected {sha256}; nothing was kept")
    return digest.hexdigest()


def checked(path: Path, sha256: str | None) -> str:
    """Return the sha256 of a file, which must begin with the expected digits where any are given.

    Raises:
        InputError: it does not.
    """
    digest = sha256_of(path)
    if sha256 and not digest.startswith(sha256.lower()):
        raise InputError(f"{path} has sha256 {digest}, expected {sha256}: another file, or a damaged one")
    return digest
