"""Pictures of a painted model: frames once around it, and a sheet of them."""

import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from src.common.files import write_atomically
from src.data.images import tensor_image
from src.data.views import Views
from src.mesh.cameras import around, circle, fitting_focal
from src.transfer.views import Sheet

ELEVATION = math.radians(20)
SECONDS = 4.0  # once around
QUALITY = 85  # of WebP and JPEG


def frames(
    views: Views, canvases: Sequence[Image.Image], count: int, side: int, field_of_view: float
) -> list[list[Image.Image]]:
    """Return frames once around a model for each of several canvases of one size.

    Args:
        views: the surface; its cameras are not used.
        canvases: textures, RGB.
        count: number of frames.
        side: of a frame, px.
        field_of_view: degrees.
    """
    images = torch.cat([torch.from_numpy(np.array(each)).permute(2, 0, 1)[None] for each in canvases]).float() / 255
    size = (images.shape[2], images.shape[3])
    points = views.corners.reshape(-1, 3)
    cameras = around(points, circle(count, ELEVATION), field_of_view)
    turned = dataclasses.replace(
        views,
        focal=np.array(fitting_focal(points, cameras)),
        side=np.array(side / max(size)),
        sheet=np.array([1, 1]),
    )
    found: list[list[Image.Image]] = [[] for _ in canvases]
    for camera in cameras:
        shown = Sheet(dataclasses.replace(turned, cameras=camera[None]), size, images.device, images.dtype)
        for each, picture in zip(found, shown.picture(images), strict=True):
            each.append(tensor_image(picture))
    return found


def write_animation(path: Path, pictures: Sequence[Image.Image]) -> None:
    """Write frames as an animated WebP, which browsers play for ever."""
    buffer = io.BytesIO()
    duration = round(1000 * SECONDS / len(pictures))
    pictures[0].save(
        buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=duration, loop=0, quality=QUALITY
    )
    write_atomically(path, buffer.getvalue())


def length(path: Path) -> int:
    """Return the number of frames of an animation; 0 where there is none that can be read."""
    try:
        with Image.open(path) as film:
            return getattr(film, "n_frames", 1)
    except OSError:
        return 0


def write_rows(path: Path, rows: Sequence[Sequence[Image.Image]]) -> None:
    """Write pictures of one size as a JPEG sheet, a row for each sequence."""
    sheet = np.vstack([np.hstack([np.asarray(picture) for picture in row]) for row in rows])
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=QUALITY)
    write_atomically(path, buffer.getvalue())


def evenly(pictures: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """Return at most `count` of the pictures at even distances."""
    number = min(count, len(pictures))
    return [pictures[at * len(pictures) // number] for at in range(number)]
