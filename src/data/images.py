"""Reading and writing pictures: sRGB tensors (3, H, W) in [0, 1].

Whatever a camera or a painting program writes is read quietly: EXIF orientation, grey, palette, CMYK, alpha
(composited on white), 16 bits per channel. What cannot be read is an `InputError` of one line.
"""

import io
import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from src.common.errors import InputError
from src.common.files import write_atomically

Fit = Literal["keep", "squash"]

# Below this a file holds no picture to speak of; SSIM's reflected 11 x 11 window needs 6 as well.
SMALLEST_SIDE = 8
# What is uploaded to be looked at beside curves, px: a large picture's file is in the run folder.
PREVIEW_EDGE = 1600
# Of EXIF: the entry, and its values that swap width and height.
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)


def read_image(path: Path | str, max_megapixels: float = 100.0) -> Image.Image:
    """Read a picture file as 8-bit RGB, upright, alpha composited on white. The content decides, not the suffix.

    Raises:
        InputError: the file is missing, empty, truncated, no image, smaller than 8 px, or has more than
            `max_megapixels` (checked on its header, before anything large is decoded).
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an image file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no such image file: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not data:
        raise InputError(f"{path} is empty")
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # our own limit below says which option raises it
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > max_megapixels * 1e6:
                raise InputError(
                    f"{path} is {width}x{height}, {width * height / 1e6:.0f} megapixels; the limit is "
                    f"{max_megapixels:g} (raise it with max_megapixels=N)"
                )
            if min(width, height) < SMALLEST_SIDE:
                raise InputError(f"{path} is {width}x{height} px; each side must have at least {SMALLEST_SIDE}")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image (or of a kind Pillow cannot read)") from None
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:  # Pillow's decoders raise all of these
        raise InputError(f"{path} is damaged or truncated: {error}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def picture_size(path: Path | str) -> tuple[int, int]:
    """Return (width, height) of what `read_image` would return, by the file's header alone.

    Raises:
        InputError: there is no picture in it.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
            return image.size[::-1] if turned else image.size
    except Exception as error:  # Pillow's decoders raise all kinds
        raise InputError(f"{path} is not an image (or of a kind Pillow cannot read): {error}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image, dtype=np.float64)
        # 16 bit is scaled by its full range; a float image is taken as [0, 1] unless its values say otherwise.
        top = 1.0 if image.mode == "F" and np.max(values) <= 1.0 else 65535.0
        image = Image.fromarray((np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def working_size(size: tuple[int, int], edge: int, fit: Fit) -> tuple[int, int]:
    """Return (width, height) at work: `edge` is the long side (keep) or both sides (squash, as the study does)."""
    if fit == "squash":
        return edge, edge
    width, height = size
    scale = edge / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def to_tensor(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Resize to (width, height) and return (1, 3, H, W) in [0, 1].

    Pillow's 8-bit antialiased bilinear resize of the decoded RGB, without colour management: what the study's
    program does.
    """
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32) / 255.0
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous()


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image (B, 3, H, W) in [0, 1] at (width, height), by bicubic interpolation."""
    return interpolated(image, size).clamp(0, 1)


def interpolated(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return values (B, C, H, W) of any range at (width, height), likewise."""
    width, height = size
    return F.interpolate(values, (height, width), mode="bicubic", align_corners=False)


def write_png(path: Path, image: Tensor) -> None:
    """Write a (3, H, W) tensor as an 8-bit PNG, whole or not at all. Values outside [0, 1] are clipped."""
    pixels = image.detach().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def preview(path: Path) -> Image.Image:
    """Return a picture of this program, made smaller where its long side has more than `PREVIEW_EDGE` pixels."""
    image = Image.open(path)
    image.thumbnail((PREVIEW_EDGE, PREVIEW_EDGE), Image.Resampling.LANCZOS)
    return image


def smallest_edge(size: tuple[int, int], needed: int, fit: Fit) -> int:
    """Return the smallest `edge` at which the short side of an image (width, height) has `needed` pixels."""
    edge = needed if fit == "squash" else math.ceil(needed * max(size) / min(size))
    while min(working_size(size, edge - 1, fit)) >= needed:  # rounding may have given a pixel
        edge -= 1
    return edge
