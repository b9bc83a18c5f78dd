"""The image as a start plus a change of brightness and a coarser change of colours."""

import torch.nn.functional as F
from torch import Tensor, nn

from src.transfer.image_models.changed import ChangedImage

# The colour grid is coarser than the image by this factor along either axis.
COLOR_STEP = 4


class SplitImage(ChangedImage):
    """start + smoothed brightness change + upsampled colour change.

    The brightness change has full size and passes a binomial filter (1 2 1) / 4; the colour change lies on a grid four
    times coarser and is enlarged bicubically. This removes the rainbow speckle and the jagged edges that free pixels
    produce first; the eye resolves colour less finely than brightness.
    """

    parameters_per_pixel = 1 + 3 / COLOR_STEP**2

    def __init__(self, start: Tensor, clamp: bool, decay: float) -> None:
        super().__init__(start, clamp, decay)
        batch, (height, width) = start.shape[0], self.size
        self.brightness = nn.Parameter(start.new_zeros(batch, 1, height + 2, width + 2))
        self.colors = nn.Parameter(start.new_zeros(batch, 3, -(-height // COLOR_STEP), -(-width // COLOR_STEP)))

    def render(self) -> Tensor:
        """Return the images in sRGB."""
        # Averaging 2 x 2 twice is the binomial filter (1 2 1) / 4 along both axes.
        smooth = F.avg_pool2d(F.avg_pool2d(self.brightness, 2, 1), 2, 1)
        return self.start + smooth + F.interpolate(self.colors, self.size, mode="bicubic", align_corners=False)
