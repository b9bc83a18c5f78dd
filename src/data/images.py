"""Read, resize and write images: files and tensors (B, 3, H, W) in [0, 1], sRGB.

`open_image` opens what is optimised, `reduced` what is only shown. torch is imported when a tensor is made.
"""

import importlib.util
import io
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src.common.errors import InputError
from src.common.files import expanded, write_atomically
from src.common.packages import missing
from src.config.schema import SUFFIXES
from src.data import deep
from src.data.deep import SIDEWAYS
from src.data.profiles import is_srgb, srgb_profile, to_srgb

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

Fit = Literal["keep", "squash"]

# What cameras, browsers and painting programs write. Pillow reads more, but hands some of it (EPS, PostScript) to other
# programs, which run what the file says.
FORMATS: tuple[str, ...] = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000")
FORMATS += ("ICO", "PCX", "PSD", "QOI", "SGI", "HEIF", "TGA")  # TGA last: without a signature, it takes icons too
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")  # formats whose further frames are images of their own
SMALLEST_SIDE = 8  # px; SSIM's 11 x 11 window, reflected at the border, needs 6
PREVIEW_EDGE = 1600  # px, long side of the copies that trackers get
ORIENTATION = 0x0112  # EXIF tag
# Options of Pillow's encoders: full colour resolution, WebP without loss.
ENCODING: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"lossless": True},
}


