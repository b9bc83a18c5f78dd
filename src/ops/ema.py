"""The running average of the image, which is what a run may keep as its picture."""

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """An exponential moving average of images, free of the weight of its empty start, as Adam's moments are (Kingma
    and Ba 2015, section 3).

    Steps of a constant size circle around a minimum; their mean lies nearer to it (Polyak and Juditsky 1992).

    Args:
        decay: the weight of what was before, in [0, 1).
        like: (B, 3, H, W), an image of the size and device of those to come.
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
        """Count another image."""
        self.sum.lerp_(image, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)

    def image(self) -> Tensor:
        """Return the average of those counted so far; there must be one."""
        return self.sum / self.weight
