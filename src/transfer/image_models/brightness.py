"""The image as one free brightness per pixel: `color=luminance`."""

import torch
from torch import Tensor, nn

from src.ops.color import luma
from src.transfer.image_models.base import ImageModel


class BrightnessImage(ImageModel):
    """One parameter (B, 1, H, W), the luma, rendered as three equal channels.

    Args:
        start, clamp, decay: as of `ImageModel`; the start's chroma is dropped.
    """

    parameters_per_pixel = 1.0

    def __init__(self, start: Tensor, clamp: bool, decay: float) -> None:
        super().__init__(start, clamp, decay)
        self.values = nn.Parameter(luma(start.detach()))

    def render(self) -> Tensor:
        """Return the images as grey sRGB."""
        return self.values.repeat(1, 3, 1, 1)

    @torch.no_grad()
    def project(self) -> None:
        """Clamp to [0, 1]."""
        self.values.clamp_(0, 1)
