"""Where the image starts: `init=NAME`."""

import torch
from torch import Tensor

from src.common.errors import InputError
from src.config.schema import Init
from src.ops.color import match_colors

# Starts that have the content's detail at every size.
DETAILED_STARTS = ("content", "recolored")


def starting_image(init: Init, content: Tensor, style: Tensor, seed: int, given: Tensor | None) -> Tensor:
    """Return the starting image, (1, 3, H, W) in [0, 1].

    Args:
        init: recolored | content | noise (uniform, seeded) | style | file | frame | network.
        content: (1, 3, H, W) in [0, 1], which also gives the size.
        style: (1, 3, H', W') in [0, 1].
        seed: of the noise, which is drawn on the CPU and so the same for every device.
        given: the style image, the file's or the network's at the content's size, for those starts.
    """
    if init.name == "content":
        return content.clone()
    if init.name == "recolored":
        return match_colors(content, style).clamp(0, 1)
    if init.name == "noise":
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(content.shape, generator=generator, dtype=torch.float32).to(content)
        return noise if init.contrast == 1 else 0.5 + init.contrast * (noise - 0.5)
    if given is None or given.shape != content.shape:
        raise InputError(f"init={init.name} needs an image of the content's size")
    return given.clone()
