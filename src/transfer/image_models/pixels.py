"""The image as one free value per pixel and channel."""

import torch
from torch import Tensor, nn

from src.encoders.base import Encoder
from src.transfer.image_models.base import ImageModel


class PixelImage(ImageModel):
    """One parameter (B, 3, H, W), in sRGB or in the encoder's input statistics.

    Args:
        start, clamp, decay: as of `ImageModel`.
        mean, std: (1, 3, 1, 1) statistics of the parameter's space; 0 and 1 for sRGB itself.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, start: Tensor, clamp: bool, decay: float, mean: Tensor, std: Tensor) -> None:
        super().__init__(start, clamp, decay)
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("std", std.clone(), persistent=False)
        self.values = nn.Parameter((start.detach() - mean) / std)

    @classmethod
    def build(cls, start: Tensor, encoder: Encoder, clamp: bool, decay: float) -> "PixelImage":
        """Return the model for `canvas.space=pixel`."""
        return cls(start, clamp, decay, torch.zeros_like(encoder.mean), torch.ones_like(encoder.std))

    def render(self) -> Tensor:
        """Return the images in sRGB."""
        return self.values * self.std + self.mean

    @torch.no_grad()
    def project(self) -> None:
        """Clamp to the range of [0, 1] in the parameter's space."""
        low, high = -self.mean / self.std, (1 - self.mean) / self.std
        self.values.copy_(torch.minimum(torch.maximum(self.values, low), high))


class NormalizedImage(PixelImage):
    """One parameter (B, 3, H, W), in the encoder's input statistics."""

    @classmethod
    def build(cls, start: Tensor, encoder: Encoder, clamp: bool, decay: float) -> "NormalizedImage":
        """Return the model for `canvas.space=normalized`."""
        return cls(start, clamp, decay, encoder.mean, encoder.std)
