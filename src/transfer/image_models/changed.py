"""Image models that add changes to the starting image."""

import torch
from torch import Tensor

from src.transfer.image_models.base import ImageModel


class ChangedImage(ImageModel):
    """A start, which is not learned, plus changes, which are.

    Args:
        start, clamp, decay: as of `ImageModel`.
    """

    constants_per_pixel = 3.0
    start: Tensor

    def __init__(self, start: Tensor, clamp: bool, decay: float) -> None:
        super().__init__(start, clamp, decay)
        self.register_buffer("start", start.detach().clone().contiguous())

    @torch.no_grad()
    def project(self) -> None:
        """Clamp the image to [0, 1] by moving the start, so that the parameters keep their meaning."""
        image = self.render()
        self.start += image.clamp(0, 1) - image
