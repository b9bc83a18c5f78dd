"""Locate image and weights files: a path, an installed package, a mirror folder, the cache, a download.

A pinned checksum is checked wherever the file is found. Downloads reach the cache whole or not at all.
"""

import hashlib
import http.client
import importlib.resources
import importlib.util
import logging
import os
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from src.common.errors import InputError
from src.common.files import atomic_file, cache_folder, chosen_cache, expanded
from src.config.schema import FILE_STARTS, Picture, RunConfig, blended, is_label, masks
from src.data.networks import network_path

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20.0
PICTURE_SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff")
PICTURE_SUFFIXES += (".bmp", ".gif", ".ppm", ".pgm", ".jp2", ".tga")
VIEWS = "canvas.views"  # the option that names a file of views
RETRY_SECONDS = 60.0  # after which a download that failed is tried again; before, jobs of a sweep fail at once
_FAILED: dict[str, tuple[float, str]] = {}  # address -> time of the next try, error


@dataclass(frozen=True)
class Found:
    """A local file and the sha256 of its bytes (hex)."""

    path: Path
    sha256: str


def mirror_folder(configured: str | None) -> Path | None:
    """Return the folder to use in place of the network: `mirror=DIR`, else the environment's `STYLE_MIRROR`.

    Raises:
        InputError: it is not a folder.
    """
    chosen = configured or os.environ.get("STYLE_MIRROR")
    if not chosen:
        return None
    folder = expanded(chosen)
    if not folder.is_dir():
        raise InputError(f"the mirror {folder} is no folder (mirror=DIR, or the environment variable STYLE_MIRROR)")
    return folder


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pictures_of(config: RunConfig) -> dict[str, Picture]:
    """Return the images of a run by the options that name them: content, styles, masks, references, start."""
    found = {"content": config.content, "style": config.style}
    found |= {f"blend.styles[{place}]": picture for place, picture in enumerate(blended(config))}
    found |= {option: Picture(path=mask) for option, mask in masks(config).items() if not is_label(mask)}
    for option, paths in vars(config.reference).items():
        found |= {f"reference.{option}[{place}]": Picture(path=path) for place, path in enumerate(paths)}
    if config.init.name in FILE_STARTS:
        found["init"] = Picture(path=config.init.path)
    return found


def inputs_of(config: RunConfig) -> dict[str, Picture]:
    """Return the files that a run reads by the options that name them: its images, its views, and its network.

    Raises:
        InputError: there is no such network.
    """
    others = {VIEWS: Picture(path=config.canvas.views)} if config.canvas.views else {}
    if config.init.name == "network":
        others["init"] = Picture(path=str(network_path(config.init.path or "", "init.path")))
    return pictures_of(config) | others


def find_files(config: RunConfig) -> dict[str, Found]:
    """Return the files of `inputs_of(config)`, downloaded where necessary.

    Raises:
        InputError: as `find_picture`.
    """
    return {kind: find_picture(kind, picture, config.mirror) for kind, picture in inputs_of(config).items()}


def check_local_files(config: RunConfig) -> None:
    """Check the mirror, addresses, and files that need no download, before anything is created for a run.

    Raises:
        InputError: as `find_picture`.
    """
    mirror_folder(config.mirror)
    for kind, picture in inputs_of(config).items():
        if picture.url and not picture.path:
            _file_name(kind, picture.url)
        else:
            find_picture(kind, picture)


def existing_mirror(configured: str | None) -> str | None:
    """Return a run's `mirror=DIR` if it is still there; None leaves the choice to STYLE_MIRROR."""
    return configured if configured and expanded(configured).is_dir() else None


