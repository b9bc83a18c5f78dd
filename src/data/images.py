"""Read, resize and write images: 8-bit RGB files and tensors (B, 3, H, W) in [0, 1], sRGB.

`open_image` is the only place that opens an image file; torch is imported when a tensor is made.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src.common.errors import InputError
from src.common.files import expanded, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

Fit = Literal["keep", "squash"]

# What cameras, browsers and painting programs write. Pillow reads more, but hands some of it (EPS, PostScript) to other
# programs, which run what the file says.
FORMATS: tuple[str, ...] = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000")
FORMATS += ("TGA", "ICO", "PCX", "PSD", "QOI", "SGI")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")  # formats whose further frames are images of their own
SMALLEST_SIDE = 8  # px; SSIM's 11 x 11 window, reflected at the border, needs 6
PREVIEW_EDGE = 1600  # px, long side of the copies that trackers get
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that swap width and height


@contextmanager
def open_image(path: Path | str, max_megapixels: float = 100.0) -> Iterator[Image.Image]:
    """Open an image file by its content, whatever its suffix; only the header is read until pixels are asked for.

    Raises:
        InputError: on entering or inside the block: the file is missing, no regular file, empty, of none of `FORMATS`,
            truncated, smaller than 8 px, or larger than `max_megapixels`.
    """
    path = expanded(path)
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # the limit below names the option that raises it
    try:
        # opening a FIFO or a device could block for ever, and a folder has an error of its own
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else ""
            raise InputError(f"{path} {reason}, not an image file" if reason else f"no such image file: {path}")
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata
            with Image.open(path, formats=_formats()) as image:
                width, height = image.size
                if width * height > max_megapixels * 1e6:
                    raise InputError(
                        f"{path} is {width}x{height}, {width * height / 1e6:.0f} megapixels; the limit is "
                        f"{max_megapixels:g} (raise it with max_megapixels=N)"
                    )
                if min(width, height) < SMALLEST_SIDE:
                    raise InputError(f"{path} is {width}x{height} px; each side must have at least {SMALLEST_SIDE}")
                yield image
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image of a known format; one of: {', '.join(FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError, ArithmeticError) as error:  # Pillow's decoders
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        raise InputError(f"{path} is damaged or truncated: {error}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF and WebP are optional in Pillow's builds


def read_image(path: Path | str, max_megapixels: float = 100.0) -> Image.Image:
    """Read an image file as 8-bit RGB, upright, transparency composited on white.

    What 8-bit RGB cannot hold (alpha, 16 bits, further frames) is dropped, and logged in one line.

    Raises:
        InputError: as `open_image`, and for values that are not finite.
    """
    with open_image(path, max_megapixels) as image:
        lost = []
        if image.format in ANIMATED and getattr(image, "n_frames", 1) > 1:
            lost.append(f"the first of {image.n_frames} frames is used")  # type: ignore[attr-defined]
        if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
            lost.append("values are reduced to 8 bits")
        image.load()
        rgb, transparent = _to_rgb(ImageOps.exif_transpose(image))
        if transparent:
            lost.append("transparent parts become white")
        if lost:
            log.info("%s: %s", path, ", ".join(lost))
        return rgb


def picture_size(path: Path | str, max_megapixels: float = math.inf) -> tuple[int, int]:
    """Return (width, height) of what `read_image` would return, from the file's header.

    Raises:
        InputError: as `open_image`.
    """
    with open_image(path, max_megapixels) as image:
        return image.size[::-1] if image.getexif().get(ORIENTATION, 1) in SIDEWAYS else image.size


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return an image as RGB on white, and whether any of its pixels was transparent."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite (NaN or infinity)")
        # integers are scaled by 16 bits; floats are in [0, 1] unless one of them is larger
        top = 1.0 if image.mode == "F" and values.max() <= 1.0 else 65535.0
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        transparent = image.getchannel("A").getextrema()[0] < 255  # type: ignore[operator]
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB"), transparent
    return image.convert("RGB"), False


def working_size(size: tuple[int, int], edge: int, fit: Fit) -> tuple[int, int]:
    """Return the (width, height) to optimise at: `edge` is the long side (keep) or both sides (squash)."""
    if fit == "squash":
        return edge, edge
    width, height = size
    scale = edge / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def smallest_edge(size: tuple[int, int], needed: int, fit: Fit) -> int:
    """Return the smallest `edge` at which the short side of an image (width, height) has `needed` pixels."""
    edge = needed if fit == "squash" else math.ceil(needed * max(size) / min(size))
    while min(working_size(size, edge - 1, fit)) >= needed:  # rounding may have added a pixel
        edge -= 1
    return edge


def to_tensor(image: Image.Image, size: tuple[int, int]) -> "Tensor":
    """Return an RGB image resized to (width, height) as a tensor (1, 3, H, W) in [0, 1].

    Pillow's antialiased bilinear resize on 8-bit values without colour management, as the published program has it.
    """
    import torch

    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32) / 255.0
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous()


def resize(image: "Tensor", size: tuple[int, int]) -> "Tensor":
    """Resize an image (B, 3, H, W) to (width, height) by bicubic interpolation, clipped to [0, 1]."""
    return interpolated(image, size).clamp(0, 1)


def interpolated(values: "Tensor", size: tuple[int, int]) -> "Tensor":
    """Resize values (B, C, H, W) of any range to (width, height) by bicubic interpolation."""
    import torch.nn.functional as F

    width, height = size
    return F.interpolate(values, (height, width), mode="bicubic", align_corners=False)


def write_png(path: Path, image: "Tensor") -> None:
    """Write an image (3, H, W), clipped to [0, 1], as an 8-bit PNG, atomically."""
    pixels = image.detach().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def preview(path: Path) -> Image.Image:
    """Return an image file, reduced to `PREVIEW_EDGE` where its long side is longer."""
    with open_image(path, math.inf) as image:
        image.thumbnail((PREVIEW_EDGE, PREVIEW_EDGE), Image.Resampling.LANCZOS)
        return image.copy()
