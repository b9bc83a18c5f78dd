"""Stylise what a configuration names: an image, a folder of images, a clip, or the picture of a camera."""

import dataclasses
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from src.common.errors import OTHER_FOLDER, InputError
from src.common.files import expanded, sole_writer
from src.common.platform import cpu_threads, device_name
from src.common.signals import Interrupts
from src.config.schema import SUFFIXES
from src.config.validation import LONGEST_SIDE
from src.data import clips
from src.data.folders import distinct_names
from src.data.images import Pixels, read_pixels, tensor_image, to_tensor, write_image
from src.data.sources import PICTURE_SUFFIXES, find_picture, sha256_of
from src.feedforward.export import export_onnx
from src.feedforward.weights import load_network
from src.paint.camera import Show, camera_frames
from src.paint.config import RESULT_OPTIONS, PaintConfig, check, kind_of, style_name
from src.paint.painter import Painter
from src.paint.record import PaintRecord
from src.tracking.command_record import recorded
from src.training.loop import find_device

log = logging.getLogger(__name__)

CLIP = "clip.mp4"


def paint(config: PaintConfig, folder: Path) -> str:
    """Stylise the content and write results and `paint.json` into `folder`; return the status.

    In a folder of images, those that were finished with the same network and options are left as they are.

    Raises:
        InputError: an option or a file cannot be used.
        Interrupted: SIGINT or SIGTERM; the finished pictures are kept.
    """
    check(config)
    loaded = load_network(config.weights)
    shares = loaded.shares(style_name(config), config.shares)
    if config.export is not None:
        path = expanded(config.export)
        export_onnx(loaded, path)
        log.info("%s: styles %s", path, ", ".join(loaded.styles))
        return "finished"
    kind = kind_of(config)
    if kind in ("clip", "camera"):
        clips.check_installed()
    source = _source(config, kind)
    if kind != "camera":
        _check_folder(source, folder)
    with Interrupts() as interrupts, sole_writer(folder), cpu_threads(config.trainer.threads):
        device = find_device(config.trainer)
        painter = Painter(loaded, shares, device, config.edge, config.color, config.tile)
        record = _open_record(config, kind, source, folder, painter)
        record.device = device_name(device)
        log.info("network %s, style %s", config.weights, _described(record.shares))
        job = {"image": _image, "folder": _folder, "clip": _clip, "camera": _camera}[kind]
        with recorded(record, folder):
            begun = time.monotonic()
            try:
                job(config, source, folder, painter, record, interrupts)
            finally:
                record.seconds += time.monotonic() - begun
        if kind != "camera":  # a signal is the normal end of a recording
            interrupts.check()
    return record.status


def _described(shares: Mapping[str, float]) -> str:
    """Return the styles that have a share as text, such as `dots`, or `0.25 dots, 0.75 swell`."""
    chosen = {style: share for style, share in shares.items() if share}
    return ", ".join(chosen if len(chosen) == 1 else (f"{share:g} {style}" for style, share in chosen.items()))


def _source(config: PaintConfig, kind: str) -> Path:
    """Return the file, folder or device that is stylised."""
    if kind == "image":
        return find_picture("content", config.content, config.mirror).path
    return expanded(config.content.path or "")


def _pictures(folder: Path) -> list[Path]:
    """Return the paths in a folder that have a picture's suffix, sorted.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    except OSError as error:
        raise InputError(f"content.path: cannot read {folder}: {error.strerror}") from None


def _files(folder: Path) -> list[Path]:
    """Return the picture files of a folder, sorted; InputError as `_pictures`."""
    return [path for path in _pictures(folder) if path.is_file()]


def _check_folder(source: Path, folder: Path) -> None:
    """Check that no result can replace an original.

    Raises:
        InputError: the results would be written to the content's own folder.
    """
    inside = source.is_dir()
    files = _pictures(source) if inside else [source]
    own = {source if inside else source.parent}
    own |= {Path(os.path.realpath(file)).parent for file in files}  # a link's target may be an original
    if folder.is_dir() and any(folder.samefile(each) for each in own if each.is_dir()):
        raise InputError(f"the results would be written to {folder}, the content's own folder; {OTHER_FOLDER}")


def _open_record(config: PaintConfig, kind: str, source: Path, folder: Path, painter: Painter) -> PaintRecord:
    """Return the record of the folder, without pictures of another network or of other options.

    Raises:
        InputError: the folder holds files of others that results would replace.
    """
    before = PaintRecord.read(folder)
    record = before or PaintRecord(config={})
    if before is None or before.status != "running":  # a job that was killed could not note its last file
        taken = [name for name in _targets(config, kind, source) if (folder / name).exists()]
        if foreign := [name for name in taken if name not in record.results]:
            raise InputError(f"{folder} holds {foreign[0]}, which this command did not make; {OTHER_FOLDER}")
    plain, digest = dataclasses.asdict(config), sha256_of(painter.loaded.path)
    shares = dict(zip(painter.loaded.styles, painter.shares[0].tolist(), strict=True))
    same = record.weights_sha256 == digest and record.shares == shares
    same = same and all(record.config.get(name) == plain[name] for name in RESULT_OPTIONS)
    if not same:  # all but recordings are to be made again; their names stay known as the command's own
        record.results = {name: result if "camera" in result else {} for name, result in record.results.items()}
    record.config, record.weights_sha256, record.shares = plain, digest, shares
    return record


def _targets(config: PaintConfig, kind: str, source: Path) -> list[str]:
    """Return the names of the files that a job writes, in which it would replace others; a camera's are always new."""
    if kind == "folder":
        return [f"{name}.{SUFFIXES[config.format]}" for name in distinct_names(_files(source))]
    return {"image": [f"image.{SUFFIXES[config.format]}"], "clip": [CLIP], "camera": []}[kind]


