"""The image as a start plus changes at several resolutions, as in a Laplacian pyramid."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from src.transfer.image_models.changed import ChangedImage

LEVELS = 5
SMALLEST = 8  # px: no level has a shorter side


class LaplacianImage(ChangedImage):
    """start + sum_k enlarged(change_k), with change_k on a grid 2^k times coarser, enlarged bilinearly.

    An update reaches all resolutions at once, where free pixels change the finest detail first (Kolkin, Salavon and
    Shakhnarovich 2019, "Style transfer by relaxed optimal transport and self-similarity"). The two finest levels change
    brightness alone, by one value for all three channels: fine changes of colour become rainbow fringes and speckle,
    and the eye resolves colour less finely than brightness.

    Args:
        start, clamp, decay: as of `ImageModel`.

    Attributes:
        finest_color: k of the finest level that changes colours; the coarsest level always does.
    """

    finest_color: ClassVar[int] = 2
    parameters_per_pixel = 1.5

    def __init__(self, start: Tensor, clamp: bool, decay: float) -> None:
        super().__init__(start, clamp, decay)
        sizes = [(-(-self.size[0] // 2**level), -(-self.size[1] // 2**level)) for level in range(LEVELS)]
        sizes = [size for size in sizes if size == self.size or min(size) >= SMALLEST]
        finest_color = min(self.finest_color, len(sizes) - 1)
        self.changes = nn.ParameterList(
            nn.Parameter(start.new_zeros(start.shape[0], 3 if level >= finest_color else 1, *size))
            for level, size in enumerate(sizes)
        )

    def render(self) -> Tensor:
        """Return the images in sRGB."""
        finest, *coarser = self.changes
        enlarged = [F.interpolate(each, self.size, mode="bilinear", align_corners=False) for each in coarser]
        return self.start + finest + sum(enlarged)


class ColorLaplacianImage(LaplacianImage):
    """The same with changes of colour at all levels, for starts with fine colours that the content does not have."""

    finest_color = 0
    parameters_per_pixel = 4.0