class _Unlimited:
    """Lift Pillow's limit on the number of pixels, a global variable, while any thread is in the block."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._limit


_UNLIMITED = _Unlimited()


@contextmanager
def open_image(path: Path | str, max_megapixels: float = 100.0) -> Iterator[Image.Image]:
    """Open an image file by its content, whatever its suffix; only the header is read until pixels are asked for.

    Raises:
        InputError: on entering or inside the block: the file is missing, no regular file, empty, of none of `FORMATS`,
            truncated, smaller than 8 px, or larger than `max_megapixels`.
    """
    path = expanded(path)
    try:
        # opening a FIFO or a device could block for ever, and a folder has an error of its own
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else ""
            raise InputError(f"{path} {reason}, not an image file" if reason else f"no such image file: {path}")
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        with _UNLIMITED, warnings.catch_warnings():  # the limit below names the option that raises it
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata
            with Image.open(path, formats=_formats(path)) as image:
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
        if _is_heic(path) and "HEIF" not in Image.OPEN:
            raise InputError(
                f"{path} is a HEIC file, which needs a package: pip install pillow-heif (the extra files)"
            ) from None
        raise InputError(f"{path} is not an image of a known format; one of: {', '.join(FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError, ArithmeticError) as error:  # Pillow's decoders
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        raise InputError(f"{path} is damaged or truncated: {error}") from None


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(12)[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif", b"ftypmsf")


def _formats(path: Path) -> list[str]:
    """Return the formats to try for a file."""
    Image.init()
    if _is_heic(path) and importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
    return [name for name in FORMATS if name in Image.OPEN]  # HEIF, AVIF and WebP are optional


@dataclass(frozen=True)
class Pixels:
    """A decoded image, upright, in sRGB.

    Attributes:
        values: (H, W, 3 or 4), uint8 or uint16; the fourth channel is alpha, by which colours are not multiplied.
    """

    values: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height)."""
        return self.values.shape[1], self.values.shape[0]

    def color(self, size: tuple[int, int]) -> "Tensor":
        """Return the colours resized to (width, height), (1, 3, H, W) in [0, 1].

        Transparent pixels do not mix with others, and have the colours of their neighbourhood in the end.
        """
        import torch

        from src.ops.alpha import fill_transparent

        if self.values.dtype == np.uint8 and self.values.shape[2] == 3:
            return to_tensor(Image.fromarray(self.values), size)
        alpha = self.alpha(size)
        weights = 1.0 if alpha is None else self._scaled(3)
        resized = torch.stack([torch.from_numpy(_resized(self._scaled(at) * weights, size)) for at in range(3)])[None]
        if alpha is None:
            return resized.clamp(0, 1)
        return fill_transparent((resized / alpha.clamp_min(1e-6)).clamp(0, 1), alpha)

    def alpha(self, size: tuple[int, int]) -> "Tensor | None":
        """Return alpha resized to (width, height), (1, 1, H, W) in [0, 1]; None for an opaque image."""
        import torch

        if self.values.shape[2] == 3:
            return None
        return torch.from_numpy(_resized(self._scaled(3), size))[None, None].clamp(0, 1)

    def on_white(self) -> "Pixels":
        """Return the image without alpha, composited on white."""
        if self.values.shape[2] == 3:
            return self
        if self.values.dtype == np.uint8:
            image = Image.fromarray(self.values)
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Pixels(np.asarray(Image.alpha_composite(white, image).convert("RGB")))
        alpha = self._scaled(3)[..., None]
        mixed = self.values[..., :3] * alpha + 65535 * (1 - alpha)
        return Pixels(mixed.round().astype(np.uint16))

    def to_image(self) -> Image.Image:
        """Return the image as 8-bit RGB on white."""
        opaque = self.on_white().values
        return Image.fromarray(opaque if opaque.dtype == np.uint8 else _to_8_bits(opaque))

    def _scaled(self, channel: int) -> np.ndarray:
        """Return a channel as float32 in [0, 1]."""
        return self.values[..., channel].astype(np.float32) / np.iinfo(self.values.dtype).max


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return values (H, W), float32, resized as `to_tensor` does, without its rounding to 8 bits."""
    return np.array(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def read_image(path: Path | str, max_megapixels: float = 100.0) -> Image.Image:
    """Read an image file as 8-bit RGB in sRGB, upright, transparency composited on white.

    Raises:
        InputError: as `open_image`, and for values that are not finite.
    """
    with open_image(path, max_megapixels) as image:
        return Pixels(_decoded(image)[0]).to_image()


def read_pixels(path: Path | str, max_megapixels: float = 100.0, opaque: bool = False) -> Pixels:
    """Read an image file with 16 bits and alpha where it has them, upright, in sRGB.

    What is lost (further frames, bits, an unusable colour profile, alpha) is logged in one line.

    Args:
        path: the file.
        max_megapixels: as of `open_image`.
        opaque: composite transparency on white.

    Raises:
        InputError: as `read_image`, and for an image that is transparent everywhere.
    """
    with open_image(path, max_megapixels) as image:
        lost = []
        if image.format in ANIMATED and getattr(image, "n_frames", 1) > 1:
            lost.append(f"the first of {image.n_frames} frames is used")  # type: ignore[attr-defined]
        found: tuple[np.ndarray, bool] | None = None
        if ";16" in str(getattr(image, "tile", "")) and image.mode not in ("I", "I;16", "I;16B", "I;16L", "F"):
            if names := missing(deep.PACKAGES):
                lost.append(f"values are reduced to 8 bits; for 16: pip install {' '.join(names)} (the extra files)")
            else:
                found = deep.read(expanded(path), image, image.getexif().get(ORIENTATION, 1))
                lost += [] if found else ["values are reduced to 8 bits"]
        values, ignored = found or _decoded(image)
        if ignored:
            lost.append("its colour profile cannot be used, so it is taken for sRGB")
        pixels = Pixels(values)
    if pixels.values.shape[2] == 4:
        darkest, brightest = pixels.values[..., 3].min(), pixels.values[..., 3].max()
        if darkest == np.iinfo(pixels.values.dtype).max:
            pixels = Pixels(np.ascontiguousarray(pixels.values[..., :3]))
        elif opaque:
            pixels = pixels.on_white()
            lost.append("transparent parts become white")
        elif not brightest:
            raise InputError(f"{path} is transparent everywhere")
    if lost:
        log.info("%s: %s", path, ", ".join(lost))
    return pixels


def picture_size(path: Path | str, max_megapixels: float = math.inf) -> tuple[int, int]:
    """Return (width, height) of what `read_image` would return, from the file's header.

    Raises:
        InputError: as `open_image`.
    """
    with open_image(path, max_megapixels) as image:
        # Pillow gives a TIFF's size as it is when upright, but keeps the orientation until pixels are read.
        width, height = (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size  # type: ignore[attr-defined]
        return (height, width) if image.getexif().get(ORIENTATION, 1) in SIDEWAYS else (width, height)


def _decoded(image: Image.Image) -> tuple[np.ndarray, bool]:
    """Return the values, as of `Pixels`, that Pillow decodes, and whether the colour profile had to be ignored."""
    profile = image.info.get("icc_profile")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite (NaN or infinity)")
        # integers are scaled by 16 bits; floats are in [0, 1], also where resampling went beyond 1
        top = 1.0 if image.mode == "F" and values.max() <= 2.0 else 65535.0
        grey = (np.clip(values / top, 0, 1) * 65535 + 0.5).astype(np.uint16)
        return np.repeat(grey[..., None], 3, 2), not is_srgb(profile)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        opaque = "L" if image.mode in ("LA", "La") else "RGB"
        image = image.convert("RGBA")
        rgb, ignored = to_srgb(image.convert(opaque), profile)
        return np.concatenate([np.asarray(rgb), np.asarray(image)[..., 3:]], 2), ignored
    rgb, ignored = to_srgb(image, profile)
    return np.asarray(rgb), ignored


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


def tensor_image(image: "Tensor") -> Image.Image:
    """Return a tensor (3 or 4, H, W), clipped to [0, 1], as an image of 8 bits, RGB or RGBA."""
    return Image.fromarray(_integers(image, 8).astype(np.uint8))


def _integers(image: "Tensor", depth: int) -> np.ndarray:
    """Return a tensor (C, H, W), clipped to [0, 1], as whole numbers (H, W, C) from 0 to 2**depth - 1."""
    return image.detach().clamp(0, 1).mul(2**depth - 1).round().permute(1, 2, 0).cpu().numpy()


def write_image(path: Path, image: "Tensor", depth: int = 8) -> None:
    """Write an image atomically, in the format of its suffix (`SUFFIXES` of the schema), tagged as sRGB.

    Args:
        path: the file.
        image: (3 or 4, H, W), clipped to [0, 1]; the fourth channel is alpha, which JPEG has no place for.
        depth: bits of a channel, 8 or 16 (PNG and TIFF).
    """
    kind = {suffix: kind for kind, suffix in SUFFIXES.items()}[path.suffix[1:]].upper()
    if depth == 16:
        data = deep.encode(_integers(image, depth).astype(np.uint16), kind)
    else:
        buffer = io.BytesIO()
        tensor_image(image).save(buffer, kind, icc_profile=srgb_profile(), **ENCODING.get(kind, {}))
        data = buffer.getvalue()
    write_atomically(path, data)


def reduced(path: Path, limit: int) -> Image.Image:
    """Return an image file as RGB, upright, with a long side of at most `limit` px.

    Large JPEG files are decoded at a fraction of their size. Raises what Pillow's decoders do, and `InputError`.
    """
    picture = (_drafted(path, limit) if path.is_file() else None) or read_image(path, math.inf)  # a FIFO would block
    picture.thumbnail((limit, limit))
    return picture


def _drafted(path: Path, limit: int) -> Image.Image | None:
    """Return a PNG or JPEG file as RGB at `limit` px or more; None for other formats, alpha and colour profiles."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            plain = image.mode in ("RGB", "L", "P", "CMYK") and "transparency" not in image.info
            if not plain or not is_srgb(image.info.get("icc_profile")):
                return None
            image.draft("RGB", (limit, limit))
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None
