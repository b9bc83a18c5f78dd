"""The Wasserstein term: Gaussian distributions of features against the style image's."""

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.bures import GaussianTarget, wasserstein
from src.transfer.terms.base import Inputs
from src.transfer.terms.style import StatisticsTerm


class WassersteinTerm(StatisticsTerm):
    """Squared Wasserstein distance of Gaussians relative to the style's mean square; see `ops.bures`."""

    name = "wasserstein"
    target: dict[str, GaussianTarget]  # type: ignore[assignment]
    compare = staticmethod(wasserstein)  # type: ignore[assignment]

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep mean and root of the covariance at every tap."""
        super().set_target(encoder, inputs, checkpointing)
        self.target = {tap: GaussianTarget.of(each) for tap, each in self.target.items()}
