"""PNG and TIFF files of 16 bits a channel, by the optional packages imagecodecs and tifffile.

Pillow reads them too, but gives colours 8 bits.
"""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.profiles import is_srgb, opened, srgb_profile

PACKAGES = {"imagecodecs": "imagecodecs", "tifffile": "tifffile"}
ASSOCIATED, UNASSOCIATED = 1, 2  # TIFF: alpha that colours are multiplied by already, and other alpha
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # TIFF: photometric interpretation
# EXIF orientation -> the axes to flip, after swapping them for orientations from 5.
FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
SIDEWAYS = (5, 6, 7, 8)


def read(path: Path, image: Image.Image, orientation: int) -> tuple[np.ndarray, bool] | None:
    """Return the values of a PNG or TIFF file, and whether its colour profile had to be ignored.

    Args:
        path: the file.
        image: the same file, opened by Pillow.
        orientation: as EXIF has it.

    Returns:
        uint16 (H, W, 3 or 4), upright, in sRGB, the fourth being alpha; None for a file of another format or of a kind
        that is not read here.

    Raises:
        RuntimeError, ValueError: the file is damaged.
    """
    import imagecodecs

    values: np.ndarray | None
    if image.format == "PNG":
        values = imagecodecs.png_decode(path.read_bytes())
    elif image.format == "TIFF":
        values = _read_tiff(path)
    else:
        return None
    if values is None or values.dtype != np.uint16:
        return None
    values = values if values.ndim == 3 else values[..., None]
    if values.shape[2] < 3:
        values = np.concatenate([values[..., :1].repeat(3, 2), values[..., 1:]], 2)
    profile: bytes = image.info.get("icc_profile") or b""
    source = opened(profile)
    ignored = bool(profile) and (source is None or source.profile.xcolor_space != "RGB ")
    if source is not None and not ignored and not is_srgb(profile):
        colors = np.ascontiguousarray(values[..., :3])
        converted = imagecodecs.cms_transform(
            colors, profile, srgb_profile(), colorspace="rgb", outcolorspace="rgb", outdtype="uint16", intent=1
        )
        values = np.concatenate([converted, values[..., 3:]], 2)
    if orientation in SIDEWAYS:
        values = values.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(values, FLIPS.get(orientation, ()))), ignored


def _read_tiff(path: Path) -> np.ndarray | None:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or page.dtype != np.uint16:
            return None
        values, extra = page.asarray(), tuple(map(int, page.extrasamples))
        if values.ndim == 3 and page.planarconfig == 2:
            values = np.moveaxis(values, 0, 2)
    if page.photometric == WHITE_IS_ZERO:
        values = 65535 - values
    if values.ndim == 2:
        return values
    colors = 3 if page.photometric == RGB else 1
    if not extra or extra[0] not in (ASSOCIATED, UNASSOCIATED):
        return values[..., :colors]
    values = values[..., : colors + 1]
    if extra[0] == ASSOCIATED:
        alpha = values[..., -1:].astype(np.float64) / 65535
        straight = np.divide(values[..., :-1], alpha, out=np.zeros(values[..., :-1].shape), where=alpha > 0)
        values = np.concatenate([straight.clip(0, 65535).round().astype(np.uint16), values[..., -1:]], 2)
    return values


def encode(values: np.ndarray, kind: str) -> bytes:
    """Return a PNG or TIFF file (`kind`) of uint16 values (H, W, 3 or 4), tagged as sRGB; the fourth is alpha."""
    if kind == "PNG":
        import imagecodecs

        data = bytes(imagecodecs.png_encode(np.ascontiguousarray(values)))
        chunk = b"iCCP" + b"sRGB\0\0" + zlib.compress(srgb_profile())
        whole = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return data[:33] + whole + data[33:]  # after the signature and IHDR
    import tifffile

    buffer = io.BytesIO()
    extra = ["unassalpha"] if values.shape[2] == 4 else None
    tifffile.imwrite(
        buffer, values, photometric="rgb", extrasamples=extra, compression="zlib", predictor=True,
        iccprofile=srgb_profile(), metadata=None, software=False,
    )  # fmt: skip
    return buffer.getvalue()
