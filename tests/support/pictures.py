"""Pictures of chance."""

from pathlib import Path

import torch
import torch.nn.functional as F

from src.data.images import write_image


def smooth_image(seed: int, height: int, width: int) -> torch.Tensor:
    """Return a smooth picture of chance, (1, 3, H, W) in [0, 1]."""
    rough = torch.rand(1, 3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1)


def write_smooth_picture(path: Path, height: int, width: int, seed: int = 0) -> None:
    """Write one as a file."""
    write_image(path, smooth_image(seed, height, width)[0])