def find_picture(kind: str, picture: Picture, mirror: str | None = None, download: bool = True) -> Found:
    """Return the file of an image.

    Args:
        kind: a name of `pictures_of`, for messages; those of content and style are folders of a mirror too.
        picture: says where it is.
        mirror: `mirror=DIR`.
        download: whether the network may be used.

    Raises:
        InputError: the image has no source, its file is missing, its checksum differs, or it must be downloaded and
            that failed or is not allowed.
    """
    option = f"{kind}.path" if kind in ("content", "style", "init") else kind
    if picture.path:
        path = expanded(picture.path)
        try:
            if not path.is_file():
                reason = (
                    "this is a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
                )
                raise InputError(f"{option}: {reason}: {path}")
            return Found(path, checked(path, picture.sha256))
        except OSError as error:
            raise InputError(f"{option}: cannot read {path}: {error.strerror}") from None
    if picture.package:
        path = _packaged(picture.package)
        return Found(path, checked(path, picture.sha256))
    if picture.url:
        name = _file_name(kind, picture.url)
        # the digest keeps addresses apart that end in the same name
        folder = "style" if kind.startswith("blend") else kind
        cached_as = f"{folder}/{hashlib.sha256(picture.url.encode()).hexdigest()[:12]}-{name}"
        return fetch(picture.url, f"{folder}/{name}", picture.sha256, mirror, cached_as=cached_as, download=download)
    raise InputError(f"{kind}={picture.name} needs {kind}.path=FILE")


def _file_name(kind: str, url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{kind}.url={url} is no address; write http://HOST/FILE or https://HOST/FILE")
    return urllib.parse.unquote(Path(parts.path).name)[-100:].replace("/", "_").replace("\0", "_")


def _packaged(location: str) -> Path:
    package, _, inside = location.partition(":")
    try:
        missing = importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        missing = True
    if missing:
        raise InputError(f"the image is in the package {package}, which is not installed (make setup)")
    path = Path(str(importlib.resources.files(package))) / inside
    if not path.is_file():
        raise InputError(f"the package {package} has no file {inside}; install the version of requirements.lock")
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
    """Return the file `name` (such as `style/udnie.jpg`) from the mirror, the cache or its address, in this order.

    Args:
        url: the address to download it from.
        name: its path inside the mirror.
        sha256: its checksum, or the first digits of it.
        mirror: `mirror=DIR`; by default the environment's STYLE_MIRROR.
        hint: what else the user can do when the download fails, appended to the error.
        cached_as: its path inside the cache, by default `name`.
        download: whether the network may be used.

    Raises:
        InputError: the checksum differs, or the download failed: names address, checksum, cache path and choices.
    """
    sha256 = sha256.lower() if sha256 else None
    candidates = [folder / name for folder in (mirror_folder(mirror),) if folder]
    candidates += [folder / (cached_as or name) for folder in (chosen_cache(), cache_folder())]
    for path in candidates:
        if path.is_file():
            return Found(path, checked(path, sha256))
    if not download:
        raise InputError(f"neither a mirror nor the cache {chosen_cache()} holds {name}")
    cached = candidates[-1]
    if url not in _FAILED or time.monotonic() >= _FAILED[url][0]:
        try:
            return Found(cached, _download(url, cached, sha256))
        except InputError as error:
            told = str(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            told = (
                f"cannot download {url} ({getattr(error, 'reason', None) or error}); expected sha256 "
                f"{sha256 or 'not pinned'}. Put the file at {cached}, or give a folder that holds {name} with "
                f"mirror=DIR{hint}"
            )
        _FAILED[url] = time.monotonic() + RETRY_SECONDS, told
    raise InputError(_FAILED[url][1])


def _download(url: str, target: Path, sha256: str | None) -> str:
    log.info("downloading %s", url)
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, atomic_file(target) as file:
        expected = int(answer.headers.get("Content-Length") or 0)
        received = 0
        while chunk := _read(answer):
            received += len(chunk)
            digest.update(chunk)
            file.write(chunk)
        if received < expected:
            raise http.client.IncompleteRead(b"", expected - received)
        if sha256 and not digest.hexdigest().startswith(sha256):
            raise InputError(f"{url} sent a file with sha256 {digest.hexdigest()}, expected {sha256}; nothing was kept")
    return digest.hexdigest()


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(1 << 20)
    except OSError as error:  # of the network; atomic_file would report it as one of the disk
        raise http.client.HTTPException(error) from error


def checked(path: Path, sha256: str | None) -> str:
    """Return the sha256 of a file, hex.

    Raises:
        InputError: it does not begin with the expected digits, where any are given.
    """
    digest = sha256_of(path)
    if sha256 and not digest.startswith(sha256.lower()):
        raise InputError(f"{path} has sha256 {digest}, expected {sha256}: another file, or a damaged one")
    return digest
