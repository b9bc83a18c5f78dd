"""The Wasserstein term: Gaussian distributions of features against the style image's."""

import torch

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.bures import GaussianTarget, wasserstein
from src.transfer.terms.base import Inputs
from src.transfer.terms.style import StatisticsTerm


class WassersteinTerm(StatisticsTerm):
    """Squared Wasserstein distance of Gaussians relative to the style's mean square; see `ops.bures`."""

    name = "wasserstein"
    compare = staticmethod(wasserstein)

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep mean and root of the covariance at every tap."""
        super().set_target(encoder, inputs, checkpointing)
        with torch.no_grad():
            self.target = {tap: GaussianTarget.of(each) for tap, each in self.target.items()}
