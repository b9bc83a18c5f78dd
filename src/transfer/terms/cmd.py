"""The central moment term: moments of order 1 to 5 of sigmoid features against the style image's."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.ops.central_moments import central_moments, mixed_moments, moment_discrepancy, power_sums
from src.ops.gram import at_least_float32, positions, weighted_mean
from src.transfer.terms.base import Measured
from src.transfer.terms.layers import Guides, LayerTerm


class CentralMomentTerm(LayerTerm):
    """Central moment discrepancy relative to that of a blank image; see `ops.central_moments`.

    `target` holds the style's moments by tap, (B, 5, C); the first are the means.
    """

    name = "cmd"
    masks = True
    target: dict[str, Tensor]

    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, Tensor]:
        """Return the moments of a style image at every tap."""
        maps = feature_maps(encoder, image, guides, checkpointing)
        return {tap: _moments(maps.pop(tap), weight) for tap, weight in guides.items()}

    @staticmethod
    def mix(parts: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
        """Return the moments of the mixture at one tap."""
        return mixed_moments(parts, shares)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the sums of powers of the difference to the style's mean, (B, 5, C)."""
        # recomputed for the gradient, which would keep six tensors of the size of the features
        guide = self.guide(tap, rows)
        return {"powers": checkpoint(power_sums, features, self.target[tap][:, 0], guide, use_reentrant=False)}

    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return the discrepancy at one tap."""
        target = self.target[tap]
        moments = central_moments(measured.sums[tap]["powers"], measured.positions[tap], target[:, 0])
        return moment_discrepancy(moments, target)


def _moments(features: Tensor, weight: Tensor | None) -> Tensor:
    mean = weighted_mean(at_least_float32(features).sigmoid(), weight)
    return central_moments(power_sums(features, mean, weight), positions(features), mean)
