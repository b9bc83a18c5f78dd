"""ICC profiles: converting images to sRGB, and the profile that results are tagged with."""

import io
from functools import cache
from typing import Any

from PIL import Image, ImageCms

# Colour space of a profile -> the mode of the images that it describes.
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@cache
def srgb_profile() -> bytes:
    """Return an sRGB profile, the same at any time: the time at which it was made is left out."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)
    return bytes(profile)


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """Return an image as 8-bit RGB in sRGB, and whether its profile had to be ignored, as damaged or of other colours.

    The conversion is relative colorimetric with black point compensation, as in browsers; what lies outside sRGB is
    clipped. Images that are in sRGB already keep their values.
    """
    source = opened(profile)
    if source is None or is_srgb(profile):
        return image.convert("RGB"), bool(profile) and source is None
    mode = MODES.get(source.profile.xcolor_space)
    if mode is None or (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and image.mode not in ("L", "1")):
        return image.convert("RGB"), True
    try:
        converted = ImageCms.profileToProfile(
            image.convert(mode),
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return image.convert("RGB"), True
    assert converted is not None
    return converted, False


def opened(profile: bytes | None) -> Any:
    """Return a profile that Pillow can use; None for none or a damaged one."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
    except (OSError, ImageCms.PyCMSError):
        return None


def is_srgb(profile: bytes | None) -> bool:
    """Return whether an image with this profile is in sRGB: there is none, or it calls itself sRGB."""
    source = opened(profile)
    return not profile or (source is not None and ImageCms.getProfileDescription(source).strip().startswith("sRGB"))
