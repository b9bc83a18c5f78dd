"""Options of `python -m src.paint`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from src.common.errors import InputError
from src.common.files import expanded
from src.config.identity import folder_name
from src.config.options import option
from src.config.schema import SUFFIXES, Device, Picture, picture_name
from src.config.validation import CHOICES, LARGEST, LONGEST_SIDE, check_choices, check_ranges, check_trainer
from src.feedforward import TILE

CAMERA = "camera"
COLORS = ("style", "luminance", "content")
CLIP_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv")
SMALLEST_TILE = 256
RESULT_OPTIONS = ("edge", "color", "tile", "format")  # what, beside network and shares, a picture depends on


@dataclass
class PaintConfig:
    """What to stylise, by which network.

    Attributes:
        free_names: groups whose value may be a name for which conf/ has no file, such as the style of a user's network.
        folder_names: groups for which a folder is one value; elsewhere it is a sweep over its images.
    """

    free_names: ClassVar[tuple[str, ...]] = ("style",)
    folder_names: ClassVar[tuple[str, ...]] = ("content",)

    weights: str = option("own", "network: own, which comes with the program, or a file of src.distill")
    content: Picture = option(Picture, "image, folder of images, clip, or camera")
    style: Picture = option(
        Picture, "one of the network's styles; weights=own has brushwork (the default), dots, swell and tesserae"
    )
    shares: list[float] = option([], "mix the styles: a number for each of them, in their order; []: only style")
    edge: int | None = option(None, "long side of the result, px; null: as the content")
    color: str = option("style", "colours of the result: style | luminance (the content's chroma) | content")
    tile: int = option(TILE, "side of the tiles that larger pictures are computed in, px")
    format: str = option("png", "file format of pictures: png | jpeg | tiff | webp (lossless)")
    frames: int | None = option(None, "at most this many frames of a clip or camera; null: all (camera: until Ctrl-C)")
    serve: int | None = option(None, "camera: local port at which a browser shows the live result; null: none")
    export: str | None = option(None, "write the network to this file as ONNX, and stylise nothing")
    trainer: Device = option(Device, "device")
    max_megapixels: float = option(100.0, "largest image accepted")
    mirror: str | None = option(None, "folder to take known images from instead of downloading them")


def kind_of(config: PaintConfig) -> str:
    """Return what the content is: image | folder | clip | camera.

    Raises:
        InputError: there is no such file or folder.
    """
    path = config.content.path
    if path == CAMERA:
        return "camera"
    if path is None:
        return "image"
    file = expanded(path)
    if file.is_char_device():
        return "camera"
    if not file.exists():
        raise InputError(f"content.path: no such file or folder: {file}")
    return "folder" if file.is_dir() else "clip" if file.suffix.lower() in CLIP_SUFFIXES else "image"


def style_name(config: PaintConfig) -> str | None:
    """Return the name of the style that `style=` chooses; None: it chooses none."""
    name = picture_name(config.style)
    return None if name == Picture().name else name


def job_folder(config: PaintConfig) -> str:
    """Check a job and return the name of its folder.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check(config)
    words = [picture_name(config.content), Path(config.weights).stem, style_name(config) or ""]
    return folder_name(filter(None, words), identity(config))


def identity(config: PaintConfig) -> dict[str, object]:
    """Return the options that determine the result."""
    path = config.content.path
    content = str(expanded(path).resolve()) if path and path != CAMERA else path or config.content.name
    found: dict[str, object] = {"content": content, "weights": config.weights, "style": style_name(config)}
    return found | {name: getattr(config, name) for name in ("shares", *RESULT_OPTIONS, "frames")}


def check(config: PaintConfig) -> None:
    """Check all that can be checked without reading a file.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check_ranges(config, ("tile", "max_megapixels"), ())
    check_trainer(config.trainer, "32")
    accelerators = CHOICES["trainer.accelerator"]
    check_choices(config, {"color": COLORS, "format": SUFFIXES, "trainer.accelerator": accelerators})
    if config.edge is not None and not 16 <= config.edge <= LARGEST["edge"]:
        raise InputError(f"edge must be in 16..{LARGEST['edge']}, or null for the size of the content")
    if config.tile % 4 or config.tile < SMALLEST_TILE:
        raise InputError(f"tile must be a multiple of 4 of at least {SMALLEST_TILE} px, not {config.tile}")
    if config.shares and style_name(config) is not None:
        raise InputError("give style= for one style or shares= for a mixture, not both")
    if config.frames is not None and config.frames < 1:
        raise InputError(f"frames must be positive, or null for all, not {config.frames}")
    if config.content.mask:
        raise InputError("content.mask is for runs: a network stylises the whole picture")
    if config.export is None:
        kind = kind_of(config)
        if config.serve is not None and kind != "camera":
            raise InputError("serve= shows a camera's picture: use content.path=camera")
        if config.frames is not None and kind in ("image", "folder"):
            raise InputError("frames= is for a clip or a camera; leave it out for pictures")
        if config.format != PaintConfig.format and kind in ("clip", "camera"):
            raise InputError("format= is for pictures; leave it out: a clip is written as MP4")
    if config.edge is not None and config.edge > LONGEST_SIDE.get(config.format, math.inf):
        raise InputError(f"format={config.format} has at most {LONGEST_SIDE[config.format]} px a side; tiff has more")
    if config.serve is not None and not 1 <= config.serve <= 65535:
        raise InputError(f"serve is a port, in 1..65535, not {config.serve}")
