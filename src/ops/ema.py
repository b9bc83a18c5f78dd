"""Running average of the image over the optimiser's steps."""

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """Exponential moving average of images with Adam's bias correction (Kingma and Ba 2015, section 3).

    With a constant step size the optimiser oscillates around a minimum, and the average of its iterates is closer to
    that minimum (Polyak and Juditsky 1992).

    Args:
        decay: weight of the average so far at each update, in [0, 1).
        like: (B, 3, H, W), an image of the shape, dtype and device to be averaged.
    """

    sum: Tensor
    weight: Tensor

    def __init__(self, decay: float, like: Tensor) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("sum", torch.zeros_like(like))
        self.register_buffer("weight", like.new_zeros(len(like), 1, 1, 1))

    @torch.no_grad()
    def add(self, image: Tensor) -> None:
        """Add an image (B, 3, H, W)."""
        self.sum.lerp_(image, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)

    def image(self) -> Tensor:
        """Return the average, (B, 3, H, W); at least one image must have been added."""
        return self.sum / self.weight
