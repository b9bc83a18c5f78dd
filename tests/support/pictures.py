"""Pictures of chance."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from src.data.images import write_image


def smooth_image(seed: int, height: int, width: int) -> torch.Tensor:
    """Return a smooth picture of chance, (1, 3, H, W) in [0, 1]."""
    rough = torch.rand(1, 3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1)


def write_smooth_picture(path: Path, height: int, width: int, seed: int = 0) -> None:
    """Write one as a file."""
    write_image(path, smooth_image(seed, height, width)[0])


def write_halved_masks(folder: Path) -> tuple[str, ...]:
    """Write masks of a square content and a 4:3 style, black left and white right; return the options for them."""
    for name, height in (("content", 64), ("style", 48)):
        values = np.zeros((height, 64), np.uint8)
        values[:, 32:] = 255
        Image.fromarray(values).save(folder / f"{name}.png")
    return tuple(f"{name}.mask={folder / name}.png" for name in ("content", "style"))