def _image(
    config: PaintConfig, source: Path, folder: Path, painter: Painter, record: PaintRecord, interrupts: Interrupts
) -> None:
    path = folder / f"image.{SUFFIXES[config.format]}"
    _write(_read(source, config, painter), path, sha256_of(source), painter, record)
    result = record.results[path.name]
    log.info("%s: %d x %d px in %.2f s", path, result["width"], result["height"], result["seconds"])


def _read(source: Path, config: PaintConfig, painter: Painter) -> Pixels:
    """Read an image file.

    Raises:
        InputError: it cannot be read, or is larger than pictures of the format can be.
    """
    pixels = read_pixels(source, config.max_megapixels, opaque=config.format == "jpeg")
    longest = LONGEST_SIDE.get(config.format, math.inf)
    if max(painter.size(pixels.size)) > longest:
        raise InputError(
            f"{source} is too large: format={config.format} has at most {longest} px a side; tiff has more"
        )
    return pixels


def _write(pixels: Pixels, target: Path, digest: str, painter: Painter, record: PaintRecord) -> None:
    """Stylise an image, write it and note the result."""
    before = painter.seconds
    result = painter.paint(pixels)
    write_image(target, result[0])
    height, width = result.shape[2:]
    seconds = painter.seconds - before
    record.results[target.name] = {"content_sha256": digest, "width": width, "height": height, "seconds": seconds}


def _folder(
    config: PaintConfig, source: Path, folder: Path, painter: Painter, record: PaintRecord, interrupts: Interrupts
) -> None:
    paths = _files(source)
    if not paths:
        raise InputError(f"content.path: {source} holds no pictures ({' '.join(PICTURE_SUFFIXES)})")
    left_out = 0
    for path, name in tqdm(
        list(zip(paths, distinct_names(paths), strict=True)), unit="picture", disable=None, leave=False
    ):
        interrupts.check()
        target = folder / f"{name}.{SUFFIXES[config.format]}"
        try:
            digest = sha256_of(path)
            if target.is_file() and record.results.get(target.name, {}).get("content_sha256") == digest:
                continue
            pixels = _read(path, config, painter)
        except (InputError, OSError) as error:
            log.warning("left out: %s", error)
            left_out += 1
            continue
        _write(pixels, target, digest, painter, record)
        record.write(folder)
    if left_out == len(paths):
        raise InputError(f"content.path: no picture of {source} can be read")
    log.info("%s: %d pictures%s", folder, len(paths) - left_out, f", {left_out} left out" if left_out else "")


def _clip(
    config: PaintConfig, source: Path, folder: Path, painter: Painter, record: PaintRecord, interrupts: Interrupts
) -> None:
    if "camera" in record.results.get(CLIP, {}) and (folder / CLIP).exists():
        raise InputError(f"{folder / CLIP} is the recording of a camera; {OTHER_FOLDER}")
    clip = clips.open_clip(source)
    total = min(config.frames or math.inf, clip.frames) if clip.frames else config.frames
    frames = iter(tqdm(clips.read_frames(clip), unit="frame", total=total, disable=None, leave=False))
    sound = source if clip.audio else None
    _encode(config, folder / CLIP, painter, record, interrupts, frames, clip.rate, sound)


def _camera(
    config: PaintConfig, source: Path, folder: Path, painter: Painter, record: PaintRecord, interrupts: Interrupts
) -> None:
    path = _unused(folder / CLIP)
    with Show(config.serve) as show, camera_frames(config.content.path or "", interrupts.requested) as (rate, frames):
        log.info("Ctrl-C ends the recording")
        _encode(config, path, painter, record, interrupts, frames, rate, None, show)


def _unused(path: Path) -> Path:
    """Return a path that does not exist yet: this one, or the first of NAME-2, NAME-3, ... beside it."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(each for each in chain([path], numbered) if not each.exists())


def _encode(
    config: PaintConfig,
    path: Path,
    painter: Painter,
    record: PaintRecord,
    interrupts: Interrupts,
    frames: Iterator[clips.Frame],
    rate: Fraction,
    sound: Path | None,
    show: "Show | None" = None,
) -> None:
    """Stylise frames one by one as they are read, and write them as a clip.

    A signal ends the recording of a camera, which is kept whatever ends it; any other job is interrupted.
    """
    frames = islice(frames, config.frames)
    first = next(frames, None)
    interrupts.check()
    if first is None:
        raise InputError("there is no frame to stylise")
    width, height = clips.even_size(painter.size(first.image.size))

    def results() -> Iterator[clips.Frame]:
        for frame in chain([first], frames):
            if show is None:
                interrupts.check()
            result = tensor_image(painter(to_tensor(frame.image, (width, height)))[0])
            if show is not None:
                show(result)
            yield clips.Frame(result, frame.time)

    result: dict[str, Any] = {"width": width, "height": height}
    if live := show is not None:
        result["camera"] = config.content.path
        record.results[path.name] = result
        record.write(path.parent)  # first, so that no later command takes the recording for a clip of its own
    made = clips.write_clip(path, results(), rate, sound, live)
    record.results[path.name] = {**result, "seconds": painter.seconds, "frames": made}
    record.write(path.parent)
    rate_of_network = made / max(painter.seconds, 1e-9)
    log.info("%s: %d frames of %dx%d px, %.1f frames/s (network only)", path, made, width, height, rate_of_network)
