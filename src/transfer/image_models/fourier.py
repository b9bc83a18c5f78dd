"""The image by its Fourier coefficients in decorrelated colours (Olah, Mordvintsev and Schubert 2017, lucid)."""

import torch
from torch import Tensor, nn

from src.transfer.image_models.base import ImageModel

# Square root of the covariance of the colours of ImageNet, columns by decreasing variance, as in lucid.
COLORS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
# The image is a sigmoid, which reaches neither 0 nor 1: the start is brought into [EDGE, 1 - EDGE].
EDGE = 1 / 128
# What lucid divides the image by.
DAMPING = 4.0


class FourierImage(ImageModel):
    """sigmoid(colours x inverse Fourier transform of scaled coefficients).

    A coefficient of frequency f (cycles per pixel) is scaled by 1 / max(f, 1 / max(H, W)): a step of the optimiser then
    changes each frequency in proportion to its amplitude in photographs; optimising raw pixels mostly changes the
    highest ones. Values never leave [0, 1], so nothing is clamped.

    Args:
        start, clamp, decay: as of `ImageModel`.
    """

    constants_per_pixel = 0.5
    scale: Tensor
    colors: Tensor

    def __init__(self, start: Tensor, clamp: bool, decay: float) -> None:
        super().__init__(start, clamp, decay)
        height, width = self.size
        rows, columns = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.rfftfreq(width, dtype=torch.float64)
        frequency = (rows[:, None].square() + columns.square()).sqrt()
        scale = 1 / frequency.clamp_min(1 / max(height, width)) / DAMPING
        colors = torch.tensor(COLORS, dtype=torch.float64)
        colors = colors / torch.linalg.vector_norm(colors, dim=0).max()
        logits = torch.logit(start.detach().cpu().double().clamp(EDGE, 1 - EDGE))  # not every device has float64
        decorrelated = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(colors), logits)
        spectrum = torch.fft.rfft2(decorrelated, norm="ortho") / scale
        self.register_buffer("scale", scale.to(start.dtype).to(start.device), persistent=False)
        self.register_buffer("colors", colors.to(start.dtype).to(start.device), persistent=False)
        self.spectrum = nn.Parameter(torch.view_as_real(spectrum).to(start.dtype).to(start.device).contiguous())

    def render(self) -> Tensor:
        """Return the images in sRGB."""
        spectrum = torch.view_as_complex(self.spectrum * self.scale[..., None])
        decorrelated = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        return torch.einsum("cd,bdhw->bchw", self.colors, decorrelated).sigmoid()

    def project(self) -> None:
        """Do nothing: a sigmoid stays in [0, 1]."""
