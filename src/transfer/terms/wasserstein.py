"""The Wasserstein term: Gaussian distributions of features against the style image's."""

import torch

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.bures import GaussianTarget, absolute_wasserstein, wasserstein
from src.transfer.terms.base import Inputs
from src.transfer.terms.style import StatisticsTerm


class WassersteinTerm(StatisticsTerm):
    """Squared Wasserstein distance of Gaussians relative to the style's mean square; see `ops.bures`."""

    name = "wasserstein"
    compare = staticmethod(wasserstein)
    least: float | None = None

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep mean and root of the covariance at every tap."""
        super().set_target(encoder, inputs, checkpointing)
        with torch.no_grad():
            self.target = {tap: GaussianTarget.of(each, self.least) for tap, each in self.target.items()}


class AbsoluteWassersteinTerm(WassersteinTerm):
    """The squared distance per channel, not relative to the style, as crowsonkb's style-transfer-pytorch has it."""

    name = "absolute_wasserstein"
    compare = staticmethod(absolute_wasserstein)
    least = 1e-4  # what that program adds to the eigenvalues
