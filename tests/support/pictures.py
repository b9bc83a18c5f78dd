"""Pictures of chance."""

import torch
import torch.nn.functional as F


def smooth_image(seed: int, height: int, width: int) -> torch.Tensor:
    """Return a smooth picture of chance, (1, 3, H, W) in [0, 1]."""
    rough = torch.rand(1, 3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1)
